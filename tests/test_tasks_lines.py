"""Tasks from elsewhere: the files of PeterRec and Conure, which know no users, and second logs, which do."""

from pathlib import Path

import numpy as np
import pytest
from small_tasks import FILES, TEST, VALIDATION, ten, told, write

from llmrec.errors import ConfigError, DataError
from llmrec.sources import load_dataset
from llmrec.sources.peterrec import fine_tuning
from llmrec.tasks import PARTS
from llmrec.tasks.files import load
from llmrec.tasks.task_set import TaskSet

PRETRAINING = """\
0,0,11,12,13
0,11,12,13,14
0,0,0,12,11
11,13,12,14,11
0,12,13,14,11
0,0,13,14,12
0,14,13,12,11
0,0,11,14,12
0,0,14,12,11
0,13,11,12,14
"""
CLICKS = """\
0,0,11,12,13,,7,8
0,14,13,12,11,,8
0,12,13,14,11,,7
0,0,0,11,11,,9,7
0,11,12,99,,8
0,0,0,0,,7
"""
GENDERS = """\
0,0,11,12,13,,1
0,11,12,13,14,,2
0,0,0,12,11,,1
11,13,12,14,11,,2
0,12,13,14,11,,1
0,14,13,12,11,,2
0,13,11,12,14,,0
0,0,13,14,12,,2
"""


def folder(path: Path, mapping: str, *, clicks: str = CLICKS, genders: str | None = GENDERS, more: str = "") -> Path:
    files = {
        "train_pretrain.csv": PRETRAINING,
        "click.csv": clicks,
        "0_source": "kind: source\n",
        "1_click": f"kind: items\nfile: click.csv\nusers: {mapping}\n",
    }
    if genders is not None:
        files |= {"gender.csv": genders, "2_gender": f"kind: label\nfile: gender.csv\nusers: {mapping}\n{more}"}
    return write(path, files)


def read(path: Path, seed: int = 0) -> TaskSet:
    return load(path, load_dataset("ttl", path), seed, 10)


def histories(tasks: TaskSet, place: int) -> dict[str, list[tuple[list[str], str]]]:
    """By user the histories and targets of all parts of a task."""
    found: dict[str, list[tuple[list[str], str]]] = {}
    for part in PARTS:
        examples = tasks.tasks[place].parts[part]
        for row, (user, target) in enumerate(zip(examples.users, examples.targets)):
            items = [tasks.source.items[item - 1] for item in examples.histories[row]]
            found.setdefault(tasks.user_ids[user], []).append((items, tasks.tasks[place].classes[target]))
    return found


def test_pretraining_lines_are_users_without_their_padding(tmp_path):
    data = load_dataset("ttl", write(tmp_path, {"a_pretrain.csv": PRETRAINING}))
    log = data.interactions
    assert (data.num_users, data.num_items, data.time_unit) == (10, 4, "order")
    assert [data.item_ids[item] for item in log.filter(user=4)["item"]] == ["11", "13", "12", "14", "11"]
    assert log.filter(user=1)["timestamp"].to_list() == [0, 1, 2]


@pytest.mark.parametrize("line", ["0,11,,12", "0,0,0", "11,0,12", "11,12,"])
def test_a_pretraining_line_that_is_none_is_refused(tmp_path, line):
    with pytest.raises(DataError, match=r"a_pretrain\.csv, line 2: expected items separated by commas, left-padded"):
        load_dataset("ttl", write(tmp_path, {"a_pretrain.csv": f"0,11\n{line}\n"}))


