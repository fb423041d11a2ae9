"""What a model that writes names learns from: nothing held out, right targets, the same texts for the same seed."""

import re
from collections import Counter

import numpy as np
import polars as pl
import pytest
from small_logs import varied
from small_shop import full_shop
from small_writers import batches, build, options, split_of

from llmrec import preparation
from llmrec.errors import ConfigError, PromptError
from llmrec.generative.batches import WINDOW
from llmrec.generative.examples import HISTORY, Examples, question
from llmrec.interactions import Dataset
from llmrec.prompt_rows import PromptRows

ALL = {"sequential": 5, "rating": 3, "direct": 3, "explanation": 2, "review": 2}
BANDS = {1.0: (1.0, 1.4), 2.0: (1.5, 2.4), 3.0: (2.5, 3.4), 4.0: (3.5, 4.4), 5.0: (4.5, 5.0)}


def examples(dataset: Dataset, per_user: dict[str, int], seed: int = 0, split=None) -> Examples:
    split = split or split_of(dataset)
    return Examples(split, PromptRows(dataset), per_user, seed)


def log_of(*users: tuple[str, ...], ratings=(1.0, 2.0, 3.0, 4.0, 5.0)) -> Dataset:
    rows = [(f"u{user}", item, place) for user, items in enumerate(users) for place, item in enumerate(items)]
    log = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    stars = pl.Series("rating", [ratings[row % len(ratings)] for row in range(len(log))], dtype=pl.Float64)
    titles = pl.DataFrame({"item_id": (ids := sorted(set(log["item_id"]))), "title": [f"Film {each}" for each in ids]})
    return Dataset.from_tables("small", log.with_columns(stars), titles)


def variables(made: Examples, epoch: int) -> list[tuple]:
    """Prompt, user, place and all that the templates are given, of an epoch."""
    random = np.random.default_rng(epoch)
    drawn = made.epoch(epoch)
    return [
        (
            made.prompts[prompt],
            user,
            place,
            made._variables(made.prompts[prompt], user, place, random.random(3).tolist(), random),
        )
        for user, prompt, place in drawn.tolist()
    ]


@pytest.mark.slow
def test_nothing_held_out_is_in_an_example():
    """The last two of everybody's items are met by nobody else, so a leak would show their names in a history."""
    users = [tuple(f"i{number}" for number in range(user % 4, 12)) for user in range(12)]
    dataset = log_of(*((*items, f"valid{user}", f"test{user}") for user, items in enumerate(users)))
    made = examples(dataset, {"sequential": 10, "rating": 4, "direct": 4})
    for epoch in range(6):
        for _, _, place, told in variables(made, epoch):
            shown = [row["item_id"] for row in (*told["history"], told["item"])]
            assert not [item for item in shown if not item.startswith("i")]
            assert len(told["history"]) <= min(place, HISTORY)
        written = made.write(made.epoch(epoch), (epoch, 0))
        targets = " ".join(target for _, target in written)
        assert not re.search("valid|test", targets)
        for text, target in written:
            if found := re.search(r"(valid|test)\d+", text):
                assert target == "no" or "," in text, f"{found[0]} stands there as what is wanted"


@pytest.mark.slow
def test_histories_are_what_came_before_and_candidates_hold_the_target_once():
    made = examples(full_shop(), ALL)
    for prompt, user, place, told in variables(made, 0):
        known = made.split.train[user].tolist()
        items = made.rows.items
        assert told["history"] == [items[item] for item in known[max(0, place - HISTORY) : place]]
        assert told["item"] is items[known[place]]
        if not (number := prompt.head.candidates) or "candidates" not in told:
            continue
        ids = [row["item_id"] for row in told["candidates"]]
        assert len(ids) == len(set(ids)) == number
        assert ids.count(told["item"]["item_id"]) == 1 or number == 1
        met = {items[item]["item_id"] for item in known}
        assert not (set(ids) - {told["item"]["item_id"]}) & met, "what he met is no wrong answer"


@pytest.mark.slow
def test_yes_no_agrees_and_each_is_common():
    made = examples(full_shop(), ALL)
    answers = Counter()
    for prompt, _, _, told in variables(made, 0):
        if prompt.head.task == "choice" and "candidates" in told:
            answer = prompt.render("target", **told)
            assert answer == ("yes" if told["candidates"][0]["item_id"] == told["item"]["item_id"] else "no")
            answers[answer] += 1
    assert min(answers["yes"], answers["no"]) > 0.25 * answers.total()


