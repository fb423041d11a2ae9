"""Tasks of one log: who is asked what, what stands before it, and what is left out."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import ROOT
from small_tasks import FILES, HISTORIES, TEST, VALIDATION, log_of, made, ten, told, users_of

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset
from llmrec.tasks import PARTS
from llmrec.tasks.files import load
from llmrec.tasks.task_set import TaskSet, require_same_items

DATA = ROOT.parent / "shared" / "data"


def test_the_source_trains_on_whole_sequences_and_asks_others_for_their_last_item(tmp_path):
    tasks = made(tmp_path, FILES)
    source = tasks.source
    assert (source.name, source.items) == ("source", ("a", "b", "c", "d"))
    shown = ["".join(source.items[item - 1] for item in sequence) for sequence in source.train]
    assert shown == ["abcd", "abc", "abc", "abcd", "cdab", "abcd", "bcda", "abc"]
    assert tasks.user_ids[source.train.users].tolist() == ["u1", "u2", "u3", "u4", "u6", "u8", "u9", "u10"]
    assert told(tasks, source, "validation") == [(VALIDATION, "bcd", "a")]
    assert told(tasks, source, "test") == [(TEST, "dab", "c")]
    assert source.notes == ()


def test_each_target_has_what_its_user_met_in_the_source_before_it(tmp_path):
    tasks = made(tmp_path, FILES)
    war = tasks.tasks[0]
    assert (war.name, war.kind, war.classes) == ("war", "items", ("X", "Y", "Z"))
    assert told(tasks, war, "train") == [
        ("u1", "ab", "X"),
        ("u1", "abc", "Y"),
        ("u2", "a", "X"),
        ("u2", "abc", "Y"),
        ("u4", "abc", "Y"),
        ("u6", "c", "X"),
        ("u6", "cdab", "Y"),
        ("u8", "a", "Z"),
        ("u9", "b", "X"),
        ("u9", "bc", "Y"),
        ("u10", "a", "Y"),
    ]
    assert told(tasks, war, "validation") == [(VALIDATION, "bc", "X")]
    assert told(tasks, war, "test") == [(TEST, "dabc", "X")], "not dY: the last one alone"
    assert war.notes == (
        "left out: 2 targets that no item of the source comes before",
        "1 user with such targets only: u3",
    )


def test_a_label_is_asked_once_with_all_that_its_user_met_in_the_source(tmp_path):
    tasks = made(tmp_path, FILES, max_seq_len=3)
    gender = tasks.tasks[1]
    assert (gender.name, gender.kind, gender.classes, gender.notes) == ("gender", "label", ("F", "M"), ())
    assert told(tasks, gender, "train")[:4] == [
        ("u1", "bcd", "F"),
        ("u2", "abc", "M"),
        ("u3", "abc", "F"),
        ("u4", "bcd", "M"),
    ]
    assert told(tasks, gender, "validation") == [(VALIDATION, "cda", "F")]
    assert told(tasks, gender, "test") == [(TEST, "abc", "F")]
    assert gender.description == "gender of a user, from all that he met in the source"


def test_histories_are_cut_to_their_last_items_and_the_source_is_not(tmp_path):
    tasks = made(tmp_path, FILES, max_seq_len=2)
    assert told(tasks, tasks.tasks[0], "train")[1] == ("u1", "bc", "Y")
    assert told(tasks, tasks.source, "test") == [(TEST, "ab", "c")]
    assert len(tasks.source.train[0]) == 4


def test_only_the_most_recent_targets_of_a_user_train_if_the_file_says_so(tmp_path):
    histories = [*HISTORIES]
    histories[2] = "abcYX"
    dataset = log_of(*histories, gender=["F", "M"] * 5)
    tasks = made(tmp_path, FILES | {"1_war": FILES["1_war"] + "per_user: 1\n"}, dataset)
    war = tasks.tasks[0]
    shown = {user: (history, target) for user, history, target in told(tasks, war, "train")}
    assert shown["u1"] == ("abc", "Y") and shown["u3"] == ("abc", "X") and shown["u8"] == ("a", "Z")
    assert len(shown) == len(war.parts["train"]) == 8
    assert "the last 1 of a user who trains" in war.description


def test_a_target_that_training_never_shows_is_named_and_not_asked(tmp_path):
    """Z is met by u8 alone, who trains: without it a test or validation user cannot be asked for it."""
    histories = [*HISTORIES]
    histories[6], histories[7] = "dabcYZ", "abcd"
    unknown = r"1 user left out of test, no training example has their target: u7 \(Z\)"
    with pytest.raises(DataError, match=rf"war: no example in test: .*; {unknown}\. Ask for more"):
        made(tmp_path, FILES, log_of(*histories, gender=["F", "M"] * 5))
    more = [*histories, *["abXc"] * 10]
    more[2] = more[7] = "abXc"
    tasks = made(tmp_path, FILES, log_of(*more, gender=["F", "M"] * 10))
    asked = [user for part in ("validation", "test") for user, _, _ in told(tasks, tasks.tasks[0], part)]
    assert tasks.tasks[0].classes == ("X", "Y") and len(asked) < 4
    assert any("no training example has their target: " in note and "(Z)" in note for note in tasks.tasks[0].notes)


def test_items_of_one_time_keep_the_order_of_the_file(tmp_path):
    """Item ids would put X before a; and whatever stands behind a target of the same second is not in its history."""
    dataset = log_of(*HISTORIES, times=[7] * sum(map(len, HISTORIES)), gender=["F", "M"] * 5)
    assert told(made(tmp_path, FILES, dataset), made(tmp_path, FILES, dataset).tasks[0], "train")[:2] == [
        ("u1", "ab", "X"),
        ("u1", "abc", "Y"),
    ]


def test_an_item_of_two_genres_belongs_to_the_first_file_that_selects_it(tmp_path):
    """Z is of War and Drama, D and E of Drama alone."""
    histories = ("abZ", "aDb", "aZE", "abXD", "abXcE", "aXEb", "aYbZD", "abcE", "abXD", "abYE")
    files = {name: text for name, text in FILES.items() if name != "2_gender"}
    files["2_drama"] = "kind: items\ngenres: [Drama]\n"
    tasks = made(tmp_path, files, log_of(*histories))
    assert [task.classes for task in tasks.tasks] == [("X", "Y", "Z"), ("D", "E")]
    assert tasks.tasks[1].notes[0] == "left to earlier files: 1 items that fit"
    assert told(tasks, tasks.tasks[1], "test") == [(TEST, "ab", "D")], "Z is no drama of this task"
    assert tasks.source.items == ("a", "b", "c")


def raw(dataset: Dataset) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Log and items of a data set, as they are given."""
    index = {side: dataset.interactions[side].to_numpy() for side in ("user", "item")}
    log = dataset.interactions.select(
        user_id=pl.Series(dataset.user_ids[index["user"]], dtype=pl.String),
        item_id=pl.Series(dataset.item_ids[index["item"]], dtype=pl.String),
        timestamp="timestamp",
    )
    return log, dataset.items


