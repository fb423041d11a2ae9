"""Rows of MovieLens: fields, quotes, headers, several faults at once, order and ids, titles that are no keys."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT

from llmrec import components
from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset

REAL = ROOT.parent / "shared" / "data"
needs_real = pytest.mark.skipif(
    not (REAL / "ml-latest-small").is_dir(), reason="ml-latest-small is not in ../shared/data"
)
RATINGS = "userId,movieId,rating,timestamp\n"
MOVIES = "movieId,title,genres\n"
MISERABLES = b"73::Mis\xe9rables, Les (1995)::Drama\n"


def read(folder: Path, **options: Any) -> Dataset:
    source = components.create("sources", components.resolve("sources", {"name": "movielens", **options}))
    return source.read(folder, "toy")


def dat(folder: Path, movies: bytes, ratings: str = "1::73::5::978300760\n") -> Path:
    (folder / "movies.dat").write_bytes(movies)
    (folder / "ratings.dat").write_text(ratings, encoding="ascii")
    return folder


def tables(folder: Path, ratings: str, movies: str = "7,Heat (1995),Crime|Drama\n") -> Path:
    (folder / "ratings.csv").write_text(RATINGS + ratings, encoding="utf-8")
    (folder / "movies.csv").write_text(MOVIES + movies, encoding="utf-8")
    return folder


def test_a_csv_file_in_latin_1_is_read_and_noted(tmp_path):
    tables(tmp_path, "1,73,4.0,5\n")
    (tmp_path / "movies.csv").write_bytes(MOVIES.encode() + b'73,"Mis\xe9rables, Les (1995)",Drama\n')
    data = load_dataset("toy", tmp_path)
    assert data.items["title"].to_list() == ["Misérables, Les (1995)"]
    assert "movies.csv is read as latin-1; this layout is published in utf-8" in data.notes


# Fields and quotes


def test_dat_files_have_fields_between_two_colons_and_quotes_mean_nothing(tmp_path):
    """A4: "Great Performances" Cats (1998), with a field count checked per row."""
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::\n", encoding="latin-1")
    data = load_dataset(
        "toy", dat(tmp_path, b'51372::"Great Performances" Cats (1998)::Musical|Drama\n', "1::51372::5::978300760\n")
    )
    assert data.items.row(0) == ("51372", '"Great Performances" Cats (1998)', ["Musical", "Drama"])
    assert data.interactions.row(0) == (1, 1, 978300760, 5.0)
    assert data.users.row(0, named=True) == {
        "user_id": "1",
        "gender": "F",
        "age": 1,
        "occupation": "K-12 student",
        "zip_code": "48067",
    }
    assert data.users["zip_code"][1] is None


def test_a_wrong_separator_prints_expected_and_found(tmp_path):
    """A3: fields separated by something else."""
    dat(tmp_path, MISERABLES, "1\t73\t5\t978300760\n")
    with pytest.raises(
        DataError, match=r"ratings.dat, line 1: expected 4 fields separated by '::'.*found '1\\t73"
    ) as e:
        load_dataset("toy", tmp_path)
    assert "user_id, item_id, rating, timestamp" in str(e.value)


def test_csv_titles_may_hold_commas_quotes_and_line_ends_which_become_blanks(tmp_path):
    movies = '7,"Heat, The (1995)",(no genres listed)\n8,"""Great Performances"" Cats\n(1998)",Musical\n9,A,B\n'
    data = load_dataset("toy", tables(tmp_path, "1,7,4.0,5\n", movies))
    assert data.items["title"].to_list() == ["Heat, The (1995)", '"Great Performances" Cats (1998)', "A"]
    assert "line ends in the title made blanks: item 8" in data.notes
    assert data.items["genres"].to_list() == [[], ["Musical"], ["B"]]
    assert "'(no genres listed)' read as no genres: item 7" in data.notes
    assert "2 films were never rated; they stay in the catalogue" in data.notes