def test_claimed_stars_and_likes_agree_with_the_log():
    dataset = full_shop()
    made = examples(dataset, {"rating": 30})
    ids = {f"item_{item}": item for item in dataset.item_ids[1:]}
    log = dataset.interactions.with_columns(
        item_id=pl.Series(dataset.item_ids)[pl.Series(dataset.interactions["item"])],
        user_id=pl.Series(dataset.user_ids)[pl.Series(dataset.interactions["user"])],
    )
    stars = {(user, item): each for user, item, each in log.select("user_id", "item_id", "rating").iter_rows()}
    counts = Counter()
    for text, target in made.write(made.epoch(0), (0, 0)):
        user, item = re.search(r"user_(u\d+)", text), re.search(r"item_i\d+", text)
        if not (user and item):
            continue
        given = stars[user[1], ids[item[0]]]
        if claimed := re.search(r"exactly (\d) of 5", text):
            assert target == ("yes" if given == int(claimed[1]) else "no")
            counts["claimed", target] += 1
        elif "like or dislike" in text:
            assert target == ("like" if given >= 4 else "dislike")
            counts["liked", target] += 1
        else:
            assert re.fullmatch(r"\d\.\d", target)
            low, high = BANDS[given]
            assert max(1.0, low - (high - low) / 2) <= float(target) <= min(5.0, high + (high - low) / 2)
            counts["inside", low <= float(target) <= high] += 1
            counts["moved", float(target) != given] += 1
    assert counts["inside", True] > 15 * counts["inside", False], "two deviations to each side"
    assert counts["moved", True] > counts["moved", False]
    for kind, answers in {"claimed": ("yes", "no"), "liked": ("like", "dislike")}.items():
        assert all(counts[kind, answer] > 5 for answer in answers)


@pytest.mark.slow
def test_only_seen_prompts_ask_and_users_have_as_many_examples_as_told():
    made = examples(full_shop(), ALL)
    assert made.switched_off == {}
    assert not [prompt for prompt in made.prompts if prompt.head.unseen]
    drawn = made.epoch(0)
    families = Counter((user, made.prompts[prompt].name.split("/")[1]) for user, prompt, _ in drawn.tolist())
    assert families == {(user, family): number for user in range(12) for family, number in ALL.items()}
    several = np.concatenate([made.epoch(epoch) for epoch in range(5)])
    assert {made.prompts[prompt].name for prompt in several[:, 1]} == {prompt.name for prompt in made.prompts}


@pytest.mark.slow
def test_seed_and_epoch_decide_alone(toy):
    per_user = {"sequential": 2, "rating": 1}
    first, again, other = (examples(toy, per_user, seed) for seed in (0, 0, 1))
    drawn = first.epoch(3)
    written = first.write(drawn[:40], (3, 0))
    assert again.write(again.epoch(3)[:40], (3, 0)) == written
    assert first.write(first.epoch(4)[:40], (4, 0)) != written
    assert other.write(other.epoch(3)[:40], (3, 0)) != written
    assert first.write(drawn[:40], (3, 1)) != written, "another window has its own dice"


def test_a_user_of_a_single_item_is_only_asked_what_needs_no_history():
    dataset = log_of(("a",), ("a", "b", "c", "d", "e"), ("b", "c", "d"))
    made = examples(dataset, {"sequential": 3, "direct": 2})
    drawn = made.epoch(0)
    asked = {(user, bool(made.prompts[prompt].anatomy.shows("history"))) for user, prompt, _ in drawn.tolist()}
    assert asked == {(0, False), (1, True), (1, False), (2, False)}
    assert len(made.write(drawn, (0, 0))) == 3 + 2 * 3


def test_who_met_everything_is_asked_about_what_he_met():
    made = examples(log_of(("a", "b", "c", "a", "b")), {"direct": 40})
    for prompt, _, _, told in variables(made, 0):
        assert [row["item_id"] for row in told["candidates"]] == [told["item"]["item_id"]]
        if prompt.head.task == "choice":
            assert prompt.render("target", **told) == "yes"


