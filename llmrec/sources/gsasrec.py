"""MovieLens-1M as gSASRec's repository ships it: one user a line, already split."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._atomic import atomic_items
from llmrec.sources._ml_dat import read_users
from llmrec.sources._orders import numbered
from llmrec.sources._tables import read_lines

_FILES = ("train/input.txt", "val/input.txt", "val/output.txt", "test/output.txt")


class Gsasrec:
    """The split of gSASRec (RecSys 2023, arXiv:2308.07192): ``train``, ``val`` and ``test``, ``input`` and ``output``.

    Line n of ``train/input.txt`` and ``test/output.txt`` is user n. ``val`` holds some of the users, whose validation
    target is known; which ones is told by their sequence, that of ``train`` with one item more. The item before the
    test target of the others stands in none of the files. The column ``part`` says train, validation or test; there
    are no times.

    Where ``sas_to_original_items.txt`` and a RecBole item file stand beside, items have their MovieLens ids, titles
    and genres; else their ids are the numbers of the files. Where ``sas_to_original_users.txt`` and a ``*users.dat`` of
    MovieLens (separated by tabs, as RePlay ships it) stand beside, gender, age, occupation and zip code of the users
    are known; their ids stay the numbers of the lines.

    Args:
        unmet: whether films of the item file that nobody met are ``left_out`` of the catalogue or ``kept`` in it, as
            published candidates that name some of them need.
    """

    expects = "train/input.txt, val/input.txt, val/output.txt and test/output.txt (gSASRec's ml-1m)"

    def __init__(self, *, unmet: Literal["left_out", "kept"] = "left_out") -> None:
        self.keep_unmet = unmet == "kept"

    def detect(self, folder: Path) -> bool:
        """Whether all four files are there."""
        return all((folder / name).is_file() for name in _FILES)

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the folder.

        Raises:
            DataError: files that do not fit together, or an id without an entry in the map.
        """
        train, known, validation, test = (_lists(folder / name) for name in _FILES)
        if len(train) != len(test) or len(known) != len(validation):
            raise DataError(
                f"{folder}: {len(train)} lines in train/input.txt and {len(test)} in test/output.txt, {len(known)} in "
                f"val/input.txt and {len(validation)} in val/output.txt; both pairs must be equal"
            )
        more = _find(folder, train, known, validation)
        lists, parts = [], []
        for user, (history, last) in enumerate(zip(train, test, strict=True)):
            seen, held = more.get(user, ([], []))
            lists.append([*history, *seen, *held, *last])
            kinds = {"train": [*history, *seen], "validation": held, "test": last}
            parts.append([part for part, items in kinds.items() for _ in items])
        users = [str(number) for number in range(1, len(train) + 1)]
        log = numbered(pl.DataFrame({"user_id": users, "item_id": lists, "part": parts}))
        items, notes = _items(folder)
        if items is None and self.keep_unmet:
            raise DataError(f"{folder}: unmet=kept needs sas_to_original_items.txt and one .item file")
        if items is not None:
            log = _renamed(folder, log)
            met = items.filter(pl.col("item_id").is_in(log["item_id"].unique().implode()))
            if not self.keep_unmet:
                notes = [*notes, f"{len(items) - len(met)} items that nobody met are left out"]
                items = met
        lost = len(train) - len(more)
        gap = (
            f"{lost} users lack the item before their test target, which is in none of the files; they do not validate"
        )
        who, user_notes = _users(folder, users)
        data = Dataset.from_tables(name, log, items, who, time_unit="order")
        return replace(data, notes=(*notes, *([gap] if lost else []), *user_notes, *data.notes))


def _lists(path: Path) -> list[list[str]]:
    return [line.split() for line in read_lines(path, "utf-8")]


def _find(
    folder: Path, train: list[list[str]], known: list[list[str]], targets: list[list[str]]
) -> dict[int, tuple[list[str], list[str]]]:
    """By user with a validation target: the items between his training part and it, and the target."""
    place = {tuple(history): user for user, history in enumerate(train)}
    if len(place) < len(train):
        raise DataError(f"{folder}: two lines of train/input.txt are equal; whose val/input.txt tells of is not clear")
    more = {}
    for line, (history, target) in enumerate(zip(known, targets, strict=True), 1):
        user = place.get(tuple(history[:-1]))
        if user is None:
            raise DataError(
                f"{folder / 'val/input.txt'}, line {line}: no line of train/input.txt is it but for its last item"
            )
        if user in more:
            raise DataError(f"{folder / 'val/input.txt'}, line {line}: user {user + 1} has a line already")
        more[user] = history[-1:], target
    return more


def _items(folder: Path) -> tuple[pl.DataFrame | None, list[str]]:
    files = sorted(folder.glob("*.item"))
    if len(files) != 1 or not (folder / "sas_to_original_items.txt").is_file():
        return None, ["no sas_to_original_items.txt with one .item file beside: items have numbers and no text"]
    return atomic_items(files[0])


def _renamed(folder: Path, log: pl.DataFrame) -> pl.DataFrame:
    ids = _map(folder / "sas_to_original_items.txt", log["item_id"].unique(maintain_order=True), "items of the log")
    return log.with_columns(pl.col("item_id").replace_strict(ids))


def _users(folder: Path, users: list[str]) -> tuple[pl.DataFrame | None, list[str]]:
    files, numbers = sorted(folder.glob("*users.dat")), folder / "sas_to_original_users.txt"
    if len(files) != 1 or not numbers.is_file():
        return None, []
    known = read_users(files[0], "\t", "auto")
    originals = _map(numbers, pl.Series(users), "users")
    lines = pl.DataFrame({"user_id": users, "original": [originals[user] for user in users]})
    table = lines.join(known.rename({"user_id": "original"}), on="original", how="left", maintain_order="left")
    without = len(lines.filter(~pl.col("original").is_in(known["user_id"].implode())))
    return table.drop("original"), [f"{without} users are not in {files[0].name}"] if without else []


def _map(path: Path, needed: pl.Series, what: str) -> dict[str, str]:
    """One id to one; ``needed`` are those that must have an entry."""
    pairs = [line.split() for line in read_lines(path, "utf-8")]
    if wrong := [line for line, pair in enumerate(pairs, 1) if len(pair) != 2]:
        raise DataError(f"{path}, line {wrong[0]}: expected two ids separated by a blank")
    ids = dict(pairs)
    if not len(ids) == len(set(ids.values())) == len(pairs):
        raise DataError(
            f"{path} is no map from one id to one: {len(pairs)} lines, {len(ids)} ids, "
            f"{len(set(ids.values()))} originals"
        )
    if unknown := [each for each in needed if each not in ids]:
        raise DataError(f"{path} has no entry for {len(unknown)} {what}, such as {unknown[0]!r}")
    return ids
