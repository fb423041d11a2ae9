"""What ``eval.tallrec`` says of its finished cells: areas under the ROC curve, and tests against the share of likes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eval.tallrec import LORA, PROBE
from eval.tallrec_cells import Cell, Study
from llmrec.delong import Difference, difference
from llmrec.evaluation import Interval
from llmrec.predictions import area
from llmrec.protocol import digest
from llmrec.report import interval
from llmrec.runs import write_atomically, write_json, write_text

SHARE = "like share in the prompt"
PUBLISHED = {
    "movie": {16: 0.6724, 64: 0.6748, 256: 0.7198},
    "book": {16: 0.5636, 64: 0.6039, 256: 0.6438},
}
"""AUC of TALLRec with LLaMA-7B by number of rows, as its paper has it (arXiv:2305.00447): not measured here."""
FEW = 50
"""People below whom the normal distribution that the tests go by is a rough guide."""


@dataclass(frozen=True)
class Row:
    """A line of the table; ``against`` is none for the share of likes itself."""

    name: str
    draws: int
    auc: Interval
    against: Difference | None
    p_rows: float | None
    """What the test would say if every row were of another person."""


class Report:
    """All finished cells of a study.

    Args:
        study: what was asked.
        cells: by way of learning and number of rows, a line of them for the draws; None where one is missing.
    """

    def __init__(self, study: Study, cells: Mapping[tuple[str, int], Sequence[Cell | None]]) -> None:
        self.study, self.cells = study, cells

    @cached_property
    def rows(self) -> list[Row]:
        """The share of likes, what else asks no model, and the model by number of rows."""
        draws = max(map(len, self.cells.values()))
        scores = self.study.free(SHARE, sorted({number for _, number in self.cells if number}), draws)
        for place, cells in self.cells.items():
            if have := [cell.scores for cell in cells if cell]:
                scores[f"{Path(self.study.options.model).name}, {_called(*place)}"] = np.stack(have)
        return [self._row(name, scores[name], scores[SHARE]) for name in scores]

    @property
    def missing(self) -> list[str]:
        """Cells that are not there, by way and number of rows."""
        found = {
            _called(*place): [str(draw) for draw, cell in enumerate(cells) if cell is None]
            for place, cells in self.cells.items()
        }
        return [f"{called}, draw {', '.join(draws)}" for called, draws in found.items() if draws]

    @property
    def text(self) -> str:
        """The table and what is to be known of it, as Markdown."""
        study = self.study
        lines = [
            f"| {study.name}, {len(study.test)} test rows | draws | AUC | less the like share | p, people | p, rows |",
            "|---|---|---|---|---|---|",
            *map(_line, self.rows),
        ]
        lines += [
            f"| TALLRec, LLaMA-7B, {number} rows (published, not measured here) | | {value:.4f} | | | |"
            for number, value in PUBLISHED.get(study.name, {}).items()
        ]
        return "\n".join([*lines, "", *(f"- {note}" for note in self._notes()), ""])

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        rows = [
            {
                "name": row.name,
                "n": len(self.study.test),
                "draws": row.draws,
                "metrics": {"AUC": row.auc._asdict()},
                "against_like_share": row.against and row.against._asdict() | {"p_rows": row.p_rows},
            }
            for row in self.rows
        ]
        cells = [cell.facts for line in self.cells.values() for cell in line if cell]
        return {
            "rows": rows,
            "published": {"TALLRec, LLaMA-7B": PUBLISHED.get(self.study.name, {})},
            "missing": self.missing,
            "protocol": self.study.protocol(),
            "provenance": cells,
        }

    def save(self, path: Path) -> None:
        """Writes Markdown, JSON and a plot beside each other."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path.with_name(path.name + ".md"), self.text)
        write_json(path.with_name(path.name + ".json"), self.as_json())
        self._plot(path.with_name(path.name + ".png"))

    def _row(self, name: str, scores: np.ndarray, share: np.ndarray) -> Row:
        wanted, people = self.study.wanted, self.study.people
        value = area(wanted, scores, people)
        if name == SHARE:
            return Row(name, 1, value, None, None)
        alone = difference(wanted, scores, share, pl.Series(range(len(people))))
        return Row(name, len(scores), value, difference(wanted, scores, share, people), alone.p)

    def _notes(self) -> list[str]:
        study, protocol = self.study, self.study.protocol()
        number = study.people.n_unique()
        notes = [f"Missing: {'; '.join(self.missing)}."] if self.missing else []
        whose = (
            f"The file names nobody; rows that slide over one list are taken for one person's, which makes {number} "
            f"people of {len(study.test)} rows."
        )
        notes += [
            "AUC: the mean over draws of the training rows, 95 % bootstrap over people. Difference and p: DeLong's "
            "test of this mean, two-sided, by people (Obuchowski), and as if every row were of another person (Sun and "
            "Xu).",
            whose + (" With so few people p by people is a rough guide, and p by rows far too small." * (number < FEW)),
            "Training-free: the share of likes among the items that the prompt lists, and how often the item asked "
            "about is liked in the training rows.",
            self._trained(),
            "; ".join(f"{key}: {value}" for key, value in protocol.items()) + f"; protocol {digest(protocol)}",
        ]
        return notes

    def _trained(self) -> str:
        options = self.study.options
        which = "all blocks" if options.blocks is None else f"the last {options.blocks} blocks"
        chosen = [
            f"{_called(*place)}: {', '.join(found)}"
            for place, cells in self.cells.items()
            if (found := [_best(cell.facts["selection"]) for cell in cells if cell and place[1]])
        ]
        words = (
            f"LoRA beside the linear layers of {which}, learning rate {options.learning_rate}; a probe is a logistic "
            "regression over the last hidden state of the untrained model"
        )
        seconds = sum(cell.facts["seconds"] for cells in self.cells.values() for cell in cells if cell)
        spent = f"{seconds / 60:.0f} minutes in all cells, the hidden states that enter them apart."
        told = "epochs (LoRA) and C (probe) that were best on the selection rows, by draw: "
        return ". ".join([words, *([told + "; ".join(chosen)] if chosen else []), spent])

    def _plot(self, path: Path) -> None:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        published = PUBLISHED.get(self.study.name, {})
        names = [row.name for row in self.rows] + [f"TALLRec-7B, {number} rows (published)" for number in published]
        figure, axis = pyplot.subplots(figsize=(7, 1.2 + 0.36 * len(names)), layout="constrained")
        for place, row in enumerate(self.rows):
            spread = [[row.auc.value - row.auc.low], [row.auc.high - row.auc.value]]
            colour = "tab:blue" if row.name.startswith(Path(self.study.options.model).name) else "tab:gray"
            axis.errorbar(row.auc.value, place, xerr=spread, fmt="o", color=colour, capsize=3)
        places = range(len(self.rows), len(names))
        axis.plot(list(published.values()), list(places), "D", color="tab:gray", markerfacecolor="none")
        axis.axvline(self.rows[0].auc.value, color="tab:red", linestyle="--", linewidth=1)
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set_xlabel(f"AUC and 95 % interval over {self.study.people.n_unique()} people\ndashed: {SHARE}")
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=120))
        pyplot.close(figure)


def best(selection: Mapping[Any, float]) -> float:
    """The number of epochs, or the C, with the highest area on the selection rows; the smallest of several."""
    return float(max(selection, key=lambda each: (selection[each], -float(each))))


def _best(selection: Mapping[Any, float]) -> str:
    return f"{best(selection):g}"


def _called(way: str, number: int) -> str:
    return {PROBE: f"probe on {number} rows", LORA: f"LoRA on {number} rows"}.get(way, way)


def _line(row: Row) -> str:
    cells = [row.name, str(row.draws), interval(row.auc), "", "", ""]
    if row.against:
        told = Interval(row.against.value, row.against.low, row.against.high)
        cells[3:] = [interval(told, sign="+"), _p(row.against.p), _p(row.p_rows)]
    return "| " + " | ".join(cells) + " |"


def _p(value: float | None) -> str:
    assert value is not None
    return "< .001" if value < 0.001 else f"{value:.3f}"