def test_a_fine_tuning_line_is_a_history_a_gap_and_targets(tmp_path):
    path = write(tmp_path, {"x.csv": "0,0,11,12,,7,8\n0,0,,9\n,,9\n11, 12,, 7,\n"}) / "x.csv"
    assert fine_tuning(path) == [(["11", "12"], ["7", "8"]), ([], ["9"]), ([], ["9"]), (["11", "12"], ["7"])]
    for line in ("11,12,7", "11,12,,", "11,0,12,,7", "11,12,,7,,8"):
        path.write_text(f"11,,7\n{line}\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"x\.csv, line 2: expected a history left-padded with 0, an empty field"):
            fine_tuning(path)


def test_a_line_with_the_history_of_a_source_user_is_of_this_user_and_in_his_part(tmp_path):
    """A line with more targets gives more examples in training, and only the last counts in the other parts."""
    tasks = read(folder(tmp_path, "history"))
    source, gender = tasks.source, tasks.tasks[1]
    test = tasks.user_ids[source.test.users[0]]
    validation = tasks.user_ids[source.validation.users[0]]
    assert (validation, test) == ("5", "7"), "the third and the second line of clicks"
    click = tasks.tasks[0]
    assert told(tasks, click, "validation") == [("5", "12131411", "7")]
    assert told(tasks, click, "test") == [("7", "14131211", "8"), ("click.csv:4", "1111", "7")]
    assert told(tasks, click, "train") == [
        ("1", "111213", "7"),
        ("1", "111213", "8"),
        ("click.csv:5", "1112", "8"),
    ]
    assert told(tasks, gender, "test") == [("7", "14131211", "2")]
    assert gender.classes == ("0", "1", "2")
    assert tasks.notes == (
        "click.csv: 3 of 6 histories stand in the source exactly as they are, and are taken for the same users",
        "gender.csv: 8 of 8 histories stand in the source exactly as they are, and are taken for the same users",
    )


def test_what_a_file_has_and_the_source_not_is_counted_and_named(tmp_path):
    assert read(folder(tmp_path, "history")).tasks[0].notes == (
        "1 item left out of its histories, the source does not have them: 99",
        "left out: 1 targets that no item of the source comes before",
        "1 user with such targets only: click.csv:6",
    )
    called = read(folder(tmp_path / "b", "history", clicks=CLICKS.replace(",,8", ",,11"), genders=None))
    assert "1 item called as one of the source, taken for others: 11" in called.tasks[0].notes


def test_lines_without_a_mapping_are_users_of_their_own(tmp_path):
    lines = "".join(f"0,0,11,12,13,,{7 + number % 2}\n" for number in range(20))
    tasks = read(folder(tmp_path, "none", clicks=lines, genders=None))
    click = tasks.tasks[0]
    assert [len(click.parts[part]) for part in PARTS] == [16, 2, 2]
    users = np.concatenate([click.parts[part].users for part in PARTS])
    assert sorted(tasks.user_ids[users]) == sorted(f"click.csv:{number}" for number in range(1, 21))
    assert set(users).isdisjoint(tasks.source.train.users)
    assert tasks.notes == (
        "click.csv: 20 of 20 histories stand in the source exactly as they are; users are not mapped, and 4 of 4 lines "
        "that validate or test have a history that the source trains on",
    )


def test_source_users_with_one_history_share_a_part_where_histories_tell_users(tmp_path):
    clicks = "".join(f"{line},,{7 + number % 2},{8 - number % 2}\n" for number, line in enumerate(PRETRAINING.split()))
    path = folder(tmp_path, "history", clicks=clicks, genders=None)
    (path / "train_pretrain.csv").write_text(PRETRAINING + PRETRAINING, encoding="utf-8")
    for seed in range(3):
        tasks = read(path, seed)
        parts = [tasks.source.train.users, tasks.source.validation.users, tasks.source.test.users]
        assert [len(users) for users in parts] == [16, 2, 2]
        for users, part in zip(parts, PARTS):
            assert set(users[users > 10] - 10) == set(users[users <= 10]), "line n and line n + 10 are one person"
            assert set(tasks.tasks[0].parts[part].users) == set(users[users <= 10])
        assert "10 users with the history of another, in whose part they are: such as 11, 12, 13" in tasks.source.notes


def test_of_a_user_with_several_labels_the_last_counts(tmp_path):
    path = folder(tmp_path, "history", genders=GENDERS + "0,0,11,12,13,,2\n", more="unknown: ['0']\n")
    gender = read(path).tasks[1]
    assert histories(read(path), 1)["1"] == [(["11", "12", "13"], "2")]
    assert gender.classes == ("1", "2")
    assert gender.notes == (
        "left out: 1 labels that say nothing",
        "left out: 1 labels of users with a later one",
    )


def test_a_file_that_is_not_there_is_named(tmp_path):
    path = folder(tmp_path, "history")
    (path / "gender.csv").unlink()
    with pytest.raises(DataError, match=r"cannot read .*gender\.csv: No such file"):
        read(path)


def test_files_lie_where_the_data_lie_if_that_is_said(tmp_path):
    path = folder(tmp_path / "tasks", "history")
    data = write(tmp_path / "data", {"train_pretrain.csv": PRETRAINING})
    for name in ("click.csv", "gender.csv"):
        (path / name).rename(data / name)
    log = load_dataset("ttl", data)
    tasks = load(path, log, 0, 10, data)
    assert told(tasks, tasks.tasks[0], "test")[0] == ("7", "14131211", "8")


# Second logs


SHOP = """\
user_id,item_id,timestamp
u1,P,3
u1,Q,2
u2,P,8
u4,Q,99
u5,Q,31
u5,P,24
u6,Q,32
u7,P,99
u99,P,1
"""


def shop(path: Path, log: str = SHOP, **files: str) -> TaskSet:
    """The ten histories, event n at second n, and a shop with users of theirs."""
    texts = {"shop.csv": log, "shop.yaml": "source: {name: table, interactions: shop.csv}\n"}
    (path / "shop").mkdir(parents=True)
    for name, text in texts.items():
        (path / "shop" / name).write_text(text, encoding="utf-8")
    asked = {"0_source": FILES["0_source"], "1_shop": "kind: items\nlog: shop/shop.yaml\n", **files}
    return load(write(path, asked), ten(), 0, 10)


def test_a_second_log_is_joined_by_user_id_and_by_time(tmp_path):
    """u1 met a and b at 0 and 1 and c at 3, which is not earlier than P at 3."""
    tasks = shop(tmp_path)
    task = tasks.tasks[0]
    assert task.classes == ("P", "Q")
    assert told(tasks, task, "train") == [
        ("u1", "ab", "Q"),
        ("u1", "ab", "P"),
        ("u2", "a", "P"),
        ("u4", "abcd", "Q"),
        ("u6", "cdab", "Q"),
    ]
    assert told(tasks, task, "validation") == [(VALIDATION, "bcda", "Q")]
    assert told(tasks, task, "test") == [(TEST, "dabc", "P")]


def test_users_of_one_log_only_are_counted_and_named(tmp_path):
    tasks = shop(tmp_path)
    assert tasks.notes == (
        "shop: 6 users are in the source too",
        "4 users of the source not in shop: such as u3, u8, u9",
        "1 user of shop not in the source: u99",
    )
    assert tasks.tasks[0].notes == ("4 users without a target: such as u3, u8, u9",)


def test_logs_that_share_no_user_are_no_task(tmp_path):
    with pytest.raises(
        DataError, match=r"shop: no example in train and validation and test: 10 users without a target"
    ):
        shop(tmp_path, SHOP.replace("u", "v").replace("vser_id", "user_id"))


def test_a_second_log_that_is_not_described_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no file .*shpo\.yaml"):
        shop(tmp_path, **{"1_shop": "kind: items\nlog: shop/shpo.yaml\n"})


def test_labels_of_a_second_table_are_joined_by_user_id(tmp_path):
    people = "user_id,gender\nu7,F\nu5,M\nu1,F\nu2,M\nu98,M\n"
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "people.csv").write_text(people, encoding="utf-8")
    (tmp_path / "shop" / "shop.csv").write_text(SHOP, encoding="utf-8")
    text = "source: {name: table, interactions: shop.csv, users: people.csv}\n"
    (tmp_path / "shop" / "shop.yaml").write_text(text, encoding="utf-8")
    path = write(
        tmp_path, {"0_source": FILES["0_source"], "1_sex": "kind: label\nlog: shop/shop.yaml\ncolumn: gender\n"}
    )
    tasks = load(path, ten(), 0, 10)
    sex = tasks.tasks[0]
    labels = {user: label for part in PARTS for user, _, label in told(tasks, sex, part)}
    assert labels == {"u1": "F", "u2": "M", "u5": "M", "u7": "F"}
    assert sex.notes == (
        "2 users left out, nothing is known of their gender: u4, u6",
        "1 user left out, the source's log has no event of them: u98",
    )
