"""The files of MovieLens as GroupLens publishes them, in all three forms."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import _ml_100k, _ml_csv, _ml_dat
from llmrec.sources._encodings import Encoding
from llmrec.sources._images import image_folder, image_notes
from llmrec.sources._tables import RowError

_USERS = {_ml_100k: "u.user", _ml_dat: "users.dat"}


class Movielens:
    """MovieLens of any size.

    - 100K: ``u.data``, ``u.item``, if they are there ``u.user`` and ``u.genre``; Latin-1, tabs and ``|``.
    - 1M, 10M: ``ratings.dat``, ``movies.dat``, if there is one ``users.dat``; Latin-1 (10M: UTF-8), ``::``.
    - latest, 20M and up: ``ratings.csv``, ``movies.csv``, if they are there ``tags.csv`` and ``links.csv``; UTF-8,
      commas, with ``userId,movieId`` or ``user_id,item_id`` in the header. Only here are quotes real. A folder
      ``posters/`` beside them holds the images ``<movieId>.jpg``.

    A title ends with the year and keeps it: many films share a title and not the year. Films that nobody rated stay
    in the catalogue.

    Format: https://files.grouplens.org/datasets/movielens/

    Args:
        bad_rows: a row of ratings with a field too few, a time such as ``964982224a`` or no number for a rating is
            refused with its line, or skipped, counted and noted.
        encoding: of all files; ``auto`` takes UTF-8 where a whole file is UTF-8, else Latin-1, and refuses a mixture.
    """

    expects = "u.data and u.item, or ratings.dat and movies.dat, or ratings.csv and movies.csv (MovieLens of GroupLens)"

    def __init__(self, *, bad_rows: Literal["refuse", "skip"] = "refuse", encoding: Encoding = "auto") -> None:
        self.skip = bad_rows == "skip"
        self.encoding: Encoding = encoding

    def detect(self, folder: Path) -> bool:
        """Whether the folder holds a log and its films."""
        return bool(_forms(folder))

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the folder.

        Raises:
            DataError: a row or value that the format does not allow, with file and line.
        """
        if not (forms := _forms(folder)):
            raise DataError(f"{folder} does not hold {self.expects}")
        form = forms[0]
        try:
            log, log_notes = form.log(folder, self.encoding, self.skip)
        except RowError as error:
            raise DataError(
                f"{error}. Mend the row, or leave such rows out (bad_rows: skip under source in a YAML file, "
                "as in configs/data/ml-latest-small.yaml)"
            ) from None
        items, item_notes = form.items(folder, self.encoding)
        users = None
        if form in _USERS and (folder / _USERS[form]).is_file():
            users = form.users(folder, self.encoding)
        data = Dataset.from_tables(name, log, items, users)
        unrated = data.num_items - data.interactions["item"].n_unique()
        rest = [f"{unrated} films were never rated; they stay in the catalogue"] if unrated else []
        images = image_folder(folder) if form is _ml_csv else None
        notes = (*log_notes, *item_notes, *data.notes, *rest, *image_notes(data.items["item_id"], images))
        return replace(data, notes=notes, images=images)


def _forms(folder: Path) -> list:
    return [form for form in (_ml_100k, _ml_dat, _ml_csv) if all((folder / name).is_file() for name in form.FILES)]
