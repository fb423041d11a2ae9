"""MIND: who read what on a news site, by impression, and the news."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._lines import first_line, rows
from llmrec.sources._texts import clean

_LOG, _NEWS = "behaviors.tsv", "news.tsv"
_LAYOUTS = {
    4: "user, time, history, impressions",
    5: "impression id, user, time, history, impressions",
}
_COLUMNS = "id, category, subcategory, title, abstract, url, entities"
_TIME = re.compile(r"\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d{2}:\d{2} [AP]M")
_FORMAT = "%m/%d/%Y %I:%M:%S %p"


@dataclass
class _Reading:
    """The rows of behaviors.tsv: user, time, history and clicked items, and what was counted."""

    users: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    histories: list[str] = field(default_factory=list)
    clicks: list[list[str]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    unclicked: int = 0


class Mind:
    """One part of MIND (ACL 2020, doi:10.18653/v1/2020.acl-main.331): ``behaviors.tsv`` and ``news.tsv``.

    The log of a user is his history, then what he clicked in his impressions. The history stands again in each of his
    impressions and does not grow, so it is taken once, from his first. It has an order and no times: its items are
    dated one second apart, the last of them one second before his first impression. Clicks have the time of their
    impression (taken as UTC); those of one impression keep its order. What was shown and not clicked is no interaction.

    The parts (train, dev) are folders of their own. The test part has no labels and is refused.
    """

    expects = "behaviors.tsv with impressions and times, and news.tsv (MIND)"

    def detect(self, folder: Path) -> bool:
        """Whether both files are there and the log's first line has a time where MIND has it."""
        fields = first_line(folder / _LOG).split("\t")
        return len(fields) in _LAYOUTS and bool(_TIME.fullmatch(fields[-3])) and (folder / _NEWS).is_file()

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads both files.

        Raises:
            DataError: impressions without labels, a line with other fields, or a time in another format.
        """
        reading = _read_impressions(folder / _LOG)
        log, notes = _log(reading, folder / _LOG)
        items, mended = _read_news(folder / _NEWS)
        data = Dataset.from_tables(name, log, items)
        return replace(data, notes=(*notes, *mended, *data.notes))


def _read_impressions(path: Path) -> _Reading:
    found = _Reading()
    for number, fields in rows(path, _LAYOUTS):
        user, time, history, shown = fields[-4:]
        if not user:
            raise DataError(f"{path}, line {number}: the user is empty, every line needs one")
        items, labels = _labelled(shown, path, number)
        found.users.append(user)
        found.times.append(time)
        found.histories.append(history)
        found.clicks.append([item for item, label in zip(items, labels, strict=True) if label == "1"])
        found.numbers.append(number)
        found.unclicked += labels.count("0")
    return found


def _labelled(shown: str, path: Path, number: int) -> tuple[list[str], list[str]]:
    pairs = [word.rpartition("-") for word in shown.split()]
    if not pairs or any(not item or label not in ("0", "1") for item, _, label in pairs):
        raise DataError(
            f"{path}, line {number}: impressions without labels ({shown[:80]!r} instead of 'N1-1 N2-0'), so this part "
            "does not tell what was clicked and nothing can be measured on it; use the train or the dev part"
        )
    return [item for item, _, _ in pairs], [label for _, _, label in pairs]


def _log(reading: _Reading, path: Path) -> tuple[pl.DataFrame, list[str]]:
    """History and clicks of every user with their times, and notes."""
    table = pl.DataFrame(
        {"user_id": reading.users, "history": reading.histories, "item_id": reading.clicks},
        schema={"user_id": pl.String, "history": pl.String, "item_id": pl.List(pl.String)},
    ).with_columns(timestamp=_seconds(reading, path))
    ordered = table.sort("timestamp", maintain_order=True)
    first = ordered.unique("user_id", keep="first", maintain_order=True)
    differing = table.group_by("user_id").agg(pl.col("history").n_unique() > 1)["history"].sum()
    histories = first.select("user_id", "timestamp", item_id=pl.col("history").str.extract_all(r"\S+"))
    past = _unrolled(histories).with_columns(
        timestamp=pl.col("timestamp") - pl.int_range(pl.len(), 0, -1, dtype=pl.Int64).over("user_id")
    )
    clicks = _unrolled(ordered.select("user_id", "timestamp", "item_id"))
    log = pl.concat([past, clicks])
    silent = len(first) - log["user_id"].n_unique()
    counts = {
        f"{len(past)} interactions are of histories, taken once a user; they have an order and no times, and are dated "
        "in seconds before the first impression": len(past),
        f"{reading.unclicked} impressions were shown and not clicked: no interactions": reading.unclicked,
        f"{differing} users have histories that differ by impression; that of the first is taken": differing,
        f"{silent} users have neither a history nor a click: left out": silent,
    }
    return log, [note for note, count in counts.items() if count]


def _unrolled(lists: pl.DataFrame) -> pl.DataFrame:
    return lists.filter(pl.col("item_id").list.len() > 0).explode("item_id")


def _seconds(reading: _Reading, path: Path) -> pl.Series:
    times = pl.Series("timestamp", reading.times, dtype=pl.String)
    seconds = times.str.to_datetime(_FORMAT, time_unit="ms", strict=False).dt.epoch("s")
    if seconds.null_count():
        row = seconds.is_null().arg_max() or 0
        raise DataError(
            f"{path}, line {reading.numbers[row]}: a time looks like 11/11/2019 9:05:58 AM, found {times[row]!r}"
        )
    return seconds


def _read_news(path: Path) -> tuple[pl.DataFrame, list[str]]:
    news: dict[str, list[str]] = {}
    for number, fields in rows(path, {7: _COLUMNS, 8: f"{_COLUMNS} of the title and of the abstract"}):
        if fields[0] in news or not fields[0]:
            fault = "stands a second time; leave one line of each id" if fields[0] else "is empty"
            raise DataError(f"{path}, line {number}: the id {fields[0]!r} {fault}")
        news[fields[0]] = fields[:5]
    table = pl.DataFrame(
        list(news.values()), schema=["item_id", "category", "subcategory", "title", "description"], orient="row"
    )
    columns, notes = [table["item_id"]], []
    for name in ("title", "description"):
        texts, told = clean(table["item_id"], table[name], name)
        columns.append(texts)
        notes += told
    categories = [[part for part in pair if part] or None for pair in table.select("category", "subcategory").rows()]
    return pl.DataFrame([*columns, pl.Series("categories", categories, dtype=pl.List(pl.String))]), notes
