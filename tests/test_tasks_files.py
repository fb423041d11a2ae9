"""Folders of task files that ask for what there is not: each is refused by name, key and what is allowed."""

from pathlib import Path

import pytest
from conftest import ROOT
from small_tasks import FILES, HISTORIES, log_of, made, ten, write

from llmrec.errors import ConfigError, DataError
from llmrec.interactions import Dataset
from llmrec.tasks._labels import labels
from llmrec.tasks.files import load
from llmrec.tasks.options import Folder, LabelFile

SOURCE = FILES["0_source"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1_war": "kind: item\n"}, r"1_war\.yaml: kind must be source, items, label; came 'item'"),
        ({"1_war": "- kind\n"}, r"1_war\.yaml: kind must be source, items, label; came list"),
        ({"1_war": "kind: [\n"}, r"1_war\.yaml cannot be read as YAML"),
        ({"1_war": "kind: [label]\n"}, r"kind must be source, items, label; came \['label'\]"),
        (
            {"1_war": "kind: items\ngenre: [War]\n"},
            r"1_war\.yaml: kind items has no key 'genre'; did you mean 'genres'\?",
        ),
        ({"1_war": "kind: label\ngenres: [War]\n"}, r"kind label has no key 'genres'.*\(have: column, file, groups"),
        ({"1_war": "kind: items\nper_user: 0\n"}, r"1_war\.yaml: per_user: Input should be greater than or equal to 1"),
        ({"1_war": "kind: label\n"}, r"1_war\.yaml: .*say the column of the table of users"),
        ({"1_age": "kind: label\ncolumn: age\ngroups: [35, 18]\n"}, r"groups must rise, such as \[18, 35\]"),
        ({"1_war": "kind: items\nfile: x.csv\n"}, r"say users: history or users: none"),
        ({"1_war": "kind: items\nusers: none\n"}, r"users is for the lines of a file; there is none"),
        ({"1_war": "kind: items\nfile: x.csv\nusers: none\ngenres: [War]\n"}, r"all there is; leave genres out"),
        ({"war": "kind: items\n"}, r"war\.yaml: a file of tasks is called <number>_<name>\.yaml"),
        ({"1_war": "kind: items\nat_least: 10\nat_most: 5\n"}, r"at_least \(10\) is more than at_most \(5\)"),
        ({"1_war": SOURCE}, r"the first file and no other must be the source .*sources are: 0_source.yaml, 1_war.yaml"),
        ({"0_source": FILES["1_war"]}, r"must be the source .*the first is 0_source\.yaml, sources are: none"),
        ({"00_war": FILES["1_war"], "0_source": SOURCE, "1_war": FILES["1_war"]}, r"has the name 'war' already"),
        ({"1_war": FILES["1_war"], "2_war": FILES["1_war"]}, r"2_war\.yaml: .*1_war\.yaml has the name 'war' already"),
    ],
)
def test_a_file_that_asks_for_nothing_is_refused_by_name_and_key(tmp_path, files, message):
    with pytest.raises(ConfigError, match=message):
        made(tmp_path, {"0_source": SOURCE, **files})


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"holds no \.yaml file; it must hold 0_source\.yaml and a file for each task"
    ):
        load(tmp_path, ten(), 0, 10)
    with pytest.raises(ConfigError, match=r"nowhere is not a folder"):
        load(tmp_path / "nowhere", ten(), 0, 10)


def test_files_come_in_the_order_of_their_numbers(tmp_path):
    gender = FILES["2_gender"]
    tasks = made(tmp_path, {"0_source": SOURCE, "10_late": gender, "9_early": gender, "100_last": gender})
    assert [task.name for task in tasks.tasks] == ["early", "late", "last"]


def test_both_endings_are_read_and_a_log_beside_the_tasks_is_none_of_them(tmp_path):
    texts = {"0_source.yaml": SOURCE, "1_war.yml": FILES["1_war"], "2_other.YAML": "kind: items\nlog: other.yaml\n"}
    folder = write(tmp_path / "tasks", {**texts, "other.yaml": "name: other\n"})
    assert list(Folder.read(folder).tasks) == ["war", "other"]
    (folder / "2_other.YAML").unlink()
    with pytest.raises(ConfigError, match=r"other\.yaml: a file of tasks is called"):
        Folder.read(folder)


@pytest.mark.parametrize("values", [["F", "M", " ", "F ", *"MMMMMM"], ["F", "M", "", "F", *"MMMMMM"]])
def test_blanks_around_a_label_are_none_of_it(values):
    place, names = labels(ten(gender=values), LabelFile(kind="label", column="gender"), Path("1_gender.yaml"))
    assert names.tolist() == ["F", "M"] and place[:4].tolist() == [0, 1, -1, 0]