def test_ratings_are_those_of_the_training_rows_where_something_held_out_stands_before():
    """A part may hold out the first of two meetings with an item; its stars are not the training's."""
    parts = pl.Series("part", ["test", "train", "train", "validation", "test"])
    log = pl.DataFrame({"user_id": ["u"] * 5, "item_id": [*"aabab"], "timestamp": range(5)})
    log = log.with_columns(parts, rating=pl.Series([1.0, 5.0, 3.0, 1.0, 1.0]))
    titles = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
    dataset = Dataset.from_tables("parts", log, titles)
    made = examples(dataset, {"rating": 60}, split=split_of(dataset, "given"))
    written = made.write(made.epoch(0), (0, 0))
    for text, target in written:
        if "like or dislike" in text:
            assert target == ("like" if "item_a" in text else "dislike")
        elif re.fullmatch(r"\d\.\d", target):
            assert float(target) > 2.0, "one star is what was held out"
    assert len(written) == 60


def test_log_rows_are_those_of_the_training_part():
    for name in ("leave_one_out", "given", "temporal"):
        split = split_of(varied(), name)
        log = split.dataset.interactions[split.log_rows]
        assert (log["item"].to_numpy() == split.train.values).all()
        assert (log["user"].to_numpy() == split.train.rows() + 1).all()
        assert len(set(split.log_rows.tolist())) == len(split.train.values)


def many(dataset: Dataset, per_user: dict, **more) -> Examples:
    return Examples(split_of(dataset), PromptRows(dataset), per_user, 0, **more)


@pytest.mark.slow
def test_kinds_of_questions_have_the_shares_that_they_are_given(toy):
    per_user = {"sequential": {"item": 3, "pick": 1, "choice": 0}, "rating": {"rating": 2}, "direct": 1}
    made = many(toy, per_user)
    asked = Counter()
    for epoch in range(3):
        for user, prompt, _ in made.epoch(epoch).tolist():
            chosen = made.prompts[prompt]
            asked[user, chosen.name.split("/")[1], question(chosen)] += 1
    for user in range(40):
        assert asked[user, "sequential", "item"] == 3 * 3
        assert asked[user, "sequential", "pick"] == 3 * 1
        assert asked[user, "rating", "rating"] == 3 * 2
        assert asked[user, "direct", "pick"] + asked[user, "direct", "choice"] == 3 * 1
    assert asked.total() == 40 * 3 * (3 + 1 + 2 + 1)
    assert "p5/sequential/next_item" in made.used
    assert "p5/sequential/is_next" not in made.used, "a kind without a share teaches nothing"
    assert {made.prompts[prompt].name for epoch in range(20) for _, prompt, _ in made.epoch(epoch)} == set(made.used)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"itme": 3}, "no prompt of 'sequential' that toy can fill asks 'itme'; did you mean 'item'"),
        ({"item": 3, "rating": 1}, "asks 'rating'.*choice, item, pick"),
    ],
)
def test_a_kind_of_question_that_the_family_does_not_ask_is_refused(toy, shares, message):
    with pytest.raises(ConfigError, match=rf"p5\.examples: .*{message}"):
        many(toy, {"sequential": shares})


@pytest.mark.slow
def test_a_prompt_that_is_held_out_never_asks(toy):
    name = "p5/sequential/next_item"
    assert name in many(toy, {"sequential": 2}).used
    made = many(toy, {"sequential": 2}, hold_out=[name])
    assert name not in made.used and len(made.used) > 3
    assert not any(text.startswith("So far") for text, _ in made.write(made.epoch(0), (0, 0)))


@pytest.mark.slow
def test_a_held_out_prompt_that_no_family_has_is_refused():
    given = {"hold_out": ["p5/sequential/next_itme"], "examples": {"sequential": 1}}
    with pytest.raises(ConfigError, match=r"no prompt 'p5/sequential/next_itme'.*did you mean .*next_item'"):
        preparation.check(options(f"p5={given}"))
    given = {"hold_out": ["p5/rating/by_ids"], "examples": {"sequential": 1}}
    with pytest.raises(
        ConfigError, match=r"p5\.hold_out: no prompt 'p5/rating/by_ids' in the families of p5\.examples"
    ):
        preparation.check(options(f"p5={given}"))


def test_lists_are_as_long_as_training_is_told(toy):
    made = many(toy, {"direct": 6}, listed=5)
    lengths = Counter()
    for prompt, _, _, told in variables(made, 0):
        ids = [row["item_id"] for row in told["candidates"]]
        lengths[question(prompt), len(ids)] += 1
        assert question(prompt) == "choice" or ids.count(told["item"]["item_id"]) == 1
    assert lengths.keys() == {("pick", 5), ("choice", 1)}
    pick = re.compile(r"item_i\d+")
    texts = [text for text, target in made.write(made.epoch(0), (0, 0)) if pick.fullmatch(target)]
    assert {len(pick.findall(text)) for text in texts} == {5}


