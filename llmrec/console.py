"""Progress and notices on stderr; results go to stdout."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from llmrec.filtering import Filtered
from llmrec.splits import NOT_DRAWN, Split

EVERY = 10
"""Without a terminal, training says a line every so many epochs."""


class Console:
    """Where a command talks to its user.

    Args:
        quiet: say nothing; for all processes but the first.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.terminal = Terminal(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """One line."""
        self.terminal.print(line, markup=False)

    def say_data(self, filtered: Filtered, split: Split) -> None:
        """What was read, what was mended or left out, and who and what has no part in training or evaluation."""
        data = split.dataset
        self.say(
            f"{data.name}: {data.num_users:,} users, {data.num_items:,} items, {len(data.interactions):,} "
            f"interactions; {len(split.train.values):,} train, {len(split.validation):,} validate, "
            f"{len(split.test):,} test"
        )
        for note in data.notes:
            self.say(f"  {note}")
        self._say_listed(filtered.users, "users were left out")
        self._say_listed(filtered.items, "items were left out")
        drawn = pl.col("reason") != NOT_DRAWN
        self._say_listed(split.without_case.filter(drawn), "users have no case")
        if others := len(split.without_case.filter(~drawn)):
            self.say(f"  {others:,} users have a case and are not asked about: protocol.users draws fewer")
        if unused := split.unused["interactions"].sum():
            self.say(f"  {unused:,} interactions of {len(split.unused):,} users are held out and in no case")
        self._say_listed(split.cold_items(), "target items have no training interaction")

    def _say_listed(self, table: pl.DataFrame, what: str) -> None:
        """How many rows (an id and the reason) there are, with the first."""
        if len(table):
            name, reason = table.row(0)
            self.say(f"  {len(table):,} {what}, such as {name!r} ({reason})")

    def say_texts(self, missing: str, counts: dict[str, int]) -> None:
        """Why no item has a text, and for how many it was made of another field than the prompt's first choice."""
        if missing:
            self.say(f"  without texts, so without the baselines that read them: {missing}")
        for fields, count in counts.items():
            self.say(f"  {count} items are described by their {fields}")

    def say_counted(self, counted: dict[str, float]) -> None:
        """What training counted as it went."""
        if "padding" in counted:
            self.say(f"  padded tokens {counted['padding']:.2f} of real")

    @contextmanager
    def counting(self, title: str) -> Iterator[Callable[[int, int], None]]:
        """A bar that appears with the first call of what it yields, ``show(done, total)``."""
        with self._bar() as bar:
            task = bar.add_task(title, visible=False)
            yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)

    @contextmanager
    def training(self, epochs: int, selection: str = "nDCG@10") -> Iterator[Callable[[dict[str, Any]], None]]:
        """A bar over epochs, with the metric that they are judged by; yields what takes the rows of
        ``metrics.jsonl``."""
        best: dict[str, Any] = {}
        with self._bar() as bar:
            task = bar.add_task("training", total=epochs)

            def show(row: dict[str, Any]) -> None:
                if row["event"] == "resume":
                    self.say(f"resumed after step {row['step']}; {row['steps_repeated']} steps are done again")
                if row["event"] == "start":
                    best.update({"epoch": -1, **row})
                if row["event"] == "warning":
                    self.say(f"warning after epoch {row['epoch'] + 1}: {row['message']}")
                if row["event"] == "epoch":
                    best.update(row if row["best"] else {})
                    text = _epoch_line(row, best, selection)
                    bar.update(task, completed=row["epoch"] + 1, description=text)
                    if not self.terminal.is_terminal and (row["epoch"] + 1) % EVERY == 0:
                        self.say(text)

            yield show

    def _bar(self) -> Progress:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        shown = self.terminal.is_terminal
        return Progress(*columns, console=self.terminal, transient=True, disable=not shown)


def _epoch_line(row: dict[str, Any], best: dict[str, Any], selection: str) -> str:
    value = row["validation"][selection]
    line = f"epoch {row['epoch'] + 1}: loss {row['loss']:.3f}, validation {selection} {value:.4f}"
    return line + (f", best {best['validation'][selection]:.4f} in epoch {best['epoch'] + 1}" if best else "")
