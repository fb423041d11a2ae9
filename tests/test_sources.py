"""File layouts: what they have in common, what they refuse, and MovieLens 100K in both."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from llmrec.assets import ASSETS, cache_folder
from llmrec.errors import AssetError, DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset

REAL = Path(__file__).parents[2] / "shared" / "data" / "ml-100k"
LOG = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ITEMS = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
FLAGS = "|".join(["0"] * 19)

needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="MovieLens 100K is not in ../shared/data/ml-100k")


def recbole(folder: Path, log: str, items: str = "1\tToy Story\t1995\tComedy\n", users: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "toy.inter").write_text(LOG + log, encoding="utf-8")
    (folder / "toy.item").write_text(ITEMS + items, encoding="utf-8")
    if users:
        (folder / "toy.user").write_text(users, encoding="utf-8")
    return folder


def movielens(folder: Path, log: str, items: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "u.data").write_text(log, encoding="latin-1")
    (folder / "u.item").write_bytes(items)
    return folder


def history(data: Dataset) -> list[str]:
    return data.item_ids[data.interactions["item"].to_numpy()].tolist()


@pytest.fixture
def real_movielens(tmp_path: Path) -> Path:
    """The GroupLens layout: the original u.item; log and users are the rows of RecBole, which are equal."""
    log = (REAL / "ml-100k.inter").read_text(encoding="utf-8").split("\n", 1)[1]
    users = (REAL / "ml-100k.user").read_text(encoding="utf-8").split("\n", 1)[1]
    folder = movielens(tmp_path / "grouplens", log, (REAL / "u.item").read_bytes())
    (folder / "u.user").write_text(users.replace("\t", "|"), encoding="latin-1")
    return folder


def test_blanks_around_ids_are_taken_off_atomic_files(tmp_path):
    data = load_dataset("toy", recbole(tmp_path, "u\t1 \t3\t5\n u\t1\t4\t6\n"))
    assert (data.user_ids.tolist(), data.item_ids.tolist()) == (["", "u"], ["", "1"])
    assert "blanks around the item_id removed: 1 rows of the log, such as '1 '" in data.notes
    twice = recbole(tmp_path, "u\t1\t3\t5\n", "1\tToy Story\t1995\tComedy\n1 \tJumanji\t1995\tComedy\n")
    with pytest.raises(DataError, match=r"toy\.item, line 3: item_id has a row already, line 2; found '1 '"):
        load_dataset("toy", twice)


@needs_real
def test_both_layouts_of_movielens_100k_are_the_same_data(real_movielens):
    ours, theirs = load_dataset("ml-100k", REAL), load_dataset("ml-100k", real_movielens)
    assert ours.content_hash == theirs.content_hash == ASSETS["ml-100k"].content_hash
    for table in ("interactions", "items", "users"):
        assert_frame_equal(getattr(ours, table), getattr(theirs, table))
    assert (ours.num_users, ours.num_items, len(ours.interactions)) == (943, 1682, 100_000)
    assert ours.interactions.columns == ["user", "item", "timestamp", "rating"]
    assert ours.users.columns == ["user_id", "age", "gender", "occupation", "zip_code"]


@needs_real
def test_what_was_mended_in_movielens_100k_is_noted(real_movielens):
    data = load_dataset("ml-100k", REAL)
    rows = {row["item_id"]: row for row in data.items.iter_rows(named=True)}
    assert rows["267"] == {"item_id": "267", "title": "unknown", "genres": ["unknown"]}
    assert rows["543"]["title"] == "Misérables, Les (1995)"
    assert rows["1412"]["title"] == "Land Before Time III: The Time of the Great Giving (1995) (V)"
    assert data.notes == (
        "title 'unkonwn' mended to 'unknown': item 267",
        "release_year 'unkonwn' left out: item 267",
        "release_year is not a year, put behind the title as it is: item 1412",
    )
    assert load_dataset("ml-100k", real_movielens).notes == ("blanks around the title removed: item 1128, 1201, 1635",)


@pytest.mark.slow
@needs_real
def test_real_ties_keep_the_order_of_the_file():
    rows = [line.split("\t") for line in (REAL / "ml-100k.inter").read_text(encoding="utf-8").splitlines()[1:]]
    for user in ("1", "405", "943"):
        expected = [row[1] for row in sorted((row for row in rows if row[0] == user), key=lambda row: int(row[3]))]
        data = load_dataset("ml-100k", REAL)
        index = data.user_ids.tolist().index(user)
        found = data.item_ids[data.interactions.filter(pl.col("user") == index)["item"].to_numpy()].tolist()
        assert found == expected


def test_recbole_ties_keep_the_order_of_the_file(tmp_path):
    log = "".join(f"u\t{item}\t3\t887692900\n" for item in "91537")
    items = "".join(f"{item}\tFilm {item}\t1995\tDrama\n" for item in range(1, 10))
    assert history(load_dataset("toy", recbole(tmp_path, log, items))) == ["9", "1", "5", "3", "7"]


def test_neighbouring_times_stay_apart(tmp_path):
    stamps = (887692960, 887692900, 887692901)
    log = "".join(f"u\t1\t3\t{stamp}.0\n" for stamp in stamps)
    data = load_dataset("toy", recbole(tmp_path, log))
    assert data.interactions["timestamp"].to_list() == sorted(stamps)
    assert data.interactions.schema["timestamp"] == pl.Int64


@pytest.mark.parametrize("layout", ["recbole", "movielens"])
def test_milliseconds_are_read_as_such_and_noted_where_a_layout_has_seconds(tmp_path, layout):
    """Read as seconds they would make an hour of a shop half a year."""
    rows = [("1", 1700000000900), ("2", 1700000001000), ("3", 1700000000100)]

    def folder(rows: list[tuple[str, int]]) -> Path:
        log = "".join(f"u\t{item}\t3\t{time}\n" for item, time in rows)
        if layout == "recbole":
            return recbole(tmp_path, log)
        flags = f"a|||url|{FLAGS}".encode()
        return movielens(tmp_path, log, b"".join(b"%d|%s\n" % (item, flags) for item in (1, 2, 3)))

    name = "toy.inter" if layout == "recbole" else "u.data"
    data = load_dataset("toy", folder(rows))
    assert history(data) == ["3", "1", "2"]
    assert data.interactions["timestamp"].to_list() == [1700000000, 1700000000, 1700000001]
    assert f"{name}: times are milliseconds, read as such" in data.notes
    line = 3 if layout == "recbole" else 2
    mixed = rf"{name}, line {line}: timestamp is 1700000001, which are seconds, and 2 others are milliseconds"
    with pytest.raises(DataError, match=mixed):
        load_dataset("toy", folder([rows[0], ("2", 1700000001), rows[2]]))
    unknown = load_dataset("toy", folder([rows[0], ("2", 0), rows[2]]))
    assert unknown.interactions["timestamp"].to_list() == [0, 1700000000, 1700000000]
    never = load_dataset("toy", folder([("1", 1700000000), ("2", 9999999999999), ("3", 0)]))
    assert never.interactions["timestamp"].to_list() == [0, 1700000000, 9999999999999]
    assert f"{name}: 1 times lie beyond the year 2100 as seconds" in never.notes


def test_ids_keep_their_leading_zeros(tmp_path):
    data = load_dataset("toy", recbole(tmp_path, "007\t0001\t3\t5\n", "0001\tA\t1990\t\n1\tB\t1991\tWar Drama\n"))
    assert data.item_ids.tolist() == ["", "0001", "1"]
    assert data.user_ids.tolist() == ["", "007"]
    assert data.items["genres"].to_list() == [[], ["War", "Drama"]]


def test_quotes_mean_nothing(tmp_path):
    data = load_dataset("toy", recbole(tmp_path, "u\t1\t3\t5\n", '1\t"Great Performances" Cats\t1998\tMusical\n'))
    assert data.items["title"].to_list() == ['"Great Performances" Cats (1998)']


def test_optional_fields_may_be_empty_or_absent(tmp_path):
    users = "user_id:token\tzip_code:token\tage:token\n" + "u\t01234\t\n" + "v\t\t31\n"
    data = load_dataset("toy", recbole(tmp_path, "u\t1\t3\t5\nv\t2\t3\t5\n", "1\t\t1995\t\n2\tB\t\t\n", users))
    assert data.users.rows() == [("u", None, "01234"), ("v", 31, None)]
    assert data.items["title"].to_list() == [None, "B"]
    assert data.notes == ("no title: item 1",)


def test_fields_that_are_not_read_are_named(tmp_path):
    (tmp_path / "a.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\tmood:token\nu\t1\t5\tgood\n", encoding="utf-8"
    )
    (tmp_path / "a.item").write_text("item_id:token\tname:token_seq\tprice:float\n1\tA\t9\n", encoding="utf-8")
    data = load_dataset("toy", tmp_path)
    assert data.notes == ("a.inter: fields not read: mood", "a.item: fields not read: price")


def test_a_separator_other_than_tabs_prints_expected_and_found(tmp_path):
    folder = recbole(tmp_path, "u\t1\t3\t5\n")
    header = "user_id:token item_id:token timestamp:float"
    (folder / "toy.inter").write_text(f"{header}\nu 1 5\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"toy.inter, line 1: expected .* separated by tabs.*found 1 field") as error:
        load_dataset("toy", folder)
    assert header in str(error.value)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("u\t1\t3\t5\nu\t1\t3\t964982224a\n", r"toy.inter, line 3: timestamp must .*; found '964982224a'$"),
        ("u\t1\t3\t5.5\n", r"line 2: timestamp must be a whole number.*'5.5'"),
        ("u\t1\t3\t\n", r"line 2: timestamp must be a whole number.*''"),
        ("u\t1\t3\t9223372036854775808\n", r"line 2: timestamp must be a whole number \(64 bits\)"),
        (
            "u\t1\tnan\t5\nu\t1\tx\t5\n",
            r"line 2: rating must be a number; found 'nan' \(and 1 more such lines\)",
        ),
        ("u\t\t3\t5\n", r"line 2: item_id is empty"),
        (
            "u\t1\t3\t5\nu\t1\t3\n",
            r"line 3: expected 4 fields separated by '\\t' \(user_id, .*\); found 'u\\t1\\t3'",
        ),
        ("u\t1\t3\t5\n\nu\t1\t3\t6\n", r"line 3: expected 4 fields .*; found ''"),
        ("", "no interactions"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_line(tmp_path, log, message):
    with pytest.raises(DataError, match=message):
        load_dataset("toy", recbole(tmp_path, log))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user_id:token\titem_id:token\n", "no field 'timestamp'; needed are .* found"),
        ("user_id:token\titem_id:token\tuser_id:token\n", "field 'user_id' stands twice"),
        ("user_id:token\titem_id:token\ttimestamp:int\n", "one of them is 'timestamp:int'"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(tmp_path, header, message):
    recbole(tmp_path, "u\t1\t3\t5\n")
    (tmp_path / "toy.inter").write_text(header + "u\t1\t5\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_dataset("toy", tmp_path)


def test_a_byte_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    folder = recbole(tmp_path, "u\t1\t3\t5\n")
    (folder / "toy.item").write_bytes(ITEMS.encode() + b"1\tMis\xe9rables, Les\t1995\tDrama\n")
    with pytest.raises(DataError, match=r"toy.item, line 2: byte 0xe9 is not utf-8"):
        load_dataset("toy", folder)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_movielens_is_latin_1_with_either_line_end(tmp_path, end):
    rows = [b"73|Mis\xe9rables, Les (1995) |01-Jan-1995||url|", b"74|Caf\x85 (1996)|||url|"]
    items = b"".join(row + FLAGS.encode() + end for row in rows)
    data = load_dataset("toy", movielens(tmp_path, "196\t73\t3\t881250949\n196\t74\t3\t881250950\n", items))
    assert data.items["title"].to_list() == ["Misérables, Les (1995)", "Caf\x85 (1996)"]
    assert data.notes == ("blanks around the title removed: item 73",)
    assert data.users["user_id"].to_list() == ["196"]


def test_movielens_takes_genre_names_from_u_genre(tmp_path):
    movielens(tmp_path, "1\t1\t3\t5\n", b"1|A|||url|0|1|1\n")
    (tmp_path / "u.genre").write_text("unknown|0\nSpy|1\nHeist|2\n\n", encoding="latin-1")
    assert load_dataset("toy", tmp_path).items["genres"].to_list() == [["Spy", "Heist"]]
    (tmp_path / "u.genre").write_text("unknown|0\nSpy|2\nHeist|1\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"u.genre, line 2: genres must be numbered"):
        load_dataset("toy", tmp_path)


@pytest.mark.parametrize(
    ("log", "items", "message"),
    [
        ("1\t1\t3\tyesterday\n", f"1|A|||url|{FLAGS}\n", "u.data, line 1: timestamp must .*'yesterday'"),
        (
            "1 1 3 5\n",
            f"1|A|||url|{FLAGS}\n",
            r"u.data, line 1: expected 4 fields separated by '\\t'.*'1 1 3 5'",
        ),
        ("1\t1\t3\t5\n", f"1|A | B|||url|{FLAGS}\n", r"u.item, line 1: expected 24 fields separated by '\|'"),
        ("1\t1\t3\t5\n", f"1|A|||url|{FLAGS[:-1]}x\n", "u.item, line 1: the flag of genre Western .*'x'"),
        ("1\t1\t3\t5\n", "", "u.item is empty"),
    ],
)
def test_movielens_refuses_what_it_cannot_use(tmp_path, log, items, message):
    with pytest.raises(DataError, match=message):
        load_dataset("toy", movielens(tmp_path, log, items.encode("latin-1")))


def test_the_parent_of_the_folder_will_do(tmp_path):
    recbole(tmp_path / "toy", "u\t1\t3\t5\n")
    assert load_dataset("toy", tmp_path).name == "toy"


def test_several_sets_in_one_folder_need_the_name_of_one(tmp_path):
    recbole(tmp_path, "u\t1\t3\t5\n")
    for end in ("inter", "item"):
        (tmp_path / f"other.{end}").write_bytes((tmp_path / f"toy.{end}").read_bytes())
    assert load_dataset("toy", tmp_path).name == "toy"
    with pytest.raises(DataError, match=r"several data sets \(other, toy\), none of them 'mine'"):
        load_dataset("mine", tmp_path)


def test_a_folder_in_two_layouts_is_read_as_one_and_says_so(tmp_path):
    recbole(tmp_path, "u\t1\t3\t5\n")
    data = load_dataset("toy", movielens(tmp_path, "u\t1\t3\t5\n", f"1|A|||url|{FLAGS}\n".encode()))
    assert data.notes == ("read as movielens; the folder also fits recbole",)


def test_a_folder_in_no_layout_lists_what_is_there_and_what_is_expected(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::2::3::4\n", encoding="utf-8")
    (tmp_path / "u.item").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"holds ratings.dat, u.item") as error:
        load_dataset("toy", tmp_path)
    assert "toy does not exist" in str(error.value)
    assert "recbole: X.inter and X.item" in str(error.value)
    assert "movielens: u.data and u.item" in str(error.value)


@pytest.mark.parametrize("name", ["ml100k", "minilm-l6"])
def test_an_unknown_name_lists_the_named_data_sets(name):
    with pytest.raises(DataError, match=rf"no data set '{name}'.*\(have: ml-100k\).*--data-dir"):
        load_dataset(name)


def test_a_named_set_with_other_content_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    folder = cache_folder() / "assets" / "ml-100k"
    folder.parent.mkdir()
    recbole(folder, "u\t1\t3\t5\n")
    (folder / "asset.json").write_text('{"folder": ".", "files": {}}', encoding="utf-8")
    with pytest.raises(AssetError, match=r"is damaged: its content hash is .* delete that folder"):
        load_dataset("ml-100k")


@pytest.mark.network
def test_the_named_set_is_fetched_and_read(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    data = load_dataset("ml-100k")
    assert (data.num_users, data.num_items, len(data.interactions)) == (943, 1682, 100_000)
