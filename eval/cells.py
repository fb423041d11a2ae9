"""The cells of a study: one trained model each, found again when the study is run again.

A system is tried with every setting of a small grid on the first seed, the best on validation is taken, and only that
one is trained with the other seeds and looked at on the test part. Every system gets the same grid and the same work.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from llmrec import config, train
from llmrec.runs import RunFolder, RunTable, read_json

STUDY = Path("runs/study")
GRID = [{"dropout": dropout, "learning_rate": rate} for dropout, rate in product((0.2, 0.4), (0.001, 0.002))]
SEEDS = (0, 1, 2)
EPOCHS, PATIENCE = 100, 20


@dataclass(frozen=True)
class Cell:
    """One trained model: its validation nDCG@10 and its run table of the test part."""

    setting: dict[str, float]
    seed: int
    validation: float
    table: RunTable


Train = Callable[[dict[str, float], int], Cell]


@dataclass(frozen=True)
class Chosen:
    """What a system reached on validation with each setting, and its runs with the best."""

    tried: list[Cell]
    runs: list[Cell]

    @property
    def setting(self) -> dict[str, float]:
        """The best on validation."""
        return self.runs[0].setting

    def tables(self) -> list[RunTable]:
        """Run tables of the test part, one per seed."""
        return [cell.table for cell in self.runs]


def choose(train_cell: Train) -> Chosen:
    """Trains the grid on the first seed and the best setting on the others."""
    tried = [train_cell(setting, SEEDS[0]) for setting in GRID]
    best = max(tried, key=lambda cell: cell.validation)
    return Chosen(tried, [best, *(train_cell(best.setting, seed) for seed in SEEDS[1:])])


def ours(model: str, **options: Any) -> Train:
    """SASRec of this package over item ids or a language model, on ml-100k.

    Args:
        model: ``id`` or a language model.
        options: further ones by dotted path, with ``__`` for the dot.
    """

    def train_cell(setting: dict[str, float], seed: int) -> Cell:
        folder = STUDY / f"{model}-d{setting['dropout']}-l{setting['learning_rate']}-s{seed}"
        overrides = [
            f"head.dropout={setting['dropout']}",
            f"training.learning_rate={setting['learning_rate']}",
            f"training.patience={PATIENCE}",
            *(f"{path.replace('__', '.')}={value}" for path, value in options.items()),
        ]
        chosen = config.load(None, overrides, {"model": model, "seed": seed, "epochs": EPOCHS, "output": folder})
        if not RunFolder(folder).finished:
            train.run(chosen, resume=True, show="nothing")
        metrics = read_json(folder / "metrics.json")
        return Cell(setting, seed, metrics["validation"]["nDCG@10"]["value"], RunTable.load(folder / "test"))

    return train_cell


def baselines(model: str) -> dict[str, list[RunTable]]:
    """The training-free rows that stand beside a model's first cell."""
    folder = STUDY / f"{model}-d{GRID[0]['dropout']}-l{GRID[0]['learning_rate']}-s{SEEDS[0]}" / "baselines"
    names = {path.name: f"cosine {model}" if path.name == "cosine" else path.name for path in sorted(folder.iterdir())}
    return {label: [RunTable.load(folder / name)] for name, label in names.items()}


def tried_table(systems: dict[str, Chosen]) -> str:
    """Validation nDCG@10 of every cell of the grid, as Markdown; the chosen one in bold."""
    head = [f"dropout {setting['dropout']}, lr {setting['learning_rate']}" for setting in GRID]
    lines = ["| validation nDCG@10, seed 0 | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, chosen in systems.items():
        cells = [f"{cell.validation:.4f}" for cell in chosen.tried]
        best = chosen.tried.index(next(cell for cell in chosen.tried if cell.setting == chosen.setting))
        cells[best] = f"**{cells[best]}**"
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