@pytest.mark.parametrize(
    ("movies", "message"),
    [
        (
            '7,"Heat\n(1995)",Drama\n8,Alien\n',
            "movies.csv, line 4: expected 3 fields separated by ','.*found '8,Alien'",
        ),
        ("7,Heat, The (1995),Drama\n", r"movies.csv, line 2: expected 3 fields .*found '7,Heat, The"),
        ('7,Heat,Drama\n8,"Alien,Horror\n9,M,War\n', "movies.csv, line 3: unexpected end of data"),
        ("7,Heat,Drama\n,Alien,Horror\n", "movies.csv, line 3: item_id is empty"),
    ],
)
def test_a_csv_row_that_cannot_be_used_is_refused_with_its_line(tmp_path, movies, message):
    with pytest.raises(DataError, match=message):
        load_dataset("toy", tables(tmp_path, "1,7,4.0,5\n", movies))


@pytest.mark.parametrize(
    ("movies", "message"),
    [
        ("7,Heat,Drama\n8,M,War\n7,Heat,Drama\n7,A,\n", r"line 4: item_id has a row already, line 2; .*and 1 more"),
        ('7,"Heat\n(1995)",Drama\n7,M,War\n', "line 4: item_id has a row already, line 2; found '7'"),
    ],
)
def test_a_film_that_stands_twice_is_refused_with_both_lines(tmp_path, movies, message):
    with pytest.raises(DataError, match=rf"movies\.csv, {message}"):
        load_dataset("toy", tables(tmp_path, "1,7,4.0,5\n", movies))


def test_a_film_or_user_that_stands_twice_in_dat_files_is_refused_with_both_lines(tmp_path):
    dat(tmp_path, MISERABLES + MISERABLES)
    with pytest.raises(DataError, match=r"movies\.dat, line 2: item_id has a row already, line 1; found '73'"):
        load_dataset("toy", tmp_path)
    dat(tmp_path, MISERABLES)
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n1::M::56::16::\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"users\.dat, line 2: user_id has a row already, line 1; found '1'"):
        load_dataset("toy", tmp_path)


