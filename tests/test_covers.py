"""Which image file shows each item, and names that count rows and are no ids."""

import csv
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from llmrec import covers
from llmrec.errors import DataError

ML = ROOT.parent / "shared" / "data" / "ml-latest-small"
real = pytest.mark.skipif(not ML.is_dir(), reason="ml-latest-small is not in ../shared/data")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return folder


def catalogue(*ids: str | int) -> list[str]:
    return ["", *map(str, ids)]


def film_ids() -> list[str]:
    with (ML / "movies.csv").open(encoding="utf-8") as file:
        return catalogue(*(row["movieId"] for row in csv.DictReader(file)))


def test_files_are_found_below_the_folder_whatever_the_letters_of_their_ending(tmp_path):
    names = ["010/a.jpg", "010/b.JPEG", "c.Png", "x/y/d.webp", "e.gif", "f.BMP"]
    found = covers.find(catalogue(*"abcdefg"), touch(tmp_path, *names))
    assert found.files == [None, *(tmp_path / name for name in names), None]
    assert found.notes == (f"1 of 7 items have no image in {tmp_path}, such as 'g'",)


def test_an_id_with_a_dot_or_leading_zeros_is_its_name_as_written(tmp_path):
    folder = touch(tmp_path, "v1.5.jpg", "0108775015.jpg")
    assert covers.find(catalogue("v1.5", "0108775015"), folder).files == [
        None, folder / "v1.5.jpg", folder / "0108775015.jpg",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"images are '0108775015', 'v1\.5', items '108775015', 'v1'; an image of item"):
        covers.find(catalogue("108775015", "v1"), folder)


def test_of_two_files_that_of_the_upper_folder_counts_then_that_of_the_first_name(tmp_path):
    folder = touch(tmp_path, "0/a.jpg", "a.png", "b.png", "b.jpg", "b.gif")
    found = covers.find(catalogue("a", "b"), folder)
    assert found.files == [None, folder / "a.png", folder / "b.gif"]
    assert found.notes == (
        f"2 items have several images, and the first counts: {folder / 'a.png'}, say, and not {folder / '0' / 'a.jpg'}",
    )


def test_files_without_an_item_and_files_that_are_no_images_are_counted(tmp_path):
    found = covers.find(catalogue("a"), touch(tmp_path, "a.jpg", "old.jpg", "x/older.png", "SOURCE.txt"))
    assert found.notes == (
        f"2 images in {tmp_path} belong to no item, such as 'old.jpg', 'older.png'",
        f"1 files in {tmp_path} are no images by their ending, such as 'SOURCE.txt'",
    )


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(DataError, match=r"the folder of images .*none does not exist"):
        covers.find(catalogue("a"), tmp_path / "none")
    with pytest.raises(DataError, match=r"the folder of images .*a\.txt is a file"):
        covers.find(catalogue("a"), touch(tmp_path, "a.txt") / "a.txt")
    with pytest.raises(DataError, match=r"holds no image \(\.bmp, \.gif, .*; it holds 'a\.txt'"):
        covers.find(catalogue("a"), tmp_path)


def test_where_none_is_needed_an_empty_folder_and_one_of_other_items_are_told(tmp_path):
    ids, folder = catalogue("new"), touch(tmp_path, "SOURCE.txt")
    lacking = f"1 of 1 items have no image in {folder}, such as 'new'"
    found = covers.find(ids, folder, needed=False)
    assert found.files == [None, None]
    assert found.notes == (lacking, f"1 files in {folder} are no images by their ending, such as 'SOURCE.txt'")
    (folder / "SOURCE.txt").unlink()
    touch(folder, "old.jpg", "stray.jpg")
    found = covers.find(ids, folder, others=["old"], needed=False)
    assert found.notes == (lacking, f"1 images in {folder} belong to no item, such as 'stray.jpg'")
    with pytest.raises(DataError, match="images are 'old', 'stray', items 'new'"):
        covers.find(ids, folder, others=["old"])
    with pytest.raises(DataError, match="does not exist"):
        covers.find(ids, folder / "none", needed=False)


# Names that count rows

SPARSE = catalogue(1, 2, 3, 5, 7, 8, 10, 20, 40, 80)


def numbered(folder: Path, numbers: range | list[int]) -> Path:
    return touch(folder, *(f"{number}.jpg" for number in numbers))


