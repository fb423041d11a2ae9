"""Item ids: every item has a name of its own that the training part and a seed alone settle."""

import re
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_texts import no_texts, words_of

from llmrec import components
from llmrec.errors import ConfigError, DataError
from llmrec.interactions import Dataset
from llmrec.item_ids import ItemIds, Naming, TextVectors, numbered
from llmrec.item_ids.random import Random
from llmrec.item_ids.sequential import Sequential
from llmrec.item_ids.title import Title
from llmrec.sequences import Sequences
from llmrec.splits import Split
from llmrec.splits.leave_one_out import LeaveOneOut

SPECS: list[dict[str, Any]] = [
    *({"name": name} for name in components.names("item_ids")),
    {"name": "sequential", "order": "short_first"},
    {"name": "sequential", "order": "long_first"},
    {"name": "collaborative", "clusters": 2, "leaf": 4},
    {"name": "collaborative", "shuffled": True},
    {"name": "semantic", "levels": 2, "codes": 4},
    {"name": "semantic", "shuffled": True},
]
every_kind = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "-".join(map(str, spec.values())))


def make(spec: dict[str, Any]) -> Naming:
    return components.create("item_ids", components.resolve("item_ids", spec))


def table(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"item_id": ids, "title": [f"Film {item}" for item in ids]})


def numbers(count: int) -> pl.DataFrame:
    return table(*map(str, range(1, count + 1)))


def test_names_dealt_out_anew_are_the_same_names_of_other_items():
    users = [[str(1 + (start + step) % 30) for step in range(6)] for start in range(0, 30, 3)]
    train = split_of(users, numbers(30)).train
    plain, dealt = (
        make({"name": "collaborative", "clusters": 3, "leaf": 4, "shuffled": each}).name(
            train, numbers(30), 0, no_texts
        )
        for each in (False, True)
    )
    assert sorted(plain.names) == sorted(dealt.names)
    assert plain.tokens == dealt.tokens
    assert sum(a == b for a, b in zip(plain.names, dealt.names)) < 10


def titled(*titles: str | None) -> pl.DataFrame:
    """Items 1, 2 ... of these titles."""
    return pl.DataFrame({"item_id": [str(place) for place in range(1, len(titles) + 1)], "title": titles})


def split_of(users: list[list[str]], items: pl.DataFrame) -> Split:
    rows = [(f"u{number}", item, time) for number, met in enumerate(users) for time, item in enumerate(met)]
    log = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    return LeaveOneOut().split(Dataset.from_tables("some", log, items))


def parts(seed: int = 0) -> tuple[list[list[str]], np.ndarray]:
    """Training sequences over 40 items, and two held-out items for each of the users, of 50."""
    generator = np.random.default_rng(seed)
    train = [[f"i{item}" for item in generator.integers(40, size=generator.integers(1, 12))] for _ in range(30)]
    held = np.resize(generator.permutation([f"i{item}" for item in range(50)]), (30, 2))
    return train, held


def by_id(naming: Any, train: list[list[str]], held: np.ndarray, order: np.ndarray | None = None) -> dict[str, str]:
    """Names by item id; the table is in reading order of the whole log unless another is asked for."""
    users = [met + last.tolist() for met, last in zip(train, held)]
    read = list(dict.fromkeys(item for met in users for item in met))
    items = table(*(read if order is None else np.sort(read)[order]))
    return dict(zip(items["item_id"], naming.name(split_of(users, items).train, items, 0, words_of(items)).names[1:]))


def places(names: ItemIds) -> list[int]:
    return [int(name.removeprefix("item_")) for name in names.names[1:]]


class ReadingOrder:
    """What P5 did: numbers along the whole log, held-out items too, which is the order of the table."""

    def name(self, train: Sequences, items: pl.DataFrame, seed: int, vectors: TextVectors) -> ItemIds:
        return numbered(np.arange(1, len(items) + 1), 1)


# Every kind


@pytest.mark.slow
@every_kind
def test_every_item_has_one_name_and_the_same_seed_gives_it_again(spec):
    train, held = parts()
    users = [met + last.tolist() for met, last in zip(train, held)]
    items = table(*(f"i{item}" for item in range(50)))
    split, naming = split_of(users, items), make(spec)
    assert isinstance(naming, Naming)
    first, again, other = (naming.name(split.train, items, seed, words_of(items)) for seed in (0, 0, 1))
    assert first == again
    assert first.hash == again.hash
    assert len(first.names) == 51
    assert first.names[0] == ""
    assert len(set(first.names)) == 51
    assert (first.hash == other.hash) == (spec["name"] == "title"), "whatever is drawn depends on the seed"


@pytest.mark.slow
@every_kind
def test_no_held_out_item_and_no_order_of_the_table_reaches_a_name(spec):
    """C1: P5 numbers items along the whole log."""
    train, held = parts()
    naming, generator = make(spec), np.random.default_rng(1)
    names = by_id(naming, train, held)
    for _ in range(3):
        moved = generator.permutation(held.reshape(-1)).reshape(held.shape)
        assert by_id(naming, train, moved) == names
        assert by_id(naming, train, moved, generator.permutation(50)) == names
    assert by_id(ReadingOrder(), train, moved) != by_id(ReadingOrder(), train, held), "the test can fail"


