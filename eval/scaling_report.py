"""What the cells of a scaling study say: a table, groups of cases, and answers with paired tests."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from eval import scaling_plot, scaling_prompted
from eval.kept import Kept
from eval.scaling_plot import on_curve, parameters
from llmrec import evaluation, report, slices
from llmrec.evaluation import Interval
from llmrec.report import SHOWN, TESTED, PairedTest, Runs, interval
from llmrec.runs import RunTable, write_json, write_text
from llmrec.slices import COLD

if TYPE_CHECKING:
    from eval.scaling import System

GROUPS = {
    "never trained on": pl.col("target_count") == 0,
    f"1 to {COLD} rows": pl.col("target_count").is_between(1, COLD),
    "more rows": pl.col("target_count") > COLD,
}
DRAWS = 2000


@dataclass(frozen=True)
class Report:
    """All that is known of a study.

    ``trained``: run tables by system, as many as there are seeds; ``free``: what needs no training on this data, rows
    of models trained on other data (``from-...``) among them.
    """

    name: str
    systems: "dict[str, System]"
    trained: Runs
    free: Runs
    missing: list[str]

    @classmethod
    def of(cls, kept: Kept, asked: "list[System]", known: "list[System]", seeds: int, name: str) -> "Report":
        """Reads the cells that are there.

        Args:
            kept: the cells.
            asked: systems whose cells are missing if they are not there.
            known: more systems.
            seeds: how many each is to have.
            name: of the data set.
        """
        systems = {system.name: system for system in [*asked, *known]}
        names, trained = set(kept.names()), {}
        for label in systems:
            cells = [f"{label}-s{seed}" for seed in range(seeds)]
            if have := [kept.load(cell)[0].table for cell in cells if cell in names]:
                trained[label] = have
        missing = [f"{each.name}-s{seed}" for each in asked for seed in range(seeds)]
        moved: Runs = {}
        for cell in sorted(names):
            if cell.startswith("from-"):
                moved.setdefault(cell.rpartition("-s")[0], []).append(kept.load(cell)[0].table)
        others = [each for each in sorted(names) if "baseline" in kept.load(each)[0].table.provenance]
        free = _distinct({label: [kept.load(label)[0].table] for label in others}) | moved
        return cls(name, systems, trained, free, [cell for cell in missing if cell not in names])

    @property
    def runs(self) -> Runs:
        """Every row."""
        return {**self.free, **self.trained}

    @cached_property
    def text(self) -> str:
        """The whole report as Markdown."""
        if not self.trained:
            return f"No cell of {self.name} is finished.\n"
        missing = f"Missing: {len(self.missing)} cells: {'; '.join(self._missing())}.\n" if self.missing else ""
        facts = report.provenance_lines(self.trained)
        protocol = next(iter(self.runs.values()))[0].protocol.line()
        parts = [
            missing,
            self._table(),
            f"Protocol: {protocol}. Means over users of the mean over a user's cases; 95 % intervals over users.\n",
            "**By how often training shows the target, nDCG@10**\n",
            self._groups(),
            "**Mean over test rows instead of users, intervals clustered by user**\n",
            self._by_rows(),
            "**Answers**\n",
            *self._answers(),
            "",
            *(f"- {line}" for line in facts),
        ]
        return "\n".join(parts) + "\n"

    def _missing(self) -> Iterable[str]:
        """Cells by system."""
        seeds: dict[str, list[str]] = {}
        for cell in self.missing:
            system, _, seed = cell.rpartition("-s")
            seeds.setdefault(system, []).append(seed)
        return (f"{system} seed{'s' * (len(each) > 1)} {', '.join(each)}" for system, each in seeds.items())

    def save(self, output: Path) -> None:
        """Writes Markdown, CSV, JSON and PNG beside each other."""
        write_text(output.with_name(output.name + ".md"), self.text)
        if self.trained:
            write_text(output.with_name(output.name + ".csv"), report.frame(self.runs).write_csv())
            write_json(output.with_name(output.name + ".json"), report.as_json(self.runs, self._pairs()))
            scaling_plot.plot(self.name, self.systems, self.runs, output.with_name(output.name + ".png"))

    def _table(self) -> str:
        lines = [
            "| model | seeds | HR@10 | nDCG@10 | encode s | trainable | train s | peak GB |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in report.rows(self.runs):
            facts = [table.provenance for table in self.runs[row.name]]
            metrics = " | ".join(interval(row.metrics[metric]) for metric in SHOWN)
            encode = self._encode(row.name)
            lines.append(f"| {row.name} | {row.seeds} | {metrics} | {encode} | {' | '.join(_costs(facts))} |")
        chance = next(iter(report.rows(self.runs))).chance
        return "\n".join([*lines, "", f"Chance: {chance[SHOWN[0]]:.4f} / {chance[TESTED]:.4f}.", ""])

    def _encode(self, label: str) -> str:
        """Seconds of encoding: the most of any cell over these vectors, as all but the first find them stored."""
        if label not in self.systems or self.systems[label].model == "id":
            return "-"
        which = self.systems[label]
        cells = [
            table.provenance["seconds"]["encode"]
            for other, tables in self.trained.items()
            if all(getattr(self.systems[other], key) == getattr(which, key) for key in ("model", "blocks", "twin"))
            for table in tables
        ]
        return f"{max(cells):.0f}"

    def _groups(self) -> str:
        counted = next(iter(self.trained.values()))[0].cases
        lines = ["| model | " + " | ".join(GROUPS) + " |", "|---" * (1 + len(GROUPS)) + "|"]
        numbers = []
        columns = []
        for words, condition in GROUPS.items():
            cases = counted.filter(condition)["case_id"]
            numbers.append(f"{len(cases):,} cases")
            columns.append({label: self._within(tables, cases, words) for label, tables in self.runs.items()})
        lines += ["| | " + " | ".join(numbers) + " |"]
        for label in self.runs:
            lines.append(f"| {label} | " + " | ".join(column[label] for column in columns) + " |")
        return "\n".join([*lines, ""])

    @staticmethod
    def _within(tables: list[RunTable], cases: pl.Series, words: str) -> str:
        if not len(cases):
            return "-"
        parts = [slices.only(table, cases, words, "case_id") for table in tables]
        return interval(evaluation.bootstrap(evaluation.mean_over_runs(parts, TESTED)["value"].to_numpy()))

    def _by_rows(self) -> str:
        lines = ["| model | HR@10 | nDCG@10 |", "|---|---|---|"]
        for label, tables in self.runs.items():
            values = " | ".join(interval(over_rows(tables, metric)) for metric in SHOWN)
            lines.append(f"| {label} | {values} |")
        return "\n".join([*lines, ""])

    def _pairs(self) -> list[tuple[str, str]]:
        return [pair for pairs in self._questions() for pair in pairs]

    def _questions(self) -> list[list[tuple[str, str]]]:
        return [self._grows(), self._tuned(), self._against_ids(), self._against_free(), self._moved()]

    def _answers(self) -> Iterable[str]:
        yield "(i) Does accuracy grow with the encoder?"
        yield from self._told(self._grows())
        yield from self._depths()
        yield "\n(ii) Are frozen vectors as good as tuned ones?"
        yield from self._told(self._tuned())
        yield "\n(iii) Do they beat ids?"
        yield from self._told(self._against_ids())
        yield "\nAnd what needs no training at all?"
        yield from self._told(self._against_free())
        yield "\n(iv) Does a model trained elsewhere work here unseen?"
        yield from self._told(self._moved())
        yield "\n(v) How does a prompted language model compare, the target among three others?"
        yield from scaling_prompted.lines(self.name, next(iter(self.runs.values()))[0].protocol.data)

    def _told(self, pairs: list[tuple[str, str]]) -> Iterable[str]:
        if not pairs:
            yield "- not measured"
        for test in report.paired_tests(self.runs, pairs, SHOWN):
            yield f"- {told(test)}"

    def _frozen(self, head: str, ids: bool = False) -> list[str]:
        """Rows of whole frozen models under a head, smallest first."""
        rows = {label: self.systems[label] for label in self.trained}
        plain = [
            label
            for label, each in rows.items()
            if each.head == head and not each.continued and not each.blocks and each.loss != "softmax"
        ]
        return [label for label in plain if (rows[label].model == "id") == ids]

    def _grows(self) -> list[tuple[str, str]]:
        ordered = [self._frozen(head) for head in ("sasrec", "dssm_id")]
        return [pair for rows in ordered for pair in zip(rows[1:], rows[:-1], strict=True)]

    def _tuned(self) -> list[tuple[str, str]]:
        tuned = [label for label in self.trained if self.systems[label].tuning != "frozen"]
        rivals = ("sasrec-{}-continued", "sasrec-{}")
        pairs = [(label, rival.format(self.systems[label].model)) for label in tuned for rival in rivals]
        pairs += [(label, label.removesuffix("-bf16")) for label in tuned if label.endswith("-bf16")]
        return [pair for pair in pairs if pair[1] in self.trained]

    def _against_ids(self) -> list[tuple[str, str]]:
        pairs = [
            (label, rival)
            for head in ("sasrec", "dssm_id")
            for label in self._frozen(head)
            for rival in self._frozen(head, ids=True)
        ]
        strongest = [(label, "sasrec-id-softmax") for label in self._frozen("sasrec")]
        return pairs + [pair for pair in strongest if pair[1] in self.trained]

    def _against_free(self) -> list[tuple[str, str]]:
        rivals = [label for label in ("tfidf", "mix") if label in self.free]
        return [(label, rival) for label in self._frozen("sasrec") for rival in rivals]

    def _moved(self) -> list[tuple[str, str]]:
        moved = [label for label in self.free if label.startswith("from-") and "random-vectors" not in label]
        pairs = []
        for label in moved:
            own = label.partition("-sasrec-")[2]
            rivals = ("popularity", "tfidf", f"cosine-{own}", f"{label}-random-vectors", f"sasrec-{own}")
            pairs += [(label, rival) for rival in rivals if rival in self.runs]
        return pairs

    def _depths(self) -> Iterable[str]:
        """Whether three quarters of a model's blocks tell what the whole gives, and what its training is worth."""
        for model in dict.fromkeys(each.model for each in self.systems.values() if each.blocks):
            own, random = self._curve(model, twin=False), self._curve(model, twin=True)
            for curve, words in ((own, "its own weights"), (random, "random weights")):
                values = ", ".join(
                    f"{size / 1e6:.0f}M {self._value(label, TESTED):.4f}" for size, label in curve.items()
                )
                yield f"- {model} by depth, {words}, {TESTED}: {values or 'not measured'}"
            if len(own) > 3:
                predicted, simple, found = held_out({size: self._value(label, TESTED) for size, label in own.items()})
                yield (
                    f"- {model}: a line through the smaller points in log(parameters) foretells {predicted:.4f} for "
                    f"the whole model, the last of them is {simple:.4f}, measured is {found:.4f}"
                )
            yield from self._told([(own[size], random[size]) for size in own if size in random])

    def _curve(self, model: str, twin: bool) -> dict[int, str]:
        """Rows of a frozen model under SASRec by the parameters that a text passes, the fewest first."""
        rows = {
            parameters(each): label
            for label, each in self.systems.items()
            if each.model == model and each.twin == twin and label in self.trained and on_curve(each, "sasrec")
        }
        return dict(sorted(rows.items()))

    def _value(self, label: str, metric: str) -> float:
        return float(evaluation.mean_over_runs(self.runs[label], metric)["value"].to_numpy().mean())