@pytest.mark.parametrize("numbers", [range(1, 11), range(10), range(1, 7), [*range(1, 6), *range(7, 12)]])
def test_names_that_count_rows_of_a_catalogue_with_gaps_are_refused(tmp_path, numbers):
    folder = numbered(tmp_path, numbers)
    with pytest.raises(DataError, match=r"numbered by the rows .* are no item, .* go from 1 to 80\. .*named_by=id"):
        covers.find(SPARSE, folder)
    assert covers.find(SPARSE, folder, "id").files[1] == folder / "1.jpg"


def test_one_file_of_another_name_does_not_hide_a_numbering(tmp_path):
    with pytest.raises(DataError, match="numbered by the rows"):
        covers.find(SPARSE, touch(numbered(tmp_path, range(1, 11)), "default.jpg"))


def test_rows_from_1_of_a_catalogue_that_counts_from_0_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"fill 1 to 6, 1 of them, such as '6', are no item, .* go from 0 to 5"):
        covers.find(catalogue(*range(6)), numbered(tmp_path, range(1, 7)))


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        (range(1, 11), range(1, 11)),  # numbered without a gap
        ([1, 3, 4, 8, 10], range(1, 13)),  # the images of all items, of which some were filtered out
        (range(1, 101), range(1, 11)),  # the first ten are there
        (SPARSE[1:], [1, 5, 8, 20, 40, 80]),  # ids
        (SPARSE[1:], [1, 2, 4]),  # too few to tell
    ],
)
def test_ids_that_are_numbers_pass(tmp_path, ids, numbers):
    folder = numbered(tmp_path, numbers)
    named = {path.stem: path for path in folder.iterdir()}
    assert covers.find(catalogue(*ids), folder).files == [None, *(named.get(str(item)) for item in ids)]


@pytest.mark.parametrize(
    ("numbers", "strays"), [([3, 6, 8, 9, 10], 2), ([1, 2, 3, 5, 6, 7, 8, 10], 1), ([0, 3, 5, 8, 10], 1)]
)
def test_a_part_of_the_rows_of_a_catalogue_of_far_higher_ids_is_refused(tmp_path, numbers, strays):
    folder, ids = numbered(tmp_path, numbers), catalogue(*map(int, SPARSE[1:]))
    with pytest.raises(DataError, match=rf"numbered by the rows .*, {strays} of them, .* no item, .* from 1 to 80\."):
        covers.find(ids, folder)
    assert covers.find(ids, folder, "id").doubt == ""


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        (SPARSE[1:], [3, 6, 8, 9, 11]),  # there are ten items, so that 11 is no row
        ([*range(1, 10), 20], [2, 4, 6, 8, 10]),  # the highest id is not far above ten
        (range(1, 200, 2), [*range(1, 50, 2), 8, 12]),  # 2 of 27 are no item
    ],
)
def test_numbers_that_need_not_be_rows_pass(tmp_path, ids, numbers):
    folder = numbered(tmp_path, numbers)
    files = covers.find(catalogue(*ids), folder).files
    assert sum(path is not None for path in files) == len({*map(str, ids)} & {*map(str, numbers)})


def test_the_rows_of_a_new_item_are_those_of_the_whole_catalogue(tmp_path):
    """One of two new items has a picture of its number, which would be no sign if the catalogue were these two."""
    folder = numbered(tmp_path, [3, 6, 8, 9, 10])
    with pytest.raises(DataError, match="numbered by the rows"):
        covers.find(catalogue(10, 40), folder, others=[item for item in SPARSE[1:] if item not in ("10", "40")])
    assert covers.find(catalogue(10, 40), folder).files == [None, folder / "10.jpg", None]


@pytest.mark.parametrize("numbers", [[1, 2, 10], [3, 5, 7, 8, 10]])
def test_numbers_that_may_be_rows_or_ids_are_told(tmp_path, numbers):
    folder = numbered(tmp_path, numbers)
    told = covers.find(SPARSE, folder).doubt
    assert told.startswith(f"the {len(numbers)} images in {folder} are named by numbers, which may be item ids or rows")
    assert f"see whether {folder / '10.jpg'} shows item '10'; images.named_by=id " in told
    assert covers.find(SPARSE, folder, "id").doubt == ""


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        (SPARSE[1:], [1, 2, 20]),  # there are ten rows
        (range(1, 11), [1, 2, 10]),  # row and id are one and the same
    ],
)
def test_no_doubt_is_told_of_names_that_are_ids_or_rows_alike(tmp_path, ids, numbers):
    assert covers.find(catalogue(*ids), numbered(tmp_path, numbers)).doubt == ""