def test_a_continuation_goes_on_from_its_input_and_ends_with_the_training_part():
    """C2: what a target says is met in training, never an item that validates or tests."""
    users = [tuple(f"{user}x{place}" for place in range(length)) for user, length in enumerate((45, 30, 6, 2))]
    dataset = log_of(*((*items, f"valid{user}", f"test{user}") for user, items in enumerate(users)))
    made = examples(dataset, {"continuation": 40})
    drawn = made.epoch(0)
    lengths = Counter()
    for row, asked, target in made.written(drawn, (0, 0)):
        user, _, place = drawn[row].tolist()
        following = re.findall(r"item_(\w+)", target)
        assert following == list(users[user][place : place + 20])
        assert re.sub(r"item_\w+", "", target).strip() == ""
        assert re.findall(r"item_(\w+)", asked) == list(users[user][max(0, place - 20) : place])
        lengths[len(following)] += 1
    assert lengths[20] > 10 and lengths[1] > 0 and max(lengths) == HISTORY == 20


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("sequentiel", "p5.examples: no family 'sequentiel'; did you mean 'sequential'"),
        ("review", "small has not the fields for any prompt of review; ask"),
    ],
)
def test_a_family_that_cannot_ask_is_refused(family, message):
    with pytest.raises(ConfigError, match=message):
        examples(log_of(("a", "b", "c", "d")), {family: 1})


@pytest.mark.parametrize(
    ("ratings", "told"),
    [((2.0, 4.0, 6.0, 10.0), "from 2 to 10"), ((0.5, 3.0, 5.0), "from 0.5 to 5"), ((0.0,), "from 0 to 0")],
)
def test_ratings_that_are_no_stars_of_five_are_asked_for_by_no_prompt(ratings, told):
    log = log_of(*[tuple("abcdefgh")] * 4, ratings=ratings)
    with pytest.raises(ConfigError, match="has not the fields for any prompt of rating"):
        examples(log, {"rating": 1})
    made = examples(log, {"sequential": {"item": 2}, "rating": 1})
    assert {name.split("/")[1] for name in made.used} == {"sequential"}
    reasons = {why for name, why in made.switched_off.items() if name.startswith("p5/rating/")}
    assert reasons - {"no row fills user.name"} == {f"ratings are {told}, and prompts ask for 1 to 5 stars"}
    stars = examples(log_of(*[tuple("abcdefgh")] * 4, ratings=(1.0, 2.5, 5.0)), {"rating": 1})
    assert {*stars.switched_off.values()} == {"no row fills user.name"} and len(stars.used) > 3


def test_a_field_that_no_row_has_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "---\ndescription: One.\ntask: rating\n---\n{% block input %}{{ user.shade }}{% endblock %}\n"
    (tmp_path / "prompts/p5/mine").mkdir(parents=True)
    (tmp_path / "prompts/p5/mine/one.jinja").write_text(
        text + "{% block target %}{{ interaction.rating }}{% endblock %}\n", encoding="utf-8"
    )
    with pytest.raises(PromptError, match="user has no field 'shade'"):
        examples(log_of(("a", "b", "c", "d")), {"mine": 1})


def test_a_family_that_the_data_cannot_fill_is_switched_off_beside_others():
    made = examples(log_of(("a", "b", "c", "d")), {"sequential": {"item": 2}, "review": 3, "other_domain": 0})
    assert {name.split("/")[1] for name in made.used} == {"sequential"}
    assert any(name.startswith("p5/review/") for name in made.switched_off)
    assert len(made.epoch(0)) == 2


# Batches


@pytest.fixture(scope="module")
def some():
    return batches(full_shop(), 4, "p5.examples={sequential: 20, direct: 8}")


def rows_of(batch) -> list[tuple]:
    sides = zip(batch.input.tolist(), batch.target.tolist())
    return [(tuple(filter(None, one)), tuple(filter(None, other))) for one, other in sides]


