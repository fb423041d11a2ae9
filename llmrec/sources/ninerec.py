"""NineRec: one source and nine target platforms, each with a log, titles in two languages and covers."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._headers import open_csv, read_rows
from llmrec.sources._histories import ITEM_NAMES, bare
from llmrec.sources._images import image_notes
from llmrec.sources._pairs import Columns, read_log
from llmrec.sources._video_titles import in_language

_SOURCES = ("Bili_500K", "Bili_2M")
_SOURCE_COVERS = "Source_Bili_2M_cover"


class Ninerec:
    """One platform of NineRec (TPAMI 2024, arXiv:2309.07705), such as ``QB`` or ``Bili_Food``; no file has a header.

    - ``X_item.csv``: id, title in Chinese, title in English.
    - ``X_pair.csv``: the log with times. The paper's page says user, item, time; its script reads item, user, time.
      Which it is is told by ``X_behaviour.tsv``, else by the ids of the item table.
    - ``X_behaviour.tsv``: ``user<TAB>item item ...``, oldest first; the log of QB and TN, whose pairs have no times.
    - ``X_cover/<id>.jpg``; the two sources share ``Source_Bili_2M_cover/``, here or in the folder above.

    Headers that others added are told apart. ``X_url.csv`` is not read.

    Args:
        platform: which, where the folder holds several; unset: the one that the data set is called, else the only one.
        language: of the titles, english or chinese; an item without a title in it takes the other.
        columns: the order of the columns of the pairs, where neither a header nor the ids tell it.
    """

    expects = "X_item.csv with X_pair.csv or X_behaviour.tsv, such as QB_item.csv (NineRec)"

    def __init__(
        self,
        *,
        platform: str = "",
        language: Literal["english", "chinese"] = "english",
        columns: Columns = "auto",
    ) -> None:
        self.platform, self.language = platform, language
        self.columns: Columns = columns

    def detect(self, folder: Path) -> bool:
        """Whether a platform has its items and a log."""
        return bool(_platforms(folder))

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads one platform.

        Raises:
            DataError: no such platform or several, a row that cannot be used, or columns whose order cannot be told.
        """
        platform = self._chosen(folder, name)
        items, notes = self._items(folder / f"{platform}_item.csv")
        pairs, histories = folder / f"{platform}_pair.csv", folder / f"{platform}_behaviour.tsv"
        log = read_log(pairs, histories, set(items["item_id"]), self.columns)
        data = Dataset.from_tables(name, log.frame, items, time_unit=log.unit)
        images = _covers(folder, platform)
        notes = [*log.notes, *notes, *data.notes, *image_notes(data.items["item_id"], images)]
        return replace(data, notes=tuple(notes), images=images)

    def _chosen(self, folder: Path, name: str) -> str:
        have = _platforms(folder)
        wanted = self.platform or (name if name in have or len(have) != 1 else have[0])
        if wanted in have:
            return wanted
        asked = f"holds no platform {wanted!r}" if self.platform else "holds several platforms"
        found = ", ".join(have) or f"nothing that fits: {self.expects}"
        raise DataError(f"{folder} {asked if have else 'holds no platform'} (have: {found}); name one with platform")

    def _items(self, path: Path) -> tuple[pl.DataFrame, list[str]]:
        file = open_csv(path)
        if len(file.first) not in (2, 3):
            raise DataError(f"{path}, line 1: expected id,Chinese,English; found {','.join(file.first)}")
        header = bare(file.first[0]) in ITEM_NAMES
        languages = ["chinese", "english"][: len(file.first) - 1]
        named = [bare(name) for name in file.first[1:]]
        if header and len(set(named) & {"chinese", "english"}) == len(named):
            languages = named  # in whichever order
        places = {"item_id": 0} | {language: place for place, language in enumerate(languages, 1)}
        table, notes = read_rows(file, places, header=header)
        ids = table.keys("item_id")
        titles, told = in_language(ids, {language: table.text(language) for language in languages}, self.language)
        headed = [f"{path.name}: line 1 is a header ({','.join(file.first)}), no item"] if header else []
        return pl.DataFrame([ids, titles]), [*headed, *notes, *told]


def _platforms(folder: Path) -> list[str]:
    """Names that have an item table and a log."""
    named = sorted(path.name.removesuffix("_item.csv") for path in folder.glob("*_item.csv"))
    logs = ("_pair.csv", "_behaviour.tsv")
    return [name for name in named if any((folder / f"{name}{log}").is_file() for log in logs)]


def _covers(folder: Path, platform: str) -> Path | None:
    shared = [folder / _SOURCE_COVERS, folder.parent / _SOURCE_COVERS] if platform in _SOURCES else []
    return next((path for path in (folder / f"{platform}_cover", *shared) if path.is_dir()), None)
