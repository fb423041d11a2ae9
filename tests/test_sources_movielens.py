"""MovieLens beyond 100K: files with :: and with commas, encodings, quotes, rows that cannot be used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from llmrec import components
from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset

REAL = ROOT.parent / "shared" / "data" / "ml-latest-small"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="MovieLens latest-small is not in ../shared/data")
DAT = {
    "ratings.dat": b"1::73::5::978300760\n1::74::3::978300761\n",
    "movies.dat": b"73::Mis\xe9rables, Les (1995)::Drama\n74::Lock, Stock (1998)::Comedy|Crime\n",
}
CSV = {
    "ratings.csv": b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,02,3.5,964981247\n",
    "movies.csv": b'movieId,title,genres\n1,"Crying Game, The (1992)",Drama|Thriller\n'
    b"02,Heat (1995) ,(no genres listed)\n",
}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def read(folder: Path, **options) -> Dataset:
    return components.create("sources", components.resolve("sources", {"name": "movielens", **options})).read(
        folder, "m"
    )


def test_files_with_double_colons_are_latin_1(tmp_path):
    """A1: bytes `73::Mis\\xe9rables, Les (1995)::Drama` in movies.dat."""
    data = load_dataset("ml", write(tmp_path, DAT))
    assert data.items["title"].to_list() == ["Misérables, Les (1995)", "Lock, Stock (1998)"]
    assert data.items["genres"].to_list() == [["Drama"], ["Comedy", "Crime"]]
    assert data.interactions["rating"].to_list() == [5.0, 3.0]
    assert data.notes == ()


def test_the_same_file_in_utf_8_is_read_as_such_and_says_so(tmp_path):
    movies = DAT["movies.dat"].decode("latin-1").encode("utf-8")
    data = load_dataset("ml", write(tmp_path, DAT | {"movies.dat": movies}))
    assert data.items["title"][0] == "Misérables, Les (1995)"
    assert data.notes == ("movies.dat is read as utf-8; this layout is published in latin-1",)


def test_two_encodings_in_one_file_are_refused_with_both_lines_unless_one_is_said(tmp_path):
    mixed = DAT["movies.dat"] + "75::Amélie (2001)::Comedy\n".encode()
    folder = write(tmp_path, DAT | {"movies.dat": mixed, "ratings.dat": DAT["ratings.dat"] + b"1::75::3::5\n"})
    with pytest.raises(DataError, match=r"movies.dat, line 3 is UTF-8, line 1 is not"):
        load_dataset("ml", folder)
    assert read(folder, encoding="latin-1").items["title"][2] == "AmÃ©lie (2001)"
    with pytest.raises(DataError, match=r"movies.dat, line 1: byte 0xe9 is not utf-8"):
        read(folder, encoding="utf-8")


@pytest.mark.slow
def test_nothing_depends_on_the_codec_of_the_platform(tmp_path):
    """A2: title `电影/Amélie`, C locale."""
    movies = "movieId,title,genres\n1,电影/Amélie,Drama\n02,B,Drama\n".encode()
    folder = write(tmp_path, CSV | {"movies.csv": movies})
    program = (
        "from pathlib import Path; from llmrec.sources import load_dataset; import sys;"
        "sys.stdout.buffer.write(load_dataset('m', Path(sys.argv[1])).items['title'][0].encode('utf-8'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env={**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode("utf-8") == "电影/Amélie"


@pytest.mark.parametrize("columns", ["userId,movieId", "user_id,item_id"])
def test_files_with_commas_take_either_header_and_quotes_are_real(tmp_path, columns):
    ours = CSV["ratings.csv"].replace(b"userId,movieId", columns.encode())
    theirs = CSV["movies.csv"].replace(b"movieId", columns.split(",")[1].encode())
    data = load_dataset("ml", write(tmp_path, {"ratings.csv": ours, "movies.csv": theirs}))
    assert data.items["title"].to_list() == ["Crying Game, The (1992)", "Heat (1995)"]
    assert data.items["genres"].to_list() == [["Drama", "Thriller"], []]
    assert data.item_ids.tolist() == ["", "1", "02"]
    assert data.item_ids[data.interactions["item"].to_numpy()].tolist() == ["02", "1"], "sorted by time"
    assert any("read as no genres" in note for note in data.notes)


def test_quotes_inside_a_field_with_colons_mean_nothing(tmp_path):
    """A4: `"Great Performances" Cats (1998)`."""
    movies = b'73::"Great Performances" Cats (1998)::Musical\n74::B::Drama\n'
    assert load_dataset("ml", write(tmp_path, DAT | {"movies.dat": movies})).items["title"][0] == (
        '"Great Performances" Cats (1998)'
    )


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (b"1,1,4.0,964982224a", "timestamp must be a whole number"),
        (b"1,1,four,964982224", "rating must be a number"),
        (b"1,1,4.0", "expected 4 fields"),
        (b",1,4.0,964982224", "user_id is empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_line_or_skipped_and_noted(tmp_path, row, rule):
    folder = write(tmp_path, CSV | {"ratings.csv": CSV["ratings.csv"] + row + b"\n"})
    with pytest.raises(DataError, match=rf"ratings.csv, line 4: {rule}.*bad_rows: skip"):
        read(folder)
    data = read(folder, bad_rows="skip")
    assert len(data.interactions) == 2
    assert any(note.startswith(f"ratings.csv: 1 row(s) skipped: line 4 ({rule}") for note in data.notes)


def test_tags_and_links_join_the_films(tmp_path):
    files = {
        "tags.csv": b'userId,movieId,tag,timestamp\n2,1,funny,5\n3,1,funny,6\n2,1,"dark,\nslow",7\n2,99,x,8\n',
        "links.csv": b"movieId,imdbId,tmdbId\n1,0114709,862\n02,0113497,\n",
    }
    data = load_dataset("ml", write(tmp_path, CSV | files))
    assert data.items["tags"].to_list() == [["funny", "dark, slow"], []]
    assert data.items["imdb_id"].to_list() == ["0114709", "0113497"]
    assert data.items["tmdb_id"].to_list() == ["862", None]
    assert "line ends in the tag made blanks: item 1" in data.notes
    assert any("1 films are not in movies.csv" in note for note in data.notes)


def test_posters_beside_the_films_are_their_images(tmp_path):
    assert load_dataset("ml", write(tmp_path, CSV)).images is None
    (tmp_path / "posters").mkdir()
    assert load_dataset("ml", tmp_path).images == tmp_path / "posters"


@pytest.mark.slow
@needs_real
def test_the_real_latest_small_is_refused_at_its_broken_row_and_read_without_it():
    with pytest.raises(DataError, match=r"ratings.csv, line 4: timestamp must .*'964982224a'"):
        load_dataset("ml-latest-small", REAL)
    data = load_dataset(str(ROOT / "configs" / "data" / "ml-latest-small.yaml"), REAL)
    assert (data.num_users, data.num_items, len(data.interactions)) == (610, 9742, 100_835)
    assert data.items["title"].str.contains(",").sum() >= 2079
    assert any("18 films were never rated" in note for note in data.notes)
    assert (data.items["genres"].list.len() == 0).sum() == 34
    assert data.images == REAL / "posters"
    renamed = load_dataset("renamed", REAL / "renamed-headers")
    assert renamed.num_items == 9742