def test_cold_items_are_those_that_few_of_the_training_users_met(tmp_path):
    """X and Y have six of them, d five, Z one; the test and the validation user do not count."""
    files = {"0_source": "kind: source\nat_least: 7\n", "1_cold": "kind: items\nat_most: 6\n"}
    tasks = made(tmp_path, files)
    assert tasks.source.items == ("a", "b", "c")
    assert tasks.tasks[0].classes == ("X", "Y", "Z", "d")
    assert told(tasks, tasks.tasks[0], "validation") == [(VALIDATION, "bc", "d")]
    assert told(tasks, tasks.tasks[0], "test") == [(TEST, "abc", "X")]
    assert tasks.tasks[0].description.startswith("next of items with at most 6 training interactions; every one")


def test_an_item_of_the_source_that_no_training_user_met_leaves_the_histories(tmp_path):
    histories = [*HISTORIES]
    histories[6], histories[4] = "dYaqbcX", "bcXdaq"
    with pytest.raises(DataError, match=r"source: no example in validation.* no training example .*: u5 \(q\)"):
        made(tmp_path, FILES, log_of(*histories, gender=["F", "M"] * 5))
    histories[4] = "bcXda"
    tasks = made(tmp_path, FILES, log_of(*histories, gender=["F", "M"] * 5))
    assert tasks.source.items == ("a", "b", "c", "d")
    assert tasks.source.notes == ("1 item left out of all histories, no user who trains met them: q",)
    assert told(tasks, tasks.tasks[0], "test") == [(TEST, "dabc", "X")]


