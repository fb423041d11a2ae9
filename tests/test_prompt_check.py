"""``llmrec prompts check``: every fault on a line of its own, and what is no fault."""

from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT, toy_tables, write_recbole
from small_runs import Answer

from llmrec import cli
from llmrec.errors import PromptError
from llmrec.prompt_check import stands_in
from llmrec.prompting import Prompt, found

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"
GOOD = "{% block input %}{{ history[-1].title }}{% endblock %}{% block target %}{{ item.title }}{% endblock %}"


@pytest.fixture
def llmrec(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs ``llmrec prompts`` in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Answer:
        capsys.readouterr()
        code = cli.main(["prompts", *map(str, words)])
        return Answer(code, *capsys.readouterr())

    return call


def write(name: str, body: str, head: str = "description: mine") -> Path:
    path = Path("prompts") / f"{name}.jinja"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\n{head}\n---\n{body}\n", encoding="utf-8")
    return path


@pytest.fixture
def check(llmrec, toy_folder: Path):
    """Checks one prompt on the small log; returns its exit code and its lines."""

    def call(name: str, *more: object) -> tuple[int, list[str]]:
        answer = llmrec("check", name, "--data", "toy", "--data-dir", toy_folder, *more)
        return answer.code, answer.out.splitlines()

    return call


@pytest.mark.parametrize("name", ["items/title", "items/title_genres", "p5/sequential/next_item", "zeroshot/rank"])
def test_a_shipped_prompt_passes_on_data_that_has_its_fields(check, name):
    assert check(name) == (0, ["1 prompts on toy: no fault"])


@pytest.mark.slow
def test_prompts_that_ask_for_stars_are_off_where_ratings_are_none(llmrec, tmp_path: Path):
    log, items = toy_tables()
    folder = write_recbole(tmp_path / "toy", "toy", log.with_columns(rating=pl.col("rating") * 2), items)
    told = "ratings are from 2 to 10, and prompts ask for 1 to 5 stars"
    answer = llmrec("check", "p5/rating/by_ids", "--data", "toy", "--data-dir", folder)
    assert answer.code == 1 and f"p5/rating/by_ids: {told}" in answer.err + answer.out
    answer = llmrec("check", "--data", "toy", "--data-dir", folder)
    assert answer.code == 0 and f"p5/rating/by_ids: switched off: {told}" in answer.err + answer.out


@pytest.mark.slow
def test_without_a_name_every_prompt_is_checked_that_the_data_can_fill(llmrec, check, toy_folder: Path):
    answer = llmrec("check", "--data", "toy", "--data-dir", toy_folder)
    off = [line for line in answer.err.splitlines() if ": switched off: " in line]
    said = f"{len(found()) - len(off)} prompts on toy: no fault; {len(off)} switched off\n"
    assert (answer.code, answer.out) == (0, said)
    for line in (
        "items/title_brand: switched off: item.brand is never filled in toy",
        "p5/rating/by_name: switched off: user.name is never filled in toy",
        "p5/other_domain/liked: switched off: item.brand, item.price are never filled in toy",
    ):
        assert line in off
    assert check("items/title_brand") == (1, ["items/title_brand: line 5: item.brand is never filled in toy"])


def test_a_target_inside_its_own_input_fails(check):
    """C4: template with `{target}` in the input side."""
    write("p5/leak", GOOD.replace("history[-1]", "item"))
    code, lines = check("p5/leak")
    assert code == 1
    assert lines == ["p5/leak: line 4: item.title gives block 'input' its own answer: the item is what is to be found"]


def test_a_target_that_the_users_row_gives_away_fails(llmrec, tmp_path: Path):
    """C2: a text of the user that was made of his whole sequence."""
    log, items = toy_tables()
    folder = write_recbole(tmp_path / "toy", "toy", log, items)
    titles = dict(zip(items["item_id"], items["title"]))
    last = log.group_by("user_id", maintain_order=True).last()
    rows = [f"{user}\tlikes {titles[item].upper()}" for user, item in last.select("user_id", "item_id").rows()]
    (folder / "toy.user").write_text("\n".join(["user_id:token\toccupation:token", *rows]), encoding="utf-8")
    write("p5/profile", GOOD.replace("history[-1].title", "user.occupation"))
    answer = llmrec("check", "p5/profile", "--data", "toy", "--data-dir", folder)
    assert answer.code == 1
    first = titles[last["item_id"][0]]
    assert answer.out == (
        f"p5/profile: the answer stands in its own input in 40 of 40 cases, such as user 'u0': {first!r}\n"
    )


def test_an_item_that_a_user_came_back_to_is_a_note_and_no_fault(llmrec, tmp_path: Path):
    log, items = toy_tables()
    back = log.group_by("user_id", maintain_order=True).agg(pl.all().last()).with_columns(pl.col("timestamp") + 9)
    folder = write_recbole(tmp_path / "toy", "toy", pl.concat([log, back.select(log.columns)]), items)
    write("p5/next", GOOD)
    answer = llmrec("check", "p5/next", "--data", "toy", "--data-dir", folder)
    assert (answer.code, answer.out) == (0, "1 prompts on toy: no fault\n")
    assert "p5/next: the answer stands in the history" in answer.err
    assert "in 40 of 40 cases" in answer.err


def test_an_answer_made_of_the_history_must_not_stand_in_the_input(check):
    shown = "{{% block input %}}{{% for row in {} %}}{{{{ row.title }}}}; {{% endfor %}}{{% endblock %}}"
    target = "{% block target %}{{ history[-1].title }}{% endblock %}"
    write("p5/whole", shown.format("history") + target)
    write("p5/masked", shown.format("history[:-1]") + target)
    code, lines = check("p5/whole")
    assert code == 1 and lines[0].startswith("p5/whole: the answer stands in its own input in 40 of 40 cases")
    assert check("p5/masked") == (0, ["1 prompts on toy: no fault"])


def test_a_template_that_takes_titles_apart_can_be_checked_too(check):
    shown = "{% block input %}{% for row in history[:-1] %}{{ row.title }}; {% endfor %}{% endblock %}"
    write("p5/year", shown + "{% block target %}from {{ history[-1].title.split('(')[1] }}{% endblock %}")
    assert check("p5/year") == (0, ["1 prompts on toy: no fault"])


def test_an_item_that_comes_back_is_no_leak_of_a_masked_history(llmrec, tmp_path: Path):
    log, items = toy_tables()
    twice = pl.concat([log, log.with_columns(pl.col("timestamp") + 10**9)])
    folder = write_recbole(tmp_path / "toy", "toy", twice, items)
    body = "{% block input %}{% for row in history[:-1] %}{{ row.title }}; {% endfor %}{% endblock %}"
    write("p5/masked", body + "{% block target %}{{ history[-1].title }}{% endblock %}")
    answer = llmrec("check", "p5/masked", "--data", "toy", "--data-dir", folder)
    assert (answer.code, answer.out) == (0, "1 prompts on toy: no fault\n")
    assert "p5/masked: the answer stands in the history" in answer.err


def test_an_item_prompt_tells_items_apart_and_keeps_to_its_length(check):
    write("items/same", "{% block text %}A film.{% endblock %}")
    assert check("items/same") == (
        1,
        ["items/same: all 30 items have one text, 'A film.'; name a field that tells them apart"],
    )
    write("items/long", "{% block text %}{{ item.title }}{% endblock %}", "max_chars: 13")
    assert check("items/long") == (
        1,
        ["items/long: the text is longer than max_chars 13 for 20 of 30 items, such as 'i10': 14 characters"],
    )


def test_choices_that_the_prompt_offers_and_bare_numbers_are_no_leak(check):
    write(
        "p5/like",
        "{% block input %}Film 1 2 3 4 5: {{ item.title }}. Like or dislike?{% endblock %}"
        "{% block target %}{{ 'like' if interaction.rating > 3 else 'dislike' }}{% endblock %}",
    )
    assert check("p5/like")[0] == 0
    write(
        "p5/stars",
        "{% block input %}Stars for {{ item.title }}{% endblock %}"
        "{% block target %}{{ interaction.rating | int }}{% endblock %}",
    )
    assert check("p5/stars")[0] == 0


def test_a_field_that_does_not_exist_fails_with_the_nearest_even_where_no_row_comes(check):
    write("p5/odd", GOOD.replace("{{ history", "{% if not history %}{{ user.agee }}{{ item_id }}{% endif %}{{ history"))
    code, lines = check("p5/odd")
    assert code == 1
    assert lines == [
        "p5/odd: line 4: block 'input' has no variable 'item_id'; did you mean 'item'? "
        "(have: candidates, claimed, following, history, interaction, item, separator, user)"
    ]
    write("p5/odd", GOOD.replace("{{ history", "{% if not history %}{{ user.agee }}{% endif %}{{ history"))
    assert check("p5/odd") == (
        1,
        [
            "p5/odd: line 4: user has no field 'agee'; did you mean 'age'? "
            "(have: age, gender, id, name, occupation, user_id, zip_code)"
        ],
    )


def test_a_field_never_filled_on_this_data_fails_unless_it_is_a_fall_back(check):
    write("p5/age", GOOD.replace("{{ history", "{{ user.age }} {{ history"))
    assert check("p5/age") == (1, ["p5/age: line 4: user.age is never filled in toy"])
    write("p5/age", GOOD.replace("{{ history", "{{ user.age or user.user_id }} {{ history"))
    assert check("p5/age")[0] == 0
    write("p5/age", GOOD.replace("{{ history", "{{ user.age or user.gender }} {{ history"))
    assert check("p5/age") == (1, ["p5/age: line 4: user.age is never filled in toy"])


def test_an_answer_slot_that_is_empty_or_cut_off_fails(check):
    """D1: 3,000-token history; the input may not push the answer out."""
    write("p5/empty", GOOD.replace("{{ item.title }}", ""))
    code, lines = check("p5/empty")
    assert code == 1
    assert lines[0].startswith("p5/empty: block 'target' is empty: no answer to learn or to compare with in 40 of 40")
    assert len(lines) == 1
    write("p5/long", GOOD, head="max_chars: 5")
    code, lines = check("p5/long")
    assert code == 1
    assert lines[0].startswith("p5/long: the input is longer than max_chars 5 and the answer would be cut off in 40 of")
    assert lines[0].endswith(" characters")
    write("p5/long", GOOD, head=f"max_chars: {len('Film 29 (1979)')}")
    assert check("p5/long")[0] == 0
    write("p5/nothing", GOOD.replace("{{ history[-1].title }}", ""))
    assert check("p5/nothing")[1][0].startswith("p5/nothing: the input is empty in 40 of 40 cases, such as user 'u")


@pytest.mark.parametrize("option", [("--cases", 0), ("--seed", -1)])
def test_an_option_out_of_range_ends_with_2(check, option):
    assert check("items/title", *option)[0] == 2


def test_two_files_with_one_body_fail(check):
    write("p5/one", GOOD)
    write("p5/two", "\n" + GOOD, head="description: another head")
    for name in ("p5/one", "p5/two"):
        assert check(name) == (1, ["p5/one: the same body as p5/two; delete one"])
    write("p5/two", GOOD + "{# other #}")
    assert check("p5/one")[0] == 0


def test_candidates_that_look_the_same_fail(check):
    """A26: `Sabrina (1954)` & `Sabrina (1995)`: without its year a title stands for several films."""
    pick = "{% block system %}Pick.{% endblock %}{% block user %}{% for row in candidates %}{{ ROW }}\n{% endfor %}"
    pick += "{% endblock %}{% block answer %}{{ item.title }}{% endblock %}"
    write("zeroshot/year", pick.replace("ROW", "row.title"))
    assert check("zeroshot/year")[0] == 0
    write("zeroshot/year", pick.replace("ROW", "row.genres | join"))
    code, lines = check("zeroshot/year")
    assert code == 1
    expected = "27 items look like another one among the candidates, such as 'i0' and 'i3'; show more fields"
    assert lines == [f"zeroshot/year: {expected}"], "30 films of three genres"


def test_a_template_that_fails_on_a_row_is_a_fault_with_the_user(check):
    write("p5/index", GOOD.replace("[-1]", "[3]"))
    assert check("p5/index")[0] == 0, "each history of the small log has four items at least"
    write("p5/index", GOOD.replace("[-1]", "[4]"))
    code, lines = check("p5/index")
    assert code == 1
    assert lines[0].startswith("p5/index: cannot be rendered in ")
    assert "prompt 'p5/index': line 4: list object has no element 4" in lines[0]


def test_every_fault_of_every_file_has_a_line_of_its_own(llmrec, toy_folder: Path):
    write("p5/yaml", GOOD, head="a: [1")
    write("p5/option", GOOD, head="max_char: 3\nseen: true")
    write("p5/blocks", "{% block inptu %}x{% endblock %}{% block target %}y{% endblock %}")
    write("p5/two", GOOD.replace("}}{%", "}}{{ user.agee }}{{ user.age }}{%", 1))
    names = ("p5/yaml", "p5/option", "p5/blocks", "p5/two")
    answer = llmrec("check", *names, "--data", "toy", "--data-dir", toy_folder)
    lines = answer.out.splitlines()
    assert answer.code == 1
    for start in (
        "p5/yaml: prompt 'p5/yaml': the head is not YAML: ",
        "p5/option: no option 'max_char' in the head; did you mean 'max_chars'",
        "p5/option: no option 'seen' in the head",
        "p5/blocks: line 4: no block 'inptu'; did you mean 'input'",
        "p5/blocks: block 'input' is missing",
        "p5/two: line 4: user has no field 'agee'",
        "p5/two: line 4: user.age is never filled in toy",
    ):
        assert len([line for line in lines if line.startswith(start)]) == 1, start
    assert len(lines) == 7


def test_beside_a_fault_is_said_which_prompts_have_none(llmrec, toy_folder: Path):
    names = ("items/title", "items/title_brand", "p5/sequential/next_item")
    answer = llmrec("check", *names, "--data", "toy", "--data-dir", toy_folder)
    assert answer.code == 1
    assert answer.out.splitlines() == [
        "items/title_brand: line 5: item.brand is never filled in toy",
        "2 prompts (items/title, p5/sequential/next_item) on toy: no fault",
    ]


def test_an_item_prompt_that_leaves_items_without_text_fails(llmrec, tmp_path: Path):
    log, items = toy_tables()
    untitled = items.with_columns(title=pl.when(pl.col("item_id") != "i4").then("title").otherwise(pl.lit("")))
    folder = write_recbole(tmp_path / "toy", "toy", log, untitled)
    answer = llmrec("check", "items/title", "--data", "toy", "--data-dir", folder)
    assert answer.code == 1
    assert "items/title: toy: prompt 'items/title' gives no text for 1 items, such as ['i4']" in answer.out


@pytest.mark.parametrize(
    ("answer", "text", "stands"),
    [
        ("Heat (1995)", "after Heat (1995), ...", True),
        ("heat (1995)", "after HEAT  \n (1995)", True),
        ("Heat", "Heats or Reheat", False),
        ("Seven", "Seven Samurai", True),
        ("$100 Card?", "a $100 Card? Yes", True),
        ("", "anything", False),
    ],
)
def test_an_answer_is_looked_for_as_whole_words(answer, text, stands):
    assert stands_in(answer, text) is stands


def test_a_prompt_that_leaks_cannot_be_loaded_by_a_run_either(llmrec):
    write("p5/leak", GOOD.replace("history[-1]", "item"))
    with pytest.raises(PromptError, match="its own answer"):
        Prompt.load("p5/leak")


@pytest.mark.slow
@pytest.mark.skipif(not ML_100K.is_dir(), reason="needs shared/data/ml-100k beside the project")
def test_the_prompts_for_films_pass_on_ml_100k(llmrec):
    names = ["items/title_genres", "p5/sequential/next_item", "zeroshot/rank"]
    answer = llmrec("check", *names, "--data", "ml-100k", "--data-dir", ML_100K, "--cases", 40)
    assert (answer.code, answer.out) == (0, "3 prompts on ml-100k: no fault\n")