def test_either_header_is_understood_and_another_is_refused(tmp_path):
    tables(tmp_path, "1,7,4.0,5\n")
    first = load_dataset("toy", tmp_path)
    (tmp_path / "ratings.csv").write_text("user_id,item_id,rating,timestamp\r\n1,7,4.0,5\r\n", encoding="utf-8-sig")
    (tmp_path / "movies.csv").write_text("item_id,title,genres\r\n7,Heat (1995),Crime|Drama\r\n", encoding="utf-8")
    assert load_dataset("toy", tmp_path).content_hash == first.content_hash
    (tmp_path / "ratings.csv").write_text("user;item;rating;time\n1;7;4.0;5\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"line 1: expected the column userId or user_id once.*\['user;item;rating;time'"
    ):
        load_dataset("toy", tmp_path)
    (tmp_path / "ratings.csv").write_text("userId,movieId,item_id,rating,timestamp\n1,7,7,4.0,5\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"movieId or item_id or movie_id once.*it stands twice"):
        load_dataset("toy", tmp_path)


# Bad rows


def test_bad_rows_are_refused_or_skipped_counted_and_noted(tmp_path):
    log = "1,7,4.0,964982703\n1,7,4.0,964982224a\n1,7,x,5\n1,7\n,7,4.0,6\n1,7,4.0,7,8\n2,7,3.5,8\n"
    tables(tmp_path, log)
    with pytest.raises(DataError, match=r"ratings.csv, line 5: expected 4 fields .*\(and 1 more such lines\)"):
        load_dataset("toy", tmp_path)
    data = read(tmp_path, bad_rows="skip")
    assert data.interactions.select("timestamp", "rating").rows() == [(964982703, 4.0), (8, 3.5)]
    told = next(note for note in data.notes if note.startswith("ratings.csv: 5 row(s) skipped"))
    assert "line 3 (timestamp must be a whole number (64 bits); found '964982224a')" in told
    assert [line for line in range(2, 9) if f"line {line} (" in told] == [3, 4, 5, 6, 7]


def test_that_rows_may_be_skipped_is_said_where_it_helps(tmp_path):
    tables(tmp_path, "1,7,x,5\n")
    with pytest.raises(DataError, match=r"line 2: rating must be a number; .* leave such rows out \(bad_rows: skip"):
        load_dataset("toy", tmp_path)
    for content, message in (("user;item\n", "line 1: expected the column"), ("", "is empty"), ('a,"b\n', "line 1: ")):
        (tmp_path / "ratings.csv").write_text(content, encoding="utf-8")
        for bad_rows in ("refuse", "skip"):
            with pytest.raises(DataError, match=message) as error:
                read(tmp_path, bad_rows=bad_rows)
            assert "bad_rows" not in str(error.value)


def test_a_bad_film_is_refused_whatever_is_done_with_ratings(tmp_path):
    with pytest.raises(DataError, match=r"movies.csv, line 2: expected 3 fields"):
        read(tables(tmp_path, "1,7,4.0,5\n", "7,Heat\n"), bad_rows="skip")


# Order, ids and times


def test_ids_times_and_ties_of_a_csv_log_stay_as_they_stand(tmp_path):
    """A11, A13, A14: ids with leading zeros, three neighbouring stamps, ties 9,1,5,3,7 in file order."""
    stamps = (887692960, 887692900, 887692901)
    log = "".join(f"a,0{place},3,{stamp}\n" for place, stamp in enumerate(stamps))
    log += "".join(f"b,{item},3,887692900\n" for item in "91537")
    movies = "".join(f"{item},Film,\n" for item in ("00", "01", "02", *"13579"))
    data = load_dataset("toy", tables(tmp_path, log, movies))
    rows = data.interactions.rows()
    assert [(data.item_ids[item], time) for user, item, time, _ in rows if user == 1] == [
        ("01", 887692900),
        ("02", 887692901),
        ("00", 887692960),
    ]
    assert [data.item_ids[item] for user, item, _, _ in rows if user == 2] == ["9", "1", "5", "3", "7"]


def test_files_that_number_films_differently_are_refused(tmp_path):
    """A11: item 0001388703 in the log, 1388703 in the item file."""
    with pytest.raises(DataError, match=r"not one item id of the log is in the item table.*0001388703.*1388703"):
        load_dataset("toy", tables(tmp_path, "1,0001388703,4.0,5\n", "1388703,Heat (1995),Drama\n"))


def test_a_title_is_no_key(tmp_path):
    """A26: Sabrina (1954) & Sabrina (1995); Rock &amp; Roll."""
    movies = "1,Sabrina (1954),\n2,Sabrina (1995) ,\n3,Rock &amp; Roll (2000),\n4,Emma (1996),\n5,Emma (1996),\n6, ,\n"
    data = load_dataset("toy", tables(tmp_path, "1,1,4.0,5\n", movies))
    titles = ["Sabrina (1954)", "Sabrina (1995)", "Rock & Roll (2000)", "Emma (1996)", "Emma (1996)", None]
    assert data.items["title"].to_list() == titles
    for told in (
        "HTML entities in the title resolved: item 3",
        "blanks around the title removed: item 2, 6",
        "no title: item 6",
    ):
        assert told in data.notes


# Real data


@needs_real
def test_the_real_renamed_headers_hold_the_same_films_and_the_row_that_was_mended():
    data = load_dataset("renamed-headers", REAL / "ml-latest-small" / "renamed-headers")
    other = read(REAL / "ml-latest-small", bad_rows="skip")
    assert (data.num_users, data.num_items, len(data.interactions)) == (610, 9742, 100_836)
    assert data.interactions["item"].n_unique() == 9724
    assert data.items["title"].equals(other.items["title"])
    tied = data.interactions.select(pl.struct("user", "timestamp").is_duplicated().sum()).item()
    assert tied / len(data.interactions) > 0.2, "so that ties are the usual case"


@needs_real
def test_ties_of_the_real_ratings_keep_the_order_of_the_file():
    path = REAL / "ml-latest-small" / "renamed-headers" / "ratings.csv"
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    data = load_dataset("renamed-headers", REAL / "ml-latest-small" / "renamed-headers")
    for user in ("1", "414", "610"):
        expected = [row[1] for row in sorted((row for row in rows if row[0] == user), key=lambda row: int(row[3]))]
        own = data.interactions.filter(pl.col("user") == data.user_ids.tolist().index(user))
        assert data.item_ids[own["item"].to_numpy()].tolist() == expected