def test_users_without_a_label_or_without_an_event_are_counted_and_named(tmp_path):
    """Beside the ten there is one in the table of users whom the log does not know, and one the other way round."""
    genders = [None, "M", "?", "", "F", "M", "F", "M", "F"]
    log, items = raw(ten())
    users = pl.concat([users_of(9, gender=genders), pl.DataFrame({"user_id": ["u99"], "gender": ["F"]})])
    files = FILES | {"2_gender": "kind: label\ncolumn: gender\nunknown: ['?']\n"}
    tasks = made(tmp_path, files, Dataset.from_tables("letters", log, items, users))
    gender = tasks.tasks[1]
    assert [user for user, _, _ in told(tasks, gender, "train")] == ["u2", "u6", "u8", "u9"]
    assert gender.notes == (
        "4 users left out, nothing is known of their gender: such as u1, u3, u4",
        "1 user left out, the source's log has no event of them: u99",
    )


def test_a_label_that_only_a_test_user_has_is_named(tmp_path):
    genders = ["F", "M"] * 5
    genders[6] = "X"
    with pytest.raises(DataError, match=r"no example in test: 1 user left out of test, .* their target: u7 \(X\)"):
        made(tmp_path, FILES, ten(gender=genders))


def test_a_number_is_put_into_groups(tmp_path):
    ages = [17, 18, 34, 35, 60, 12, 40, 25, None, 90]
    files = FILES | {"2_age": "kind: label\ncolumn: age\ngroups: [18, 35, 36]\n"}
    del files["2_gender"]
    tasks = made(tmp_path, files, ten(age=ages))
    age = tasks.tasks[1]
    assert age.classes == ("under 18", "18 to 34", "35", "36 and over")
    assert {user: label for user, _, label in told(tasks, age, "train")} == {
        "u1": "under 18",
        "u2": "18 to 34",
        "u3": "18 to 34",
        "u4": "35",
        "u6": "under 18",
        "u8": "18 to 34",
        "u10": "36 and over",
    }
    files["2_age"] = "kind: label\ncolumn: age\n"
    whole = made(tmp_path, files, ten(age=[9, 10, 9, 10, 100, 100, 9, 9, 9, 9]))
    assert whole.tasks[1].classes == ("9", "10", "100"), "numbers rise as numbers"


def test_no_user_is_in_two_parts_and_all_tasks_share_them(tmp_path):
    users = {part: set() for part in PARTS}
    tasks = made(tmp_path, FILES)
    for task in tasks.tasks:
        for part in PARTS:
            users[part] |= set(task.parts[part].users)
    assert [len(each) for each in users.values()] == [8, 1, 1]
    assert users["train"] & users["validation"] == users["train"] & users["test"] == set()
    again, other = load(tmp_path, ten(), 0, 10), load(tmp_path, ten(), 1, 10)
    assert told(again, again.source, "test") == told(tasks, tasks.source, "test") != told(other, other.source, "test")


def test_the_hash_tells_data_options_labels_and_seed_apart_and_not_comments(tmp_path):
    first = made(tmp_path / "a", FILES).hash
    assert made(tmp_path / "b", FILES | {"1_war": "# More.\n" + FILES["1_war"]}).hash == first
    assert made(tmp_path / "c", FILES | {"1_war": FILES["1_war"] + "per_user: 9\n"}).hash != first
    assert load(tmp_path / "a", ten(), 1, 10).hash != first
    assert load(tmp_path / "a", ten(), 0, 9).hash != first
    assert load(tmp_path / "a", ten(gender=["F", "M"] * 4 + ["M", "M"]), 0, 10).hash != first
    assert len(first) == 16


