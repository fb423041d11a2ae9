"""H&M of Kaggle: days instead of times, ids of ten digits, photographs in folders."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset
from llmrec.sources.hm import Hm

LOG = (
    "t_dat,customer_id,article_id,price,sales_channel_id\n"
    "2018-09-20,c1,0108775015,0.05,2\n"
    "2018-09-20,c1,0541518023,0.03,2\n"
    "2018-09-20,c1,0108775015,0.05,2\n"
    "2018-09-21,c2,0541518023,0.03,1\n"
)
ARTICLES = (
    "article_id,product_code,prod_name,product_type_name,graphical_appearance_name,colour_group_name,department_name,"
    "detail_desc\n"
    '0108775015,0108775,Strap top,Vest top,Solid,Black,Jersey Basic,"Jersey top, narrow straps."\n'
    "0541518023,0541518,Rae Push,Bra,Solid,,Lingerie,\n"
    "0999999999,0999999,Never bought,Hat,Dots,Red,Hats,A hat &amp; more\n"
)
CUSTOMERS = (
    "customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code\n"
    "c1,,,ACTIVE,NONE,49,52043ee2\nc2,1.0,1.0,ACTIVE,Regularly,,2973abc5\nc3,,,,,24,64f17e6a\n"
)


def write(folder: Path, log: str = LOG, articles: str = ARTICLES, customers: str | None = CUSTOMERS) -> Path:
    files = {"transactions_train": log, "articles": articles, "customers": customers}
    for name, text in files.items():
        if text is not None:
            (folder / f"{name}.csv").write_bytes(text.encode())
    return folder


def histories(data: Dataset) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for user, item in data.interactions.select("user", "item").rows():
        found.setdefault(data.user_ids[user], []).append(data.item_ids[item])
    return found


def test_ids_keep_their_zeros_and_pieces_of_a_day_the_order_of_the_file(tmp_path):
    data = load_dataset("hm", write(tmp_path))
    assert histories(data) == {"c1": ["0108775015", "0541518023", "0108775015"], "c2": ["0541518023"]}
    days = [int(datetime(2018, 9, day, tzinfo=UTC).timestamp()) for day in (20, 20, 20, 21)]
    assert data.interactions["timestamp"].to_list() == days
    assert data.time_unit == "seconds"


def test_articles_have_name_description_and_what_they_are(tmp_path):
    data = load_dataset("hm", write(tmp_path))
    assert data.items.rows() == [
        ("0108775015", "Strap top", "Jersey top, narrow straps.", ["Vest top", "Solid", "Black", "Jersey Basic"]),
        ("0541518023", "Rae Push", None, ["Bra", "Solid", "Lingerie"]),
        ("0999999999", "Never bought", "A hat & more", ["Hat", "Dots", "Red", "Hats"]),
    ]
    assert {"no description: item 0541518023", "HTML entities in the description resolved: item 0999999999"} <= set(
        data.notes
    )


def test_customers_have_an_age_where_they_told_it(tmp_path):
    data = load_dataset("hm", write(tmp_path))
    assert data.users.rows() == [("c1", 49, "52043ee2"), ("c2", None, "2973abc5"), ("c3", 24, "64f17e6a")]
    assert "customers.csv: 1 customers have no age" in data.notes
    (tmp_path / "customers.csv").unlink()
    assert load_dataset("hm", tmp_path).users.rows() == [("c1",), ("c2",)]


def test_photographs_lie_in_folders_of_the_first_three_digits(tmp_path):
    for item in ("0108775015", "0541518023"):
        (tmp_path / "images" / item[:3]).mkdir(parents=True)
        (tmp_path / "images" / item[:3] / f"{item}.jpg").touch()
    data = load_dataset("hm", write(tmp_path))
    assert data.images == tmp_path / "images"
    assert "no image in images/: item 0999999999" in data.notes


def test_headers_that_stand_again_and_ends_of_lines_of_windows_change_nothing(tmp_path):
    plain = load_dataset("hm", write(tmp_path))
    header = LOG.split("\n", 1)[0]
    texts = [text.replace("\n", "\r\n") for text in (f"{LOG}{header}\n", ARTICLES, CUSTOMERS)]
    other = load_dataset("hm", write(tmp_path, *texts))
    assert other.content_hash == plain.content_hash
    assert other.users.rows() == plain.users.rows()
    assert "transactions_train.csv: the header stands again in 1 lines, which are no rows" in other.notes


def test_ids_that_lost_their_zeros_fit_no_article(tmp_path):
    """Read as numbers and written again, 0108775015 is 108775015 and joins nothing."""
    write(tmp_path, LOG.replace(",0", ","))
    with pytest.raises(DataError, match=r"not one item id of the log is in the item table \(log: \['108775015'"):
        load_dataset("hm", tmp_path)


FAULTS = {
    "2018-13-40,c1,0108775015,0.05,2\n": r"line 6: timestamp must be a date such as .*found '2018-13-40'",
    "2018-09-22,,0108775015,0.05,2\n": "line 6: user_id is empty, every row needs one",
    "2018-09-22,c1,0108775015\n": "line 6: expected 5 fields separated by ','",
}


@pytest.mark.parametrize("row", FAULTS)
def test_a_row_that_cannot_be_used_is_named_with_its_line(tmp_path, row):
    with pytest.raises(DataError, match=rf"transactions_train\.csv, {FAULTS[row]}"):
        load_dataset("hm", write(tmp_path, LOG + row))


def test_a_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"articles\.csv, line 1: expected the column prod_name once, .* stands nowhere"
    ):
        load_dataset("hm", write(tmp_path, articles=ARTICLES.replace("prod_name", "name")))


def test_a_folder_without_articles_is_another_layout(tmp_path):
    write(tmp_path)
    assert Hm().detect(tmp_path)
    (tmp_path / "articles.csv").unlink()
    assert not Hm().detect(tmp_path)
    with pytest.raises(DataError, match=r"does not hold transactions_train\.csv and articles\.csv"):
        Hm().read(tmp_path, "hm")
