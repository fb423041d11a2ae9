"""Every split: nothing of a target can be reached from what is trained on, and every interaction is accounted for."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from small_logs import letters, log_of, varied

from llmrec import components, evaluation
from llmrec.baselines import Known
from llmrec.config import RunConfig
from llmrec.errors import ConfigError, DataError
from llmrec.interactions import Dataset
from llmrec.sequences import Sequences
from llmrec.splits import Cases, Split

MORE = [
    {"name": "leave_one_out", "test_history": "training"},
    *({"name": "temporal", "target": target} for target in ("first", "random", "successive")),
    {"name": "temporal", "target": "random", "seed": 1},
    {"name": "temporal", "validation": 0.2, "test": 0.05},
    {"name": "cold_item", "share": 0.3},
    {"name": "user_ratio", "validation": 0.3},
]
SPECS = [*({"name": name} for name in components.names("splits")), *MORE]
every_split = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "-".join(map(str, spec.values())))
Places = list[tuple[int, int]]


def split_of(spec: dict[str, Any], dataset: Dataset | None = None) -> Split:
    made = components.create("splits", components.resolve("splits", spec))
    return made.split(varied() if dataset is None else dataset)


def places(dataset: Dataset) -> dict[tuple[int, int], int]:
    """(user, item) -> row of the log; no pair stands there twice."""
    pairs = dataset.interactions.select("user", "item").rows()
    assert len(set(pairs)) == len(pairs)
    return {pair: row for row, pair in enumerate(pairs)}


def trained(split: Split) -> set[int]:
    where = places(split.dataset)
    return {where[row + 1, item] for row, sequence in enumerate(split.train) for item in sequence.tolist()}


def targets(split: Split, part: str) -> list[int]:
    where, cases = places(split.dataset), getattr(split, part)
    return [where[pair] for pair in zip(cases.user.tolist(), cases.target.tolist())]


def histories(split: Split, part: str) -> list[list[int]]:
    where, cases = places(split.dataset), getattr(split, part)
    return [[where[user, item] for item in history] for user, history in zip(cases.user.tolist(), cases.histories)]


def flat(lists: list[list[int]]) -> list[int]:
    return [value for one in lists for value in one]


def arrays(split: Split) -> dict[str, np.ndarray]:
    """Every array that a split holds, by part and place."""

    def of(name: str, holder: Sequences | Cases) -> dict[str, np.ndarray]:
        found = {}
        for field in fields(holder):
            value = getattr(holder, field.name)
            if isinstance(value, Sequences):
                found |= of(f"{name} {field.name}", value)
            elif isinstance(value, np.ndarray):
                found[f"{name} {field.name}"] = value
        return found

    return of("train", split.train) | of("validation", split.validation) | of("test", split.test)


@every_split
def test_no_array_of_one_part_shares_memory_with_another_or_with_the_log(spec):
    """C3: custom model reading train history."""
    split = split_of(spec)
    log = {f"log {name}": split.dataset.interactions[name].to_numpy() for name in ("user", "item", "timestamp")}
    found = arrays(split) | log
    assert {"train times", "train users", "test histories times", "test histories offsets"} <= set(found)
    shared = [
        (first, second)
        for first, one in found.items()
        for second, other in found.items()
        if first.split()[0] != second.split()[0] and np.shares_memory(one, other)
    ]
    assert shared == []


@every_split
def test_no_target_is_trained_on_and_no_target_is_asked_twice(spec):
    split = split_of(spec)
    asked = targets(split, "validation") + targets(split, "test")
    assert len(split.test) and len(split.validation)
    assert len(asked) == len(set(asked))
    assert trained(split) & set(asked) == set()
    if spec["name"] != "given":  # the publisher may test before he validates
        assert set(flat(histories(split, "validation"))) & set(targets(split, "test")) == set()


@every_split
@pytest.mark.parametrize("part", ["validation", "test"])
def test_histories_end_before_their_targets_and_are_never_empty(spec, part):
    split = split_of(spec)
    for target, history in zip(targets(split, part), histories(split, part)):
        assert history == sorted(history)
        assert len(history) > 0
        assert history[-1] < target


@every_split
def test_training_histories_targets_and_what_is_listed_are_the_log(spec):
    split = split_of(spec)
    used = trained(split) | set(targets(split, "validation")) | set(targets(split, "test"))
    used |= set(flat(histories(split, "validation") + histories(split, "test")))
    rest = set(range(len(split.dataset.interactions))) - used
    owners = [split.dataset.user_ids[user] for user in split.dataset.interactions["user"].gather(sorted(rest))]
    assert split.unused.rows() == [(user, owners.count(user)) for user in dict.fromkeys(owners)]
    with_case = {*split.validation.user.tolist(), *split.test.user.tolist()}
    without = [name for user, name in enumerate(split.dataset.user_ids) if user and user not in with_case]
    assert split.without_case["user_id"].to_list() == without
    assert without[0] == "silent"
    assert all(split.without_case["reason"].to_list())


@every_split
def test_sequences_say_whose_they_are_and_when(spec):
    split = split_of(spec)
    log = split.dataset.interactions["timestamp"].to_numpy()
    assert split.train.users.tolist() == list(range(1, split.dataset.num_users + 1))
    assert split.train.times.tolist() == log[sorted(trained(split))].tolist()
    for part in ("validation", "test"):
        cases = getattr(split, part)
        assert cases.histories.users.tolist() == cases.user.tolist()
        assert cases.histories.times.tolist() == log[flat(histories(split, part))].tolist()
        assert {cases.histories.users.dtype, split.train.users.dtype} == {np.dtype(np.int32)}
        assert cases.histories.times.dtype == np.int64
        assert len(set(cases.case_ids(split.dataset.user_ids))) == len(cases)


def test_every_option_that_changes_the_targets_stands_in_the_protocol():
    stated = [(split.name, split.description, split.test_history) for split in map(split_of, SPECS)]
    assert [name for name, _, _ in stated] == [spec["name"] for spec in SPECS]
    assert len(set(stated)) == len(SPECS)
    protocol = evaluation.protocol_of(split_of({"name": "temporal"}), RunConfig())
    assert protocol.split == "temporal"
    assert protocol.targets.startswith("the last interaction of each user since 1970-01-12 ")
    assert protocol.test_history == "everything before the target, held-out interactions included"


@every_split
def test_a_split_is_the_same_each_time(spec):
    first, second = (arrays(split_of(spec)) for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"name": "temporal", "validation": 0.5, "test": 0.5},
            "must be above 0 and together below 1, came 0.5 and 0.5",
        ),
        ({"name": "temporal", "test": 0}, "must be above 0 and together below 1, came 0.1 and 0.0"),
        ({"name": "temporal", "seed": -1}, "seed must be at least 0, came -1"),
        ({"name": "cold_item", "share": 0.5}, "share must be above 0 and below 0.5, came 0.5"),
        ({"name": "cold_item", "seed": -1}, "seed must be at least 0, came -1"),
        ({"name": "user_ratio", "validation": -0.1}, "must be above 0 and together below 1, came -0.1 and 0.1"),
        ({"name": "user_ratio", "seed": -1}, "seed must be at least 0, came -1"),
    ],
)
def test_options_out_of_range_are_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        split_of(spec)


@pytest.mark.parametrize("name", ["leave_one_out", "user_ratio"])
def test_users_too_short_are_listed_under_every_ratio(name):
    """A17: users with 1, 2, 3 and 4 rows."""
    data = log_of("a", "ab", "abc", "abcd")
    split = split_of(
        {"name": name} if name == "leave_one_out" else {"name": name, "validation": 0.1, "test": 0.1}, data
    )
    assert dict(split.without_case.rows())["u1"] == f"1 interactions, needs {3 if name == 'leave_one_out' else 2}"
    assert letters(data, split.train[0]) == "a"
    assert len(split.test) >= 1 and len(split.validation) >= 1


@pytest.mark.parametrize("target", ["last", "first", "random", "successive"])
def test_users_too_short_are_listed_under_a_split_by_time(target):
    """A17: users with 1, 2, 3 and 4 rows."""
    data = log_of("a", "ab", "abc", "abcd", stamps=[9, 3, 8, 1, 5, 9, 1, 2, 6, 9])
    split = split_of({"name": "temporal", "validation": 0.3, "test": 0.3, "target": target}, data)
    assert split.without_case.rows() == [("u1", "no interaction before a target since 1970-01-01 00:00:05 UTC")]
    assert split.unused.rows() == [("u1", 1)]
    assert [data.user_ids[user] for user in split.validation.user] == ["u2", "u3", "u4"]
    assert [data.user_ids[user] for user in split.test.user] == ["u3", "u4"]


def test_a_target_that_nobody_trains_on_is_listed():
    """A23: item only in the last row."""
    split = split_of({"name": "leave_one_out"}, log_of("abcd", "baaz"))
    assert split.cold_items().rows() == [
        ("c", "1 validation and 0 test targets"),
        ("d", "0 validation and 1 test targets"),
        ("z", "0 validation and 1 test targets"),
    ]
    assert (split.dataset.num_items, split.dataset.num_users) == (5, 2), "padding is not counted"
    warm = split_of({"name": "leave_one_out"}, log_of("abca", "bcab", "cab"))
    assert warm.cold_items().rows() == []


def test_a_part_without_labels_is_refused_and_not_measured():
    """A20: impressions `N1 N2` instead of `N1-1 N2-0`: a publisher's test part whose targets are not there."""
    split = split_of({"name": "given"}, log_of("abc", "bca", parts="rrvrrv"))
    assert len(split.validation) == 2
    split.validation.require("validation part")
    with pytest.raises(DataError, match="the test part of letters under given has no case: no target"):
        split.require_cases()
    with pytest.raises(DataError, match="the part that is to be ranked has no case"):
        scorer = components.create("baselines", {"name": "popularity"}).fit(Known(split.train, 3))
        evaluation.rank_cases(scorer, split.test, split.dataset, mask_history=True, k=10)
