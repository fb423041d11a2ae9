"""What a model wrote, and the ranking it means: the literal triggers of public complaints, and other answers."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.answers import Answer, parse, yes_or_no

TOYS = ["Toy Story", "Toy Story 2", "Alien", "Aliens", "M", "Seven", "Seven Samurai"]
FILMS = [
    "Toy Story (1995)",
    "Crying Game, The (1992)",
    "Alien (1979)",
    "Aliens (1986)",
    "12 Angry Men (1957)",
    "M (1931)",
    "Seven (Se7en) (1995)",
    "Seven Samurai (The Magnificent Seven) (Shichinin no samurai) (1954)",
    "Sabrina (1954)",
    "Sabrina (1995)",
    "Good, The Bad and The Ugly, The (1966)",
    "Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)",
    "Schindler's List (1993)",
    "Romeo & Juliet (1996)",
    "Star Trek: The Motion Picture (1979)",
    "Star Trek II: The Wrath of Khan (1982)",
    "Mission: Impossible (1996)",
    "M*A*S*H (1970)",
    "E.T. the Extra-Terrestrial (1982)",
    "What's Eating Gilbert Grape (1993)",
    "101 Dalmatians (1996)",
    "20,000 Leagues Under the Sea (1954)",
    "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb (1963)",
    "Who Framed Roger Rabbit? (1988)",
    "2001: A Space Odyssey (1968)",
    "Naked Gun 33 1/3: The Final Insult (1994)",
    "I, Robot (2004)",
    "8 1/2 (1963)",
    "Nosferatu (Nosferatu, eine Symphonie des Grauens) (1922)",
    "千と千尋の神隠し (2001)",
]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def ranked(text: str, titles: list[str], labels: str | list[str] = (), wanted: int | None = None) -> list[str]:
    """The titles that the answer names, after all of them were asked for."""
    answer = parse(text, titles, wanted=wanted or len(titles), labels=labels)
    return [titles[place] for place in answer.ranking]


# Public complaints


@pytest.mark.parametrize("title", ["No. 1 Shampoo", "Yes Man (2008)"])
def test_titles_that_begin_with_yes_or_no(title: str):
    """D1: a title is no label, and a label is no title."""
    assert yes_or_no(title) is None
    assert parse(title, ["Heat", title], wanted=1) == Answer((1,), "ok")
    assert parse(f"1. {title}", ["Heat", title], wanted=1) == Answer((1,), "ok")
    assert parse(title.split(maxsplit=1)[0], ["Heat", title], wanted=1).ranking == ()


def test_yes_before_an_explanation():
    """D3: `Yes.` and a heading with reasons."""
    assert yes_or_no("Yes.\n\n### Explanation: The user …") is True
    text = "Yes.\n\n### Explanation: The user liked Alien."
    assert parse(text, TOYS, wanted=1) == Answer((), "failed")


def test_a_list_that_repeats_an_item():
    """D5: `[A,A,A,A,B,…]`: each once, and how many times one came back."""
    assert parse("[A,A,A,A,B,…]", TOYS, wanted=5, labels=LETTERS[:7]) == Answer((0, 1), "partial", duplicates=3)
    text = json.dumps(["Alien", "Alien", "Alien", "Alien", "Toy Story"])
    assert parse(text, TOYS, wanted=5) == Answer((2, 0), "partial", duplicates=3)
    text = "1. Alien\n2. Alien\n3. Alien\n4. Alien\n5. Toy Story"
    answer = parse(text, TOYS, wanted=2)
    assert answer == Answer((2, 0), "ok", duplicates=3)
    assert answer.valid_ratio == 1.0


@pytest.mark.parametrize(
    ("text", "status"),
    [("", "empty"), ("I'm sorry, I can't…", "refused"), ("The question is not clear", "refused"), ("great!", "failed")],
)
def test_answers_without_an_answer(text: str, status: str):
    """D6: none raises, and each says why it ranks nothing."""
    for titles in (TOYS, FILMS):
        answer = parse(text, titles, wanted=3, labels=LETTERS[: len(titles)])
        assert answer == Answer((), status)
        assert answer.valid_ratio is None


def test_one_label_of_three():
    """D7: `[2]` where three were asked for."""
    assert parse("[2]", ["Alien", "Heat", "Seven"], wanted=3, labels="123") == Answer((1,), "partial")


def test_slug_of_a_sequel():
    """D10: `toy-story-5` is no candidate."""
    for text in ("toy-story-5", "1. toy-story-5", '["toy-story-5"]', "Alien\ntoy-story-5"):
        answer = parse(text, TOYS, wanted=3)
        assert answer.invented == ("toy-story-5",)
        assert 0 not in answer.ranking
    assert ranked("toy-story-2, toy-story", TOYS) == ["Toy Story 2", "Toy Story"]


def test_titles_with_commas_in_one_line():
    """D12: `1. Crying Game, The (1992), Alien (1979)` names both, in order."""
    answer = parse("1. Crying Game, The (1992), Alien (1979)", FILMS, wanted=2)
    assert answer == Answer((FILMS.index("Crying Game, The (1992)"), FILMS.index("Alien (1979)")), "ok")


def test_titles_inside_other_titles():
    """D13: a sequel is not the first film, and the sentence before the list names no film."""
    lines = "1. Toy Story 2\n2. Aliens\n3. Seven Samurai\n4. Toy Story"
    for text in (lines, "Here is My ranking:\n" + lines, "Here is My ranking:\n\n" + lines.replace("\n", "\n\n")):
        assert parse(text, TOYS, wanted=4) == Answer((1, 3, 6, 0), "ok")
        assert parse(text, [*TOYS, "My"], wanted=4) == Answer((1, 3, 6, 0), "ok")
    assert parse("Here is My ranking", [*TOYS, "My"], wanted=4).ranking == ()


def test_a_title_outside_the_list():
    """D14: one of three entries is no candidate: the ratio is two thirds exactly."""
    for text in (
        "1. Alien\n2. Brazil\n3. Seven",
        '["Alien", "Brazil", "Seven"]',
        "Alien, Brazil, Seven",
        "A > Brazil > F",
    ):
        answer = parse(text.replace("A >", "Alien >").replace("> F", "> Seven"), TOYS, wanted=3)
        assert answer == Answer((2, 5), "partial", ("Brazil",))
        assert answer.valid_ratio == 2 / 3


# Yes or no


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" no", False),
        ("YES!", True),
        ("**Yes**", True),
        ("Yes", True),
        ("No, I do not think so", False),
        ("No\n1. Alien", False),
        ("Yes The user likes space", True),
        ("yes because of Alien", True),
        ('"No."', False),
        ("", None),
        ("???", None),
        ("Yes/No", None),
        ("yes or no", None),
        ("Nope", None),
        ("Notebook, The", None),
        ("No Country for Old Men", None),
        ("No.1", None),
        ("Maybe yes", None),
        ("yes-man", None),
    ],
)
def test_yes_or_no(text: str, said: bool | None):
    assert yes_or_no(text) is said


# Labels


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "b",
        "(B)",
        "B.",
        "B)",
        "[B]",
        "**B**",
        "Option B",
        "Answer: B",
        "The answer is B.",
        "**Answer:** B",
        "I would choose B",
        "B because you like comedies",
        "B. because you like comedies",
        "The answer is B, because you like comedies.",
        "The answer is (B). The user likes comedies.",
        "B\n\nExplanation: because A is old",
        '["B"]',
        '{"answer": "B"}',
        "1. B",
        "The answer is B.\n\n- it is funny",
        "B. Heat",
        "B Heat",
        "Option B: Heat",
    ],
)
def test_a_label_alone(text: str):
    assert parse(text, ["Alien", "Heat", "Seven"], wanted=1, labels="ABC") == Answer((1,), "ok")


@pytest.mark.parametrize(
    "text",
    [
        "[2] > [1] > [3]",
        "2, 1, 3",
        "2 1 3",
        "[2, 1, 3]",
        "2 > 1 > 3",
        "1. 2\n2. 1\n3. 3",
        '{"ranking": [2, 1, 3]}',
        "1. [2]\n2. [1]\n3. [3]",
        "Ranking: [2] > [1] > [3]",
        "Sure!\n[2] > [1] > [3]",
        "[\n 2,\n 1,\n 3\n]",
        '[{"id": 2}, {"id": 1}, {"id": 3}]',
        "The final ranking is:\n\n2, 1, 3",
        "2\n1\n3",
    ],
)
def test_rankings_of_labels(text: str):
    assert parse(text, ["Alien", "Heat", "Seven"], wanted=3, labels="123") == Answer((1, 0, 2), "ok")


def test_a_title_beats_a_label():
    assert ranked("2. Aliens\n1. Alien", TOYS, "1234567") == ["Aliens", "Alien"]
    assert ranked("B. Alien", TOYS, LETTERS[:7]) == ["Alien"]
    assert ranked("M", TOYS, LETTERS) == ["M"]
    assert ranked("9", ["Heat", "9"], "123456789") == ["9"]


def test_a_label_with_a_foreign_title_is_invented():
    assert parse("B. Toy Story 5", TOYS, wanted=1, labels=LETTERS[:7]) == Answer((), "failed", ("Toy Story 5",))


def test_labels_beyond_z():
    titles = [f"Film number {word}" for word in "abcdefghijklmnopqrstuvwxyz"] + ["Heat", "Alien"]
    labels = [*LETTERS, "AA", "AB"]
    for text in (
        "AB, AA",
        "AB\nAA",
        "1. AB\n2. AA",
        "AB > AA",
        "[AB, AA]",
        "AB. Alien\nAA. Heat",
        "(AB) Alien\n(AA) Heat",
    ):
        assert parse(text, titles, wanted=2, labels=labels) == Answer((27, 26), "ok")


def test_numbers_mean_nothing_where_no_label_was_shown():
    assert parse("[2]", ["Alien", "Heat", "Seven"], wanted=3).ranking == ()


# Titles


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("The Crying Game (1992)", "Crying Game, The (1992)"),
        ("the crying game", "Crying Game, The (1992)"),
        ("**The Crying Game**", "Crying Game, The (1992)"),
        ("1. “The Crying Game” (1992) - a thriller", "Crying Game, The (1992)"),
        ("12 Angry Men (1957)", "12 Angry Men (1957)"),
        ("1. 12 Angry Men", "12 Angry Men (1957)"),
        ("Romeo and Juliet", "Romeo & Juliet (1996)"),
        ("Romeo &amp; Juliet (1996)", "Romeo & Juliet (1996)"),
        ("Schindler&#39;s List", "Schindler's List (1993)"),
        ("Schindler’s List", "Schindler's List (1993)"),
        ("Schindlers List (1993)", "Schindler's List (1993)"),
        ("Shindler's List (1993)", "Schindler's List (1993)"),
        ("M", "M (1931)"),
        ("M*A*S*H", "M*A*S*H (1970)"),
        ("1. M*A*S*H (1970): a comedy", "M*A*S*H (1970)"),
        ("sabrina (1995)", "Sabrina (1995)"),
        ("- Sabrina (1954), with Audrey Hepburn", "Sabrina (1954)"),
        (
            "AMELIE (FABULEUX DESTIN D'AMELIE POULAIN, LE) (2001)",
            "Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)",
        ),
        (
            "Ame\u0301lie (Fabuleux destin d'Ame\u0301lie Poulain, Le)",
            "Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)",
        ),
        ("1. 千と千尋の神隠し", "千と千尋の神隠し (2001)"),
        ("20,000 Leagues Under the Sea", "20,000 Leagues Under the Sea (1954)"),
        ("Answer: Mission: Impossible", "Mission: Impossible (1996)"),
        ("`alien`", "Alien (1979)"),
        ("### 1. Alien (1979)", "Alien (1979)"),
        ("I would pick Alien because you like space", "Alien (1979)"),
        ("I would pick Alien (1979), because you like space.", "Alien (1979)"),
        ('My recommendation is "M", an old one.', "M (1931)"),
        ("My pick is: Alien", "Alien (1979)"),
    ],
)
def test_one_title(text: str, title: str):
    assert parse(text, FILMS, wanted=1) == Answer((FILMS.index(title),), "ok")


@pytest.mark.parametrize(
    "text",
    [
        "1. Alien (1986)",
        "1. Alien: Resurrection (1997)",
        "1. Alien 3",
        "1. Sabrina",
        "1. Crying Games, The (1992)",
        "1. Toy Story, Part II",
        "1. Toy Story III",
        "1. Seven Brides",
        "1. Twenty Angry Men",
        "1. My Alien",
        "1. Alien-like",
        "1. Star Trek III: The Search for Spock (1984)",
        "Alien: Resurrection",
    ],
)
def test_other_films_are_invented(text: str):
    answer = parse(text, FILMS, wanted=1)
    assert answer.ranking == ()
    assert answer.invented


def test_a_sequel_is_no_misspelling():
    assert parse("1. Aliens", ["Alien", "Heat"], wanted=1).ranking == ()
    assert parse("1. Predators", ["Predator", "Heat"], wanted=1).ranking == ()
    assert parse("1. Nightmare on Elm Street 3", ["Nightmare on Elm Street 2"], wanted=1).ranking == ()
    assert ranked("1. Nightmare on Elm Strete 3", ["Nightmare on Elm Street 2", "Nightmare on Elm Street 3"]) == [
        "Nightmare on Elm Street 3"
    ]


def test_a_misspelling_between_two_titles_is_neither():
    assert ranked("1. Bodyguerd, The", ["Bodyguard, The", "Heat"]) == ["Bodyguard, The"]
    assert ranked("1. Shampoo Blux", ["Shampoo Blue", "Shampoo Blum"]) == []


def test_equal_titles_are_taken_one_after_the_other():
    assert parse("1. Heat\n2. heat\n3. Heat", ["Heat", "Alien", "Heat"], wanted=3) == Answer(
        (0, 2), "partial", duplicates=1
    )
    assert parse("Heat\nHeat", ["Heat (1995)", "Heat (1995)"], wanted=2) == Answer((0, 1), "ok")


def test_titles_of_signs_alone():
    assert ranked("1. ???\n2. $", ["$", "???"]) == ["???", "$"]
    assert ranked("$", ["$", "???"]) == ["$"]


def test_the_label_a_is_no_article():
    titles = ["Little Princess, A (1995)", "Heat (1995)"]
    text = "A. Little Princess, A (1995), B. Heat (1995)"
    for labels in ("", "AB"):
        assert parse(text, titles, wanted=2, labels=labels) == Answer((0, 1), "ok")


def test_an_unknown_year_does_not_hide_a_title_that_has_none():
    assert ranked("1. Alien (1979)\n2. Heat", ["Heat", "Alien"]) == ["Alien", "Heat"]


# Lists


@pytest.mark.parametrize(
    "text",
    [
        "1. Heat\n2. Alien\n3. Brazil",
        "1) Heat\n2) Alien\n3) Brazil",
        "1: Heat\n2: Alien\n3: Brazil",
        "#1 Heat\n#2 Alien\n#3 Brazil",
        "**1.** Heat\n**2.** Alien\n**3.** Brazil",
        "**1. Heat**\n**2. Alien**\n**3. Brazil**",
        "- Heat\n- Alien\n- Brazil",
        " * Heat\n * Alien\n * Brazil",
        "• Heat\n•Alien\n• Brazil",
        "A. Heat\nB. Alien\nC. Brazil",
        "(A) Heat\n(B) Alien\n(C) Brazil",
        "[1] Heat\n[2] Alien\n[3] Brazil",
        "1. A. Heat\n2. B. Alien\n3. C. Brazil",
        "Heat\nAlien\nBrazil",
        "Heat, Alien, Brazil",
        "Heat; Alien; Brazil.",
        "Heat > Alien > Brazil",
        "Heat -> Alien -> Brazil",
        "Heat|Alien|Brazil",
        "Heat\tAlien\tBrazil",
        "1. Heat 2. Alien 3. Brazil",
        "1. Heat, 2. Alien, 3. Brazil",
        "My ranking: Heat, Alien, Brazil",
        "I would rank Heat, Alien and Brazil.",
        "I would watch Heat first, then Alien, and Brazil last.",
        "Sure! Here is the list of films:\n\n1. Heat\n2. Alien\n3. Brazil\n\nI hope you like Seven!",
        "### Ranking\n1. Heat\n2. Alien\n3. Brazil\n\n### Explanation\n1. Seven",
        "### 1. Heat\nA thriller\n### 2. Alien\n### 3. Brazil",
        "1. Heat (a thriller, with Al Pacino)\n2. Alien - Sci-Fi\n3. **Brazil**: odd",
        "1. Heat\n   - Seven is like it\n2. Alien\n   Reason: space\n3. Brazil",
        "1. Heat\n2. Alien\n3. Brazil\n\nReasoning: Seven is dark",
        "1. Heat\n2. Alien\n3. Brazil\n**Note:** Seven is dark",
        '["Heat", "Alien", "Brazil"]',
        "['Heat', 'Alien', 'Brazil']",
        "[Heat, Alien, Brazil]",
        '```json\n["Heat", "Alien", "Brazil"]\n```',
        '```json\n{"ranking": [\n  "Heat",\n  "Alien",\n  "Brazil",\n]}\n```\nSeven is dark.',
        'Here it is: ["Heat", "Alien", "Brazil"]. Seven is dark.',
        'As you liked ["Seven Samurai"]: ["Heat", "Alien", "Brazil"]',
        '[{"rank": 1, "title": "Heat"}, {"rank": 2, "title": "Alien"}, {"rank": 3, "title": "Brazil", "year": 1985}]',
        '[{"id": "9", "name": "Heat"}, {"id": "8", "name": "Alien"}, {"id": "7", "name": "Brazil"',
        '["Heat", "Alien", "Brazil"',
        '["Heat", "Alien", "Brazil", "Sev',
        '["Heat", "Alien", "Brazil", ',
        '["Heat" "Alien" "Brazil"]',
        '["Heat", Alien", "Brazil"]',
        '["Heat",\n"Alien"\n"Brazil"]',
        '[["Heat", 0.9], ["Alien", 0.8], ["Brazil", 0.7]]',
        '{"1": "Heat", "2": "Alien", "3": "Brazil"}',
        "Heat\r\nAlien\r\nBrazil",
    ],
)
def test_lists(text: str):
    answer = parse(text, ["Alien", "Brazil", "Heat", "Seven"], wanted=3)
    assert (answer.ranking, answer.status, answer.duplicates) == ((2, 0, 1), "ok", 0)


def test_single_quotes_with_an_apostrophe():
    assert ranked("['Schindler's List', \"What's Eating Gilbert Grape\", 'Alien']", FILMS) == [
        "Schindler's List (1993)",
        "What's Eating Gilbert Grape (1993)",
        "Alien (1979)",
    ]


def test_escapes_in_json():
    assert ranked(r'["Am\u00e9lie", "Who \"Is\" It?", "bad \x"]', ["Amélie", 'Who "Is" It?']) == [
        "Amélie",
        'Who "Is" It?',
    ]


def test_a_hundred_candidates_and_a_top_ten():
    titles = [f"{FILMS[place % 30]} part {place}" for place in range(100)]
    chosen = [97, 3, 45, 12, 0, 99, 31, 61, 1, 77]
    text = json.dumps({"top_10": [titles[place] for place in chosen]}, indent=2)
    assert parse(text, titles, wanted=10) == Answer(tuple(chosen), "ok")


def test_one_wanted_takes_the_first_candidate():
    assert parse("1. Brazil\n2. Alien\n3. Seven", TOYS, wanted=1) == Answer((2,), "ok", ("Brazil",))
    assert parse("C. Alien\n\nExplanation: because you liked Seven", TOYS, wanted=1) == Answer((2,), "ok")


def test_fewer_candidates_than_wanted():
    assert parse("Heat", ["Heat"], wanted=10).status == "ok"


def test_headings_are_entries_only_if_they_are_titles():
    assert parse("Alien:\n- Heat", ["Alien", "Heat"], wanted=2) == Answer((1,), "partial")
    assert parse("1. Alien:\n2. Heat", ["Alien:", "Heat"], wanted=2) == Answer((0, 1), "ok")


@pytest.mark.parametrize("text", [" \n\t", "```\n```", "**", "---", "[]", "<br>", "```json\n[]\n```"])
def test_nothing_but_markup(text: str):
    assert parse(text, TOYS, wanted=3, labels="1234567") == Answer((), "empty")


@pytest.mark.parametrize(
    "text",
    [
        "I cannot answer that.",
        "I'm sorry, but I can't help with that.",
        "I’m sorry.",
        "As an AI language model, I have no taste.",
        "I am unable to rank these.",
        "I am not able to rank these.",
        "I need more information about the user.",
    ],
)
def test_refusals(text: str):
    assert parse(text, TOYS, wanted=3, labels=LETTERS[:7]) == Answer((), "refused")


# Any text


@pytest.mark.slow
@given(text=st.text(), wanted=st.integers(-1, 12), titles=st.lists(st.text(), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_text_and_any_titles_have_an_answer(text: str, wanted: int, titles: list[str]):
    check(text, titles, wanted)


PIECES = [
    *TOYS,
    *FILMS,
    *"ABC123[]{}\"'`,;:>|#*-.()\n\t\\",
    "\n1. ",
    "\n- ",
    "The answer is ",
    "Explanation:",
    "\0",
    "&amp;",
]


@pytest.mark.slow
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=40), wanted=st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_any_garbled_list_has_an_answer(pieces: list[str], wanted: int):
    check("".join(pieces), TOYS + FILMS, wanted)


def check(text: str, titles: list[str], wanted: int) -> None:
    labels = [str(place + 1) for place in range(len(titles))]
    answer = parse(text, titles, wanted=wanted, labels=labels)
    assert len(set(answer.ranking)) == len(answer.ranking)
    assert all(0 <= place < len(titles) for place in answer.ranking)
    assert (answer.status in ("ok", "partial")) == bool(answer.ranking)
    assert answer.valid_ratio is None or 0 <= answer.valid_ratio <= 1
    assert yes_or_no(text) in (True, False, None)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[" * 50_000, "[[" + '"a' * 20_000, "1. " * 20_000, "(" * 50_000, "Alien, " * 5_000])
def test_long_answers_take_no_time(text: str):
    check(text, FILMS, 10)


LAYOUTS = {
    "numbers": lambda titles: "\n".join(f"{place}. {title}" for place, title in enumerate(titles, 1)),
    "bullets": lambda titles: "\n".join(f"- {title}" for title in titles),
    "bold": lambda titles: "\n".join(f"{place}. **{title}**" for place, title in enumerate(titles, 1)),
    "lines": "\n".join,
    "json": json.dumps,
    "python": repr,
    "labelled line": lambda titles: ", ".join(f"{LETTERS[place]}. {title}" for place, title in enumerate(titles)),
    "bracketed line": lambda titles: " > ".join(f"[{place}] {title}" for place, title in enumerate(titles, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@given(order=st.permutations(range(len(FILMS))), count=st.integers(1, 26))
@settings(max_examples=40, deadline=None)
def test_round_trip(layout: str, order: list[int], count: int):
    text = LAYOUTS[layout]([FILMS[place] for place in order[:count]])
    for labels in ((), LETTERS + "abcd", [str(place + 1) for place in range(len(FILMS))]):
        assert parse(text, FILMS, wanted=count, labels=labels) == Answer(tuple(order[:count]), "ok")


# Remarks between entries, thoughts before them, tables


@pytest.mark.parametrize(
    ("text", "ranking"),
    [
        ("1. Alien\nReason: space.\n2. Heat\n*Reason:* crime.\n\n3. Brazil\nExplanation: dreams", (0, 1, 2)),
        ("- Alien\nReason: space.\n- Heat\nReason: crime.", (0, 1)),
        ("Alien\nReason: space.\nHeat\nReason: crime.", (0, 1)),
        ("Reasoning: Seven is dark.\n\n1. Heat\n2. Alien", (1, 0)),
        ("Note: I used the history.\n1. Heat", (1,)),
        ("**Reasoning:** Seven …\n\n**Ranking:**\n1. Heat\n2. Alien", (1, 0)),
        ('Reasoning: Seven is dark.\n["Heat", "Alien"]', (1, 0)),
        ("1. Alien\n2. Heat\n\nExplanation:\n1. Heat is dark\n2. Seven too", (0, 1)),
        ("- Alien\n- Heat\nExplanation:\n- Seven was seen", (0, 1)),
        ("<think>Seven is dark. 1. Seven\n2. Heat</think>\n1. Alien\n2. Heat", (0, 1)),
        ("Seven is dark.</THINK>\n\nAlien", (0,)),
        ("| Rank | Title |\n|:-----|------:|\n| 1 | Alien |\n| 2 | Heat |", (0, 1)),
        ("Rank,Title\n1,Alien\n2,Heat", (0, 1)),
        ("First, Alien. Second, Heat. Finally, Brazil.", (0, 1, 2)),
        ("First: Heat\nSecond: Alien", (1, 0)),
        ("1、Heat\n2、Alien", (1, 0)),
    ],
)
def test_what_stands_between_and_before_the_entries_is_none(text: str, ranking: tuple[int, ...]):
    titles = ["Alien (1979)", "Heat (1995)", "Brazil (1985)", "Seven (1995)"]
    assert parse(text, titles, wanted=len(ranking)) == Answer(ranking, "ok")


def test_a_thought_that_never_came_to_an_end_is_no_answer():
    assert parse("<think>\nAlien would do, or", ["Alien", "Heat"], wanted=1) == Answer((), "empty")
    assert yes_or_no("<think>no, wait</think>\n\nYes, they would.") is True
    assert yes_or_no("<think>Yes, but") is None


def test_an_ordinal_may_begin_a_title():
    titles = ["First Knight (1995)", "Last: Dance"]
    assert parse("First Knight\nLast: Dance", titles, wanted=2) == Answer((0, 1), "ok")