def test_the_overview_counts_users_examples_and_the_most_frequent_class(tmp_path):
    lines = made(tmp_path, FILES).describe()
    assert lines[0] == "letters: users are split once for source and tasks: 80% train, 10% validate, 10% test (seed 0)"
    assert "  train 8 users, 29 events, histories of 3 to 4 items, median 4" in lines
    assert "task 2 gender (label): 2 classes; gender of a user, from all that he met in the source" in lines
    assert "  train 8 users, 8 examples, histories of 3 to 4 items, median 4, M in 62.5%" in lines
    assert "  test 1 users, 1 examples, histories of 4 to 4 items, median 4, M in 0.0%" in lines
    assert "  - 1 user with such targets only: u3" in lines


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["a", "b", "d"], r"3 then and 3 now: 1 gone \(c\); 1 new \(d\)\. Pre-train again"),
        (["a", "c", "b"], r"2 under another index \(c, b\)"),
        (["a", "b"], r"3 then and 2 now: 1 gone \(c\)"),
        (["z", "a", "b", "c"], r"1 new \(z\); 3 under another index \(a, b, c\)"),
    ],
)
def test_items_that_changed_since_pre_training_are_named(items, message):
    require_same_items(("a", "b", "c"), ["a", "b", "c"])
    with pytest.raises(DataError, match=message):
        require_same_items(["a", "b", "c"], items)


# Real logs


def published(name: str, folder: str | None = None) -> TaskSet:
    data = load_dataset(name, DATA / name)
    return load(ROOT / "configs" / "tasks" / (folder or name), data, 0, 50)


def check(tasks: TaskSet, dataset_items: np.ndarray) -> None:
    """No user is in two parts, and the source has no target of a task."""
    parts = [np.unique(np.concatenate([task.parts[part].users for task in tasks.tasks])) for part in PARTS]
    assert sum(map(len, parts)) == len(np.unique(np.concatenate(parts)))
    for place, task in enumerate(tasks.tasks):
        for part in PARTS[1:]:
            assert len(np.unique(task.parts[part].users)) == len(task.parts[part])
        if task.kind == "items":
            assert set(task.classes) <= set(dataset_items) - set(tasks.source.items)
            for other in tasks.tasks[:place]:
                assert not set(task.classes) & set(other.classes)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "ml-100k").is_dir(), reason="MovieLens 100K is not in ../shared/data/ml-100k")
def test_the_tasks_of_movielens_100k():
    tasks = published("ml-100k")
    check(tasks, load_dataset("ml-100k", DATA / "ml-100k").item_ids)
    assert (len(tasks.source.items), len(tasks.source.train), len(tasks.source.test)) == (1329, 755, 94)
    counts = {task.name: (len(task.classes), *(len(task.parts[part]) for part in PARTS)) for task in tasks.tasks}
    assert counts == {
        "romance": (220, 3585, 93, 93),
        "sci-fi": (94, 2925, 93, 91),
        "gender": (2, 755, 94, 94),
        "age": (7, 755, 94, 94),
        "occupation": (21, 755, 94, 94),
    }
    cold = published("ml-100k", "ml-100k-cold")
    check(cold, load_dataset("ml-100k", DATA / "ml-100k").item_ids)
    assert (len(cold.source.items), len(cold.tasks[0].classes)) == (1071, 601)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "ml-1m").is_dir(), reason="MovieLens-1M is not in ../shared/data/ml-1m")
def test_the_tasks_of_movielens_1m():
    tasks = published("ml-1m")
    check(tasks, load_dataset("ml-1m", DATA / "ml-1m").item_ids)
    assert (len(tasks.source.items), len(tasks.source.train), len(tasks.source.test)) == (2711, 4832, 604)
    counts = {task.name: (len(task.classes), *(len(task.parts[part]) for part in PARTS)) for task in tasks.tasks}
    assert counts == {
        "romance": (431, 21002, 588, 589),
        "sci-fi": (258, 20190, 581, 584),
        "gender": (2, 4832, 604, 604),
        "age": (7, 4832, 604, 604),
        "occupation": (20, 4255, 543, 531),
    }


def test_the_folders_of_tasks_can_be_read():
    from llmrec.tasks.options import Folder

    folders = [path for path in (ROOT / "configs" / "tasks").iterdir() if path.is_dir()]
    assert {path.name for path in folders} >= {"ml-100k", "ml-1m", "ml-100k-cold"}
    for folder in folders:
        assert Folder.read(Path(folder)).tasks