def test_a_list_is_no_label():
    with pytest.raises(ConfigError, match=r"1_tags\.yaml: column: a label is one value; 'tags' holds List"):
        labels(ten(tags=[["a"]] * 10), LabelFile(kind="label", column="tags"), Path("1_tags.yaml"))


def test_a_column_that_users_do_not_have_is_named_with_the_nearest(tmp_path):
    files = FILES | {"2_gender": "kind: label\ncolumn: gendre\n"}
    with pytest.raises(ConfigError, match=r"2_gender\.yaml: column: .*no column 'gendre'; did you mean 'gender'\?"):
        made(tmp_path, files)
    with pytest.raises(ConfigError, match=r"no column 'user_id'"):
        made(tmp_path, FILES | {"2_gender": "kind: label\ncolumn: user_id\n"})


@pytest.mark.parametrize(("groups", "classes"), [((), ["1.5", "1.7"]), ((1, 2), ["under 1", "1", "2 and over"])])
def test_what_is_no_number_is_no_label(groups, classes):
    dataset = ten(height=[1.5, float("nan"), None, *[1.7] * 7])
    place, names = labels(dataset, LabelFile(kind="label", column="height", groups=groups), Path("1_tall.yaml"))
    assert names.tolist() == classes
    assert place.tolist() == [place[0], -1, -1, *[place[3]] * 7] and min(place[0], place[3]) >= 0


def test_groups_are_for_numbers(tmp_path):
    with pytest.raises(ConfigError, match=r"2_gender\.yaml: groups are for numbers; column 'gender' holds String"):
        made(tmp_path, FILES | {"2_gender": FILES["2_gender"] + "groups: [18]\n"})


def test_a_genre_that_no_item_has_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"1_war\.yaml: genres: no item has the genre 'Wra'; did you mean 'War'\?"):
        made(tmp_path, FILES | {"1_war": "kind: items\ngenres: [Wra]\n"})
    with pytest.raises(ConfigError, match=r"0_source\.yaml: without_genres: no item has the genre 'Opera'"):
        made(tmp_path, FILES | {"0_source": "kind: source\nwithout_genres: [Opera]\n"})


def test_items_without_genres_cannot_be_chosen_by_them(tmp_path):
    dataset = ten()
    bare = Dataset(dataset.name, dataset.interactions, dataset.items.drop("genres"), dataset.users)
    with pytest.raises(ConfigError, match=r"0_source\.yaml: without_genres: items of letters have no genres"):
        made(tmp_path, FILES, bare)


def test_a_domain_whose_items_all_belong_to_earlier_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"1_war\.yaml: no item is left for items with War: 3 are so, and all of them"):
        made(tmp_path, FILES | {"0_source": "kind: source\n"})
    with pytest.raises(DataError, match=r"1_war\.yaml: no item is left for .*at least 99 training interactions: 0 are"):
        made(tmp_path, FILES | {"1_war": FILES["1_war"] + "at_least: 99\n"})


def test_an_empty_target_history_is_counted_and_a_task_of_nothing_else_refused(tmp_path):
    histories = [letters if number != 6 else "XYdabc" for number, letters in enumerate(HISTORIES)]
    with pytest.raises(DataError, match=r"war: no example in test: .*; 2 users with such targets only: u3, u7\. Ask"):
        made(tmp_path, FILES, log_of(*histories, gender=["F", "M"] * 5))


def test_a_label_that_all_share_is_no_task(tmp_path):
    with pytest.raises(DataError, match=r"task 'gender': training shows one class, 'F'; there must be two or more"):
        made(tmp_path, FILES, ten(gender=["F"] * 10))


def test_a_label_that_hardly_anybody_has_is_no_task(tmp_path):
    unknown = r"gender: no example in validation and test: 9 users left out, nothing is known of their gender"
    with pytest.raises(DataError, match=unknown):
        made(tmp_path, FILES, ten(gender=[*[None] * 9, "F"]))


def test_two_users_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match=r"2 users cannot be split; train, validation and test need 3 or more"):
        made(tmp_path, FILES, log_of("abX", "abY", gender=["F", "M"]))


def test_the_folders_of_the_project_can_be_read():
    folders = sorted(path for path in (ROOT / "configs" / "tasks").iterdir())
    names = {path.name: list(Folder.read(path).tasks) for path in folders}
    five = ["romance", "sci-fi", "gender", "age", "occupation"]
    assert names == {"ml-100k": five, "ml-100k-cold": ["cold"], "ml-1m": five}