def _distinct(free: Runs) -> Runs:
    """Without the mixes that give a model's vectors no weight and so are the mix without vectors."""

    def same(label: str) -> bool:
        ranks = [free[each][0].cases.select("target_above", "target_tied") for each in (label, "mix") if each in free]
        return len(ranks) == 2 and ranks[0].equals(ranks[1])

    return {label: tables for label, tables in free.items() if not (label.startswith("mix-") and same(label))}


def held_out(points: dict[int, float]) -> tuple[float, float, float]:
    """What a line in log(parameters) through all points but the largest says of it, the value before it, its own.

    Args:
        points: values by parameters, the fewest first.
    """
    *sizes, largest = points
    *known, last = points.values()
    slope, start = np.polyfit(np.log(sizes), known, 1)
    return float(start + slope * np.log(largest)), known[-1], last


def over_rows(tables: list[RunTable], metric: str) -> Interval:
    """Mean over cases, each run alike, with a bootstrap over users, whose cases come together."""
    means = evaluation.mean_over_runs(tables, metric)
    numbers = tables[0].cases.group_by("user_id").len()
    both = means.join(numbers, on="user_id").sort("user_id")
    count, value = both["len"].to_numpy().astype(float), both["value"].to_numpy()
    drawn = _draws(len(both))
    low, high = np.percentile(drawn @ (count * value) / (drawn @ count), [2.5, 97.5])
    return Interval(float((count * value).sum() / count.sum()), float(low), float(high))


@lru_cache(maxsize=1)
def _draws(users: int) -> np.ndarray:
    """How often each user is drawn, draw by draw; the same for every row of a table."""
    return np.random.default_rng(0).multinomial(users, np.full(users, 1 / users), size=DRAWS)


def told(test: PairedTest) -> str:
    """A paired test as one line."""
    return f"{test.first} - {test.second}, {test.metric}: {interval(test.difference, '+')}, {test.verdict}"


def _costs(facts: list[dict[str, Any]]) -> list[str]:
    """Weights that learn, seconds of training, peak memory."""
    if "seconds" not in facts[0]:
        return ["-"] * 3
    train = sum(fact["seconds"]["train"] for fact in facts) / len(facts)
    peak = max(fact["peak_memory_bytes"] for fact in facts)
    return [f"{facts[0]['trainable_parameters']:,}", f"{train:.0f}", f"{peak / 1e9:.1f}"]