def same_images(folder: Path, pairs: dict[int, int]) -> tuple[Path, Path]:
    """Two folders in which the same picture bears one number and another."""
    for low, high in pairs.items():
        for name, number in (("low", low), ("high", high)):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{number}.jpg").write_text(f"picture {low}", encoding="utf-8")
    return folder / "low", folder / "high"


def test_images_that_bear_higher_numbers_in_the_folder_beside_are_refused(tmp_path):
    low, high = same_images(tmp_path, {1: 1, 2: 3, 3: 5, 5: 8, 8: 20})
    with pytest.raises(DataError, match=r"4 of them lie in a folder beside it under higher numbers, such as .*2\.jpg"):
        covers.find(SPARSE, low)
    assert covers.find(SPARSE, high).files[1] == high / "1.jpg", "the higher numbers are the ids"
    assert covers.find(SPARSE, low, "id").files[1] == low / "1.jpg"


@pytest.mark.parametrize(
    "pairs", [{1: 1, 2: 3, 3: 5, 5: 5, 8: 8}, {1: 2, 2: 3, 3: 5, 5: 8, 8: 7}, {1: 11, 2: 12, 3: 13, 5: 15, 8: 18}]
)
def test_two_others_or_a_lower_one_or_no_items_there_prove_nothing(tmp_path, pairs):
    low, _ = same_images(tmp_path, pairs)
    assert covers.find(SPARSE, low).files[1] == low / "1.jpg"


def test_a_picture_that_stands_for_missing_ones_proves_nothing(tmp_path):
    low, high = numbered(tmp_path / "low", [1, 2, 3, 5, 8]), numbered(tmp_path / "high", [7, 10, 20, 40, 80])
    for path in (*low.iterdir(), *high.iterdir()):
        path.write_text("no image", encoding="utf-8")
    assert covers.find(SPARSE, low).files[1] == low / "1.jpg"


@real
def test_posters_of_films_are_joined_and_those_numbered_by_row_are_refused():
    ids = film_ids()
    found = covers.find(ids, ML / "posters")
    assert sum(path is not None for path in found.files) == 1526
    assert found.files[ids.index("3744")] == ML / "posters" / "3744.jpg"
    assert found.notes[0].startswith("8,216 of 9,742 items have no image")
    with pytest.raises(DataError, match=r"4 of them lie in a folder beside it .*sample/3\.jpg as .*posters/4\.jpg"):
        covers.find(ids, ML / "posters_misaligned_sample")
    assert found.doubt == "", "no table of so few films has their highest number"


@real
def test_posters_numbered_by_row_with_no_others_beside_them_are_doubted(tmp_path):
    alone = shutil.copytree(ML / "posters_misaligned_sample", tmp_path / "posters")
    found = covers.find(film_ids(), alone)
    assert sum(path is not None for path in found.files) == 14
    assert found.doubt.startswith(f"the 14 images in {alone} are named by numbers")


@pytest.mark.slow
@real
def test_posters_of_a_part_of_the_films_that_are_numbered_by_their_row_are_refused(tmp_path):
    ids = film_ids()
    rows = [ids.index(path.stem) for path in (ML / "posters").glob("*.jpg")]
    strays = [row for row in rows if str(row) not in ids]
    assert (len(rows), len(strays)) == (1526, 582)
    with pytest.raises(DataError, match="they are at most 9,742, the number of items, 582 of them, such as '"):
        covers.find(ids, numbered(tmp_path, rows))


@pytest.mark.slow
@real
def test_the_rows_of_films_are_refused_by_their_names(tmp_path):
    ids = film_ids()
    strays = [number for number in range(1, 1001) if str(number) not in ids]
    told = f"fill 1 to 1,000, {len(strays)} of them, such as '{strays[0]}'.*, and items go from 1 to 193,609"
    with pytest.raises(DataError, match=told):
        covers.find(ids, numbered(tmp_path, range(1, 1001)))