@every_kind
def test_items_added_after_training_are_named_or_refused_by_the_name_of_the_kind(spec):
    items, new, naming = numbers(6), titled("Alien", "Film 3"), make(spec)
    known = naming.name(Sequences.from_lists([[1, 2, 3]]), items, 0, words_of(items))
    if spec["name"] == "title":
        assert naming.of_new(new, known) == ["Alien", "Film 3 [2]"]
        return
    with pytest.raises(
        DataError, match=rf"item id '{spec['name']}'.*2 items added .*\['1', '2'\]; train with .*'title'"
    ):
        naming.of_new(new, known)


@every_kind
def test_a_training_part_without_a_single_interaction_still_names_all(spec):
    names = make(spec).name(Sequences.from_lists([[]]), numbers(130), 0, words_of(numbers(130)))
    assert len(set(names.names)) == 131


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "random", "first": -1}, "first must be at least 0, came -1"),
        ({"name": "sequential", "first": -1}, "first must be at least 0, came -1"),
        ({"name": "collaborative", "clusters": 1}, "clusters must be at least 2, came 1"),
        ({"name": "collaborative", "leaf": 0}, "leaf must be at least 1, came 0"),
        ({"name": "semantic", "levels": 0}, "levels must be from 1 to 25, a letter each, came 0"),
        ({"name": "semantic", "levels": 26}, "levels must be from 1 to 25, a letter each, came 26"),
        ({"name": "semantic", "codes": 1}, "codes must be at least 2, came 1"),
    ],
)
def test_options_out_of_their_range_are_refused(spec, words):
    with pytest.raises(ConfigError, match=words):
        make(spec)


def test_names_that_are_not_all_different_are_refused():
    with pytest.raises(DataError, match=r"1 names of items stand twice or are empty, such as \['a'\]"):
        ItemIds(("", "a", "b", "a"))
    with pytest.raises(DataError, match=r"such as \[''\]"):
        ItemIds(("", "a", ""))


def test_the_hash_knows_names_and_their_order():
    same, other, moved, split = (ItemIds(("", *names)) for names in (("a", "b"), ("a", "c"), ("b", "a"), ("a", "b")))
    assert len({same.hash, other.hash, moved.hash}) == 3
    assert same.hash == split.hash
    assert re.fullmatch("[0-9a-f]{16}", same.hash)


# Numbers


def test_random_numbers_are_a_permutation():
    names = Random().name(Sequences.from_lists([[1, 2]]), numbers(100), 0, no_texts)
    assert sorted(places(names)) == list(range(1001, 1101))
    assert places(names) != sorted(places(names))
    assert sorted(places(Random(first=0).name(Sequences.from_lists([]), numbers(3), 0, no_texts))) == [0, 1, 2]


def test_sequential_numbers_go_along_the_sequences_and_then_over_the_rest():
    train = Sequences.from_lists([[5, 2, 5, 3], [2, 8], [3, 1, 6]])
    for order, met in {
        "original": [5, 2, 3, 8, 1, 6],
        "short_first": [2, 8, 3, 1, 6, 5],
        "long_first": [5, 2, 3, 1, 6, 8],
    }.items():
        names = Sequential(first=1, order=order).name(train, numbers(8), 0, no_texts).names
        assert [names.index(f"item_{number}") for number in range(1, 7)] == met
        assert {names[4], names[7]} == {"item_7", "item_8"}


# Titles


def test_titles_are_one_line_and_braces_and_quotes_stay():
    items = titled('  "Heat"\n{{ user }} ', "Alien\t \u2028 3", "O'Brien’s {x}")
    names = Title().name(Sequences.from_lists([]), items, 0, no_texts)
    assert names.names == ("", '"Heat" {{ user }}', "Alien 3", "O'Brien’s {x}")
    assert names.tokens == ()


def test_titles_that_several_items_share_end_with_the_id():
    names = Title().name(Sequences.from_lists([]), titled("Heat", "Heat ", "Alien"), 0, no_texts).names
    assert names == ("", "Heat [1]", "Heat [2]", "Alien")


def test_a_title_that_looks_told_apart_is_told_apart_too():
    names = Title().name(Sequences.from_lists([]), titled("Heat", "Heat", "Heat [2]"), 0, no_texts).names
    assert names == ("", "Heat [1]", "Heat [2] [2]", "Heat [2] [3]")


def test_an_item_without_a_title_is_named():
    for items in (titled("Heat", None, " \n"), titled("Heat")[["item_id"]]):
        with pytest.raises(DataError, match=r"item id 'title': \d of \d items have no title, such as \['[12]'"):
            Title().name(Sequences.from_lists([]), items, 0, no_texts)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["a", "b", "a [1]", "a [2]", "b [3] [3]"]), max_size=8), st.integers(0, 8))
def test_titles_never_collide_nor_do_those_of_items_added_later(titles, number):
    items = titled(*titles).cast({"title": pl.String})
    known = Title().name(Sequences.from_lists([]), items[:number], 0, no_texts)
    new = Title().of_new(items[number:], known)
    assert len({*known.names, *new}) == len(titles) + 1