@pytest.mark.slow
def test_shares_together_are_the_batch(some):
    whole = list(some.epoch(1))
    shares = [list(some.epoch(1, rank=rank, world=3)) for rank in range(3)]
    assert len(whole) == -(-12 * 28 // 4) > WINDOW
    for number, (batch, size) in enumerate(whole):
        together = [row for share in shares for row in rows_of(share[number][0])]
        assert sorted(together) == sorted(rows_of(batch))
        assert size == batch.num_targets == sum(share[number][0].num_targets for share in shares)
        assert size == sum(len(target) for _, target in rows_of(batch)), "pieces, their ends included"
        assert {share[number][1] for share in shares} == {size}


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, WINDOW - 1, WINDOW, WINDOW + 3, 84])
def test_an_epoch_goes_on_at_any_batch(some, first):
    whole, rest = list(some.epoch(2)), list(some.epoch(2, first))
    assert len(rest) == len(whole) - first
    for (one, size), (other, again) in zip(whole[first:], rest):
        assert size == again
        assert one.input.equal(other.input)
        assert one.target.equal(other.target)


def test_no_input_shows_a_field_that_its_interaction_lacks():
    data = full_shop()
    log = data.interactions.with_columns(feature=pl.when(pl.int_range(pl.len()) % 2 == 0).then("feature"))
    some = examples(Dataset("half", log, data.items, data.users), {"explanation": 40})
    drawn = some.epoch(0)
    written = list(some.written(drawn, (0,)))
    shows = np.array([prompt.anatomy.shows("interaction", "feature") for prompt in some.prompts])[drawn[:, 1]]
    kept = np.isin(np.arange(len(drawn)), [row for row, *_ in written])
    assert kept[~shows].all()
    assert 0.3 < kept[shows].mean() < 0.7
    assert all(re.search(r"fit|smell|price", asked) for row, asked, _ in written if shows[row])


@pytest.mark.slow
def test_an_epoch_goes_on_where_some_examples_have_no_target():
    users = [tuple(f"i{(user + step) % 9}" for step in range(6)) for user in range(20)]
    some = batches(log_of(*users, ratings=(4.0, None, 2.0)), 4, "p5.examples={rating: 4}")
    whole = list(some.epoch(0))
    assert 20 < sum(len(batch.target) for batch, _ in whole) < 80
    assert len(whole) == 20 and min(size for _, size in whole) > 0
    for first in (1, 7, 19):
        rest = list(some.epoch(0, first))
        assert [rows_of(batch) for batch, _ in rest] == [rows_of(batch) for batch, _ in whole[first:]]


@pytest.mark.slow
def test_what_is_left_over_belongs_to_the_last_window():
    """Alone a few examples might all lack a target, and the run would end there."""
    users = [tuple(f"i{(user + step) % 9}" for step in range(6)) for user in range(65)]
    some = batches(log_of(*users, ratings=(4.0, None)), 4, "p5.examples={rating: 4}")
    for epoch in range(6):  # 260 examples: a window of 256, and four that are half empty
        assert len(list(some.epoch(epoch))) == 65


@pytest.mark.slow
def test_little_is_padding(toy):
    some = batches(toy, 8)
    assert some.counted() == {}
    shares = [share for share, _ in some.epoch(0)]
    pieces = [side for share in shares for side in (share.input, share.target)]
    real = sum(int((side != some.tokenizer.pad_token_id).sum()) for side in pieces)
    assert some.counted() == {"padding": sum(side.numel() for side in pieces) / real}
    assert 1 < some.counted()["padding"] <= 1.05


@pytest.mark.slow
def test_what_is_too_long_is_refused():
    with pytest.raises(
        ConfigError, match=r"longer than 20 pieces, the longest has \d+ and begins .*raise p5\.max_input"
    ):
        list(batches(full_shop(), 8, longest=(20, 128)).epoch(0))


@pytest.mark.slow
def test_data_without_targets_are_refused():
    some = batches(log_of(*[("a", "b", "c", "d")] * 5, ratings=(4.0, *[None] * 19)), 1, "p5.examples={rating: 4}")
    with pytest.raises(ConfigError, match=r"of \d+ examples only \d+ have a target"):
        list(some.epoch(0))


@pytest.mark.slow
def test_nothing_to_learn_from_is_refused():
    some = batches(log_of(("a", "b", "c")), 4, "p5.examples={sequential: 3}")
    with pytest.raises(ConfigError, match="of 0 examples only 0 have a target"):
        list(some.epoch(0))


@pytest.mark.slow
def test_a_new_recommender_is_the_same_for_the_same_seed(toy):
    first, again = (build(toy)[0] for _ in range(2))
    assert first.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    assert all(one.equal(other) for one, other in zip(first.state_dict().values(), again.state_dict().values()))
