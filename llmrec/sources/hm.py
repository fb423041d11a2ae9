"""H&M: what customers bought in two years, with articles, their texts and their photographs."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._headers import open_csv, places_of, read_rows
from llmrec.sources._images import image_notes
from llmrec.sources._texts import clean
from llmrec.sources._times import in_time

_LOG, _ITEMS, _USERS, _IMAGES = "transactions_train.csv", "articles.csv", "customers.csv", "images"
_KINDS = ("product_type_name", "graphical_appearance_name", "colour_group_name", "department_name")


class Hm:
    """The files of Kaggle's competition "H&M Personalized Fashion Recommendations" (2022).

    - ``transactions_train.csv``: a row per piece bought, with its day. Pieces of one day keep the order of the file,
      and pieces bought twice stand twice.
    - ``articles.csv``: name and description; type, pattern, colour and department become the categories.
    - if they are there, ``customers.csv`` (age and postal code are read) and ``images/``, where the photograph of the
      article 0108775015 is ``010/0108775015.jpg``.

    Ids are texts of ten digits and keep their leading zeros.
    https://www.kaggle.com/competitions/h-and-m-personalized-fashion-recommendations/data
    """

    expects = "transactions_train.csv and articles.csv (H&M of Kaggle)"

    def detect(self, folder: Path) -> bool:
        """Whether log and articles are there."""
        return all((folder / name).is_file() for name in (_LOG, _ITEMS))

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the folder.

        Raises:
            DataError: a file or column that is not there, or a row that cannot be used, with file and line.
        """
        if not self.detect(folder):
            raise DataError(f"{folder} does not hold {self.expects}")
        file = open_csv(folder / _LOG)
        places = places_of(file, {"user_id": "customer_id", "item_id": "article_id", "timestamp": "t_dat"})
        table, notes = read_rows(file, places, header=True)
        log, times = in_time(table)
        items, told = _articles(folder / _ITEMS)
        users, ages = _customers(folder / _USERS) if (folder / _USERS).is_file() else (None, [])
        data = Dataset.from_tables(name, log, items, users)
        images = folder / _IMAGES if (folder / _IMAGES).is_dir() else None
        photographs = image_notes(data.items["item_id"], images)
        return replace(data, notes=(*notes, *times, *told, *ages, *data.notes, *photographs), images=images)


def _articles(path: Path) -> tuple[pl.DataFrame, list[str]]:
    file = open_csv(path)
    columns = {"item_id": "article_id", "title": "prod_name", "description": "detail_desc"}
    table, notes = read_rows(file, places_of(file, columns | {kind: kind for kind in _KINDS}), header=True)
    ids = table.keys("item_id")
    texts = []
    for name in ("title", "description"):
        column, told = clean(ids, table.text(name).fill_null(""), name)
        texts.append(column)
        notes += told
    kinds = pl.DataFrame([table.text(kind).str.strip_chars() for kind in _KINDS])
    lists = kinds.select(categories=pl.concat_list(_KINDS).list.drop_nulls())["categories"]
    return pl.DataFrame([ids, *texts, lists]), notes


def _customers(path: Path) -> tuple[pl.DataFrame, list[str]]:
    file = open_csv(path)
    places = places_of(file, {"user_id": "customer_id", "age": "age", "zip_code": "postal_code"})
    table, notes = read_rows(file, places, header=True)
    users = pl.DataFrame([table.keys("user_id"), table.whole("age", optional=True), table.text("zip_code")])
    unknown = users["age"].null_count()
    return users, notes + [f"{path.name}: {unknown} customers have no age"] * bool(unknown)
