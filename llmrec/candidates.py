"""Among which items a case's target is to be found: drawn by a seed, named by a retriever, or read from a file.

They are settled before anybody is asked, saved with the run and the same for every method.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation import cases_table
from llmrec.interactions import Dataset
from llmrec.runs import RANKINGS, write_atomically
from llmrec.scoring import CHUNK_SCORES, Scorer, ScoresSome
from llmrec.splits import Cases

# The underscore: cases may differ in how many candidates they have.
Places = Int[np.ndarray, " _candidates"]
Scores = Float[np.ndarray, " _candidates"]


def generator(*words: object) -> np.random.Generator:
    """Random numbers that these words alone determine: every case, round and purpose has its own."""
    text = "\x1f".join(map(str, words))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


@dataclass(frozen=True)
class Candidates:
    """Cases and the item indices among which their targets are to be found, in an order of the case's own.

    ``words`` say how they came about, for the protocol.
    """

    cases: Cases
    items: list[Places]
    dataset: Dataset
    words: str
    seed: int | None = None

    def __post_init__(self) -> None:
        assert len(self.cases) == len(self.items)

    @cached_property
    def ids(self) -> list[str]:
        """Case ids."""
        return self.cases.case_ids(self.dataset.user_ids)

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits over the candidates of every case, in whatever order."""
        lines = (
            f"{case}: {' '.join(sorted(self.dataset.item_ids[items]))}"
            for case, items in zip(self.ids, self.items, strict=True)
        )
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]

    def take(self, rows: np.ndarray) -> "Candidates":
        """Some of the cases."""
        items = [self.items[row] for row in rows]
        return Candidates(self.cases.take(rows), items, self.dataset, self.words, self.seed)

    def place_of_target(self, row: int) -> int | None:
        """Where the target stands, None if it is no candidate."""
        found = np.flatnonzero(self.items[row] == self.cases.target[row])
        return int(found[0]) if len(found) else None

    def save(self, path: Path) -> None:
        """Writes ``case_id, place, item_id`` as Parquet."""
        lengths = [len(items) for items in self.items]
        table = pl.DataFrame(
            {
                "case_id": np.repeat(np.array(self.ids, dtype=object), lengths),
                "place": np.concatenate([np.arange(1, length + 1) for length in lengths]),
                "item_id": self.dataset.item_ids[np.concatenate(self.items)],
            },
            schema={"case_id": pl.String, "place": pl.Int64, "item_id": pl.String},
        )
        write_atomically(path, table.write_parquet)

    def scores(self, scorer: Scorer) -> list[Scores]:
        """What a scorer of the catalogue gives the candidates of every case."""
        if isinstance(scorer, ScoresSome):
            return scorer.score_some(self.cases.histories, self.items)
        step = max(1, CHUNK_SCORES // (self.dataset.num_items + 1))
        found: list[Scores] = []
        for start in range(0, len(self.cases), step):
            rows = np.arange(start, min(start + step, len(self.cases)))
            scores = scorer.score(self.cases.histories.take(rows)).double().numpy()
            found += [scores[place, self.items[row]] for place, row in enumerate(rows)]
        return found

    def ranked(self, scores: Sequence[Scores]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The ``cases`` and ``rankings`` tables of :class:`llmrec.runs.RunTable`: whole lists, ties counted.

        A target that is no candidate is a miss at any depth.

        Raises:
            DataError: a score that is not finite.
        """
        above, tied = [], []
        for row, values in enumerate(scores):
            if not np.isfinite(values).all():
                raise DataError(f"case {self.ids[row]!r} has scores that are not finite; nothing can be ranked by them")
            place = self.place_of_target(row)
            own = None if place is None else values[place]
            above.append(len(values) if own is None else int((values > own).sum()))
            tied.append(0 if own is None else int((values == own).sum()) - 1)
        numbers = [len(items) for items in self.items]
        return cases_table(self.cases, self.dataset, above, tied, numbers), self._lists(scores)

    def _lists(self, scores: Sequence[Scores]) -> pl.DataFrame:
        orders = [np.argsort(-values, kind="stable") for values in scores]
        lengths, ids = [len(order) for order in orders], np.array(self.ids, dtype=object)
        items = [items[order] for items, order in zip(self.items, orders, strict=True)]
        columns = {
            "case_id": np.repeat(ids, lengths),
            "user_id": np.repeat(self.dataset.user_ids[self.cases.user], lengths),
            "item_id": self.dataset.item_ids[np.concatenate(items)],
            "score": np.concatenate([values[order] for values, order in zip(scores, orders, strict=True)]),
            "rank": np.concatenate([np.arange(1, length + 1) for length in lengths]),
        }
        return pl.DataFrame(columns, schema=RANKINGS)


def drawn(cases: Cases, dataset: Dataset, number: int, seed: int, barred: Sequence[Places] | None = None) -> Candidates:
    """The target and ``number - 1`` items drawn uniformly from those that are not in the history.

    Args:
        cases: whose targets are to be found.
        dataset: of the cases.
        number: candidates of each.
        seed: of the draw.
        barred: of each case, items that are not drawn either.

    Raises:
        ConfigError: fewer than two candidates, or more than a case has items to draw from.
    """
    _require_several(number)
    everything = np.arange(1, dataset.num_items + 1)
    items = []
    for row, case in enumerate(cases.case_ids(dataset.user_ids)):
        never = () if barred is None else barred[row]
        others = np.setdiff1d(everything, [*cases.histories[row], cases.target[row], *never])
        if len(others) < number - 1:
            raise ConfigError(
                f"case {case!r} has {len(others)} items outside of its history besides the target, too few for "
                f"{number} candidates"
            )
        random = generator(seed, case, "candidates")
        items.append(random.permutation([cases.target[row], *random.choice(others, number - 1, replace=False)]))
    words = f"target and {number - 1} drawn from outside the history"
    return Candidates(cases, items, dataset, words, seed)


def stored(
    cases: Cases, dataset: Dataset, path: Path, number: int, seed: int, *, insert_target: bool
) -> tuple[Candidates, list[str]]:
    """From a file of one user and his candidates a line (``user<TAB>ids``), as LLMRank publishes them.

    Without ``insert_target`` the first ``number`` of each line; with it the target and ``number - 1`` drawn from the
    others of the line. Only the file's users keep their cases.

    Returns:
        The candidates, and a line for what was left out.

    Raises:
        DataError: a file that cannot be read, an unknown item, a user twice, or a line that is too short.
    """
    _require_several(number)
    lists = _lines(path, dataset)
    users = dataset.user_ids[cases.user]
    rows = np.flatnonzero([user in lists for user in users])
    if not len(rows):
        raise DataError(f"{path}: none of its {len(lists)} users has a case, such as {next(iter(lists))!r}")
    kept, items = cases.take(rows), []
    for row, case in enumerate(kept.case_ids(dataset.user_ids)):
        mine = np.array(lists[dataset.user_ids[kept.user[row]]])
        others = mine[mine != kept.target[row]]
        if len(mine if not insert_target else others) < number - insert_target:
            raise DataError(f"{path}: user {dataset.user_ids[kept.user[row]]!r} has {len(mine)} candidates, too few")
        random = generator(seed, case, "candidates")
        if insert_target:
            mine = np.array([kept.target[row], *random.choice(others, number - 1, replace=False)])
        items.append(random.permutation(mine[:number]))
    how = f"target inserted among {number - 1} drawn" if insert_target else f"the first {number}"
    missing = len(lists) - len(set(users[rows]))
    notes = [f"{path.name}: {missing} of {len(lists)} users have no case"] if missing else []
    return Candidates(kept, items, dataset, f"{how} of {path.name}", seed if insert_target else None), notes


def retrieved(
    cases: Cases, dataset: Dataset, rankings: pl.DataFrame, retriever: str, depth: int, *, insert_target: bool
) -> Candidates:
    """The first ``depth`` of a retriever's lists; the target takes the last place where it is not among them and asked
    for.

    Args:
        cases: to be asked about.
        dataset: of the cases.
        rankings: as in :class:`llmrec.runs.RunTable`, a list for every case.
        retriever: its name, for the protocol.
        depth: candidates of a case.
        insert_target: whether the target is put in; that makes the task easier, and the protocol says so.

    Raises:
        DataError: a case without a list, or an item that the data has not.
    """
    _require_several(depth)
    lists = rankings.filter(pl.col("rank") <= depth).sort("case_id", "rank").group_by("case_id", maintain_order=True)
    found = dict(lists.agg("item_id").iter_rows())
    index = {item: place for place, item in enumerate(dataset.item_ids)}
    items = []
    for row, case in enumerate(cases.case_ids(dataset.user_ids)):
        if case not in found:
            raise DataError(f"{retriever} has no list for case {case!r}")
        if unknown := [item for item in found[case] if item not in index]:
            raise DataError(
                f"{retriever} lists {unknown[0]!r}, which is none of the {dataset.num_items} items of the data"
            )
        mine = np.array([index[item] for item in found[case]])
        if insert_target and cases.target[row] not in mine:
            mine = np.append(mine[: depth - 1], cases.target[row])
        items.append(generator("retrieved", case).permutation(mine))
    words = f"the first {depth} of {retriever}"
    return Candidates(
        cases, items, dataset, words + (", target inserted where it was missing" if insert_target else "")
    )


def _lines(path: Path, dataset: Dataset) -> dict[str, list[int]]:
    index = {item: place for place, item in enumerate(dataset.item_ids) if place}
    found: dict[str, list[int]] = {}
    for number, line in enumerate(_read(path), 1):
        user, tab, items = line.partition("\t")
        if not tab or not items.split():
            raise DataError(f"{path}, line {number}: expected a user, a tab and item ids, found {line[:60]!r}")
        if user in found:
            raise DataError(f"{path}, line {number}: user {user!r} has a line already")
        if unknown := [item for item in items.split() if item not in index]:
            raise DataError(f"{path}, line {number}: {unknown[0]!r} is none of the {len(index)} items of the data")
        found[user] = list(dict.fromkeys(index[item] for item in items.split()))
    if not found:
        raise DataError(f"{path} is empty; a line holds a user, a tab and item ids")
    return found


def _read(path: Path) -> Iterable[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _require_several(number: int) -> None:
    if number < 2:
        raise ConfigError(f"there must be at least 2 candidates, came {number}")
