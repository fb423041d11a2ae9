"""Which interactions count at all: repeats, a k-core and history lengths, applied before anything is split."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from llmrec import covers
from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.options import FilterOptions


@dataclass(frozen=True)
class Filtered:
    """What a filter left, and what it took."""

    dataset: Dataset
    """Users and items keep their ids and order; the notes tell what each step took."""
    users: pl.DataFrame
    """Users that left (``user_id``, ``reason``)."""
    items: pl.DataFrame
    """Items that left (``item_id``, ``reason``)."""


@dataclass(frozen=True)
class _Core:
    """Which users, items and rows stay; for each user and item that left, its interactions when it did, else -1."""

    rows: np.ndarray
    users: np.ndarray
    items: np.ndarray
    notes: list[str]


def apply(dataset: Dataset, options: FilterOptions, named_by: covers.NamedBy = "auto") -> Filtered:
    """Takes from the data set what the options name, in the order in which they stand.

    Users and items leave the tables too, so the catalogue is what stays; with no option set nothing changes, and
    users or items without any interaction stay as well.

    Args:
        dataset: is left as it is.
        options: of the filter.
        named_by: what the names of images are, see :func:`llmrec.covers.find`.

    Raises:
        DataError: no interaction is left, or items with images are wanted and no folder of images is there or its names
            count rows.
    """
    by = "id" if options.with_image == "id" else named_by
    dataset, bare = _with_image(dataset, by) if options.with_image else (dataset, _nobody())
    log, notes = _deduped(dataset.interactions, options)
    core = _core(log, dataset, options)
    if not core.rows.any():
        passes = "; ".join(notes + core.notes)
        raise DataError(f"{dataset.name}: filter '{options.words}' leaves no interaction ({passes}); ask for less")
    log, cut = _recent(log.filter(pl.Series(core.rows)), options)
    users, items = core.users < 0, core.items < 0
    return Filtered(
        _reindexed(dataset, log, users, items, [*notes, *core.notes, *cut]),
        _left(dataset.users, "user", core.users, options.user_minimum),
        pl.concat([bare, _left(dataset.items, "item", core.items, options.k_core)]),
    )


def _nobody() -> pl.DataFrame:
    return pl.DataFrame(schema={"item_id": pl.String, "reason": pl.String})


def _with_image(dataset: Dataset, named_by: covers.NamedBy) -> tuple[Dataset, pl.DataFrame]:
    """The items that an image file is named after, with their interactions; and the items that leave."""
    if dataset.images is None:
        raise DataError(
            f"{dataset.name} comes without images, and filter.with_image asks for items with one; put them into a "
            "folder images/ beside the log, or name their folder where a model reads them (images.folder)"
        )
    found = covers.find(dataset.item_ids.tolist(), dataset.images, named_by)
    stay = np.array([file is not None for file in found.files[1:]])
    log = dataset.interactions.filter(pl.Series(stay[dataset.interactions["item"].to_numpy() - 1]))
    left = dataset.items.filter(pl.Series(~stay)).select("item_id", reason=pl.lit("no image"))
    gone = len(dataset.interactions) - len(log)
    note = (
        f"items with an image: {len(left):,} without leave, with {gone:,} interactions; "
        f"{stay.sum():,} items and {len(log):,} interactions stay"
    )
    # A model that reads them may have told it.
    doubt = [found.doubt] if found.doubt and found.doubt not in dataset.notes else []
    return _reindexed(dataset, log, np.ones(dataset.num_users, dtype=bool), stay, [*doubt, note]), left


def _deduped(log: pl.DataFrame, options: FilterOptions) -> tuple[pl.DataFrame, list[str]]:
    if options.dedupe == "none":
        return log, []
    unique = log.unique(subset=["user", "item"], keep=options.dedupe, maintain_order=True)
    return unique, [f"dedupe {options.dedupe}: {len(log) - len(unique):,} repeated interactions left out"]


def _core(log: pl.DataFrame, dataset: Dataset, options: FilterOptions) -> _Core:
    """Takes users and items below their minimum until none is left: one that goes may push another below."""
    user, item = log["user"].to_numpy(), log["item"].to_numpy()
    rows, notes = np.ones(len(log), dtype=bool), list[str]()
    left_users, left_items = (np.full(number, -1) for number in (dataset.num_users, dataset.num_items))
    while options.user_minimum > 1 or options.k_core:
        few_users = _below(user[rows], options.user_minimum, left_users)
        few_items = _below(item[rows], options.k_core, left_items)
        if not few_users.any() and not few_items.any():
            break
        rows &= ~(few_users[user - 1] | few_items[item - 1])
        notes.append(
            f"{options.core_words}, pass {len(notes) + 1}: {few_users.sum():,} users and {few_items.sum():,} items "
            f"leave; {(left_users < 0).sum():,} users, {(left_items < 0).sum():,} items and {rows.sum():,} "
            "interactions stay"
        )
    return _Core(rows, left_users, left_items, notes)


def _below(index: np.ndarray, minimum: int, left: np.ndarray) -> np.ndarray:
    """Marks who is still there and has fewer rows than the minimum, and writes down how many he had."""
    counts = np.bincount(index, minlength=len(left) + 1)[1:]
    few = (counts < minimum) & (left < 0)
    left[few] = counts[few]
    return few


def _recent(log: pl.DataFrame, options: FilterOptions) -> tuple[pl.DataFrame, list[str]]:
    if options.max_history is None:
        return log, []
    user = log["user"].to_numpy()
    behind = np.cumsum(np.bincount(user))[user] - np.arange(len(user))
    keep = behind <= options.max_history
    cut = (
        f"most recent {options.max_history} interactions of each user kept: {(~keep).sum():,} older ones of "
        f"{len(np.unique(user[~keep])):,} users left out"
    )
    return log.filter(pl.Series(keep)), [cut]


def _reindexed(dataset: Dataset, log: pl.DataFrame, users: np.ndarray, items: np.ndarray, notes: list[str]) -> Dataset:
    for side, stay in (("user", users), ("item", items)):
        index = np.concatenate([[0], np.cumsum(stay)]).astype(np.int32)
        log = log.with_columns(pl.Series(side, index[log[side].to_numpy()]))
    if dataset.time_unit == "order":
        user = log["user"].to_numpy()
        counts = np.bincount(user)
        log = log.with_columns(timestamp=np.arange(len(user)) - (np.cumsum(counts) - counts)[user])
    return replace(
        dataset,
        interactions=log,
        items=dataset.items.filter(pl.Series(items)),
        users=dataset.users.filter(pl.Series(users)),
        notes=(*dataset.notes, *notes),
    )


def _left(table: pl.DataFrame, side: str, counts: np.ndarray, minimum: int) -> pl.DataFrame:
    reason = pl.format(f"{{}} interactions, needs {minimum}", "count").alias("reason")
    left = table.select(f"{side}_id", count=pl.Series(counts)).filter(pl.col("count") >= 0)
    return left.select(f"{side}_id", reason)
