"""The cells of a study: one trained model each, found again when the study is run again.

A system is tried with every setting of a small grid on the first seed, the best on validation is taken, and only that
one is trained with the other seeds and looked at on the test part. Every system gets the same grid and the same work.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmrec import config, train
from llmrec.runs import RunFolder, RunTable, read_json

STUDY = Path("runs/study")
Setting = dict[str, float]
GRID: list[Setting] = [
    {"batch_size": 32, "dropout": 0.2, "learning_rate": 0.001},
    {"batch_size": 32, "dropout": 0.4, "learning_rate": 0.002},
]
SEEDS = (0, 1, 2)
EPOCHS, PATIENCE = 100, 20


@dataclass(frozen=True)
class Cell:
    """One trained model: its validation nDCG@10 and its run table of the test part."""

    setting: Setting
    seed: int
    validation: float
    table: RunTable


Train = Callable[[Setting, int], Cell]


@dataclass(frozen=True)
class Chosen:
    """What a system reached on validation with each setting, and its runs with the best."""

    tried: list[Cell]
    runs: list[Cell]

    @property
    def setting(self) -> Setting:
        """The best on validation."""
        return self.runs[0].setting

    def tables(self) -> list[RunTable]:
        """Run tables of the test part, one per seed."""
        return [cell.table for cell in self.runs]


def choose(train_cell: Train, *more: Setting) -> Chosen:
    """Trains the grid, and any more settings, on the first seed and the best setting on the others."""
    tried = [train_cell(setting, SEEDS[0]) for setting in (*GRID, *more)]
    best = max(tried, key=lambda cell: cell.validation)
    return Chosen(tried, [best, *(train_cell(best.setting, seed) for seed in SEEDS[1:])])


def named(setting: Setting, seed: int) -> str:
    """A cell's name."""
    return f"b{setting['batch_size']}-d{setting['dropout']}-l{setting['learning_rate']}-s{seed}"


def ours(model: str, windows: str = "all") -> Train:
    """SASRec of this package over item ids (``id``) or a language model, on ml-100k.

    Args:
        model: as ``--model``.
        windows: as ``training.windows``.
    """

    def train_cell(setting: Setting, seed: int) -> Cell:
        folder = STUDY / f"{model if windows == 'all' else f'{model}-{windows}'}-{named(setting, seed)}"
        overrides = [
            f"training.windows={windows}",
            f"training.batch_size={setting['batch_size']}",
            f"head.dropout={setting['dropout']}",
            f"training.learning_rate={setting['learning_rate']}",
            f"training.patience={PATIENCE}",
        ]
        chosen = config.load(None, overrides, {"model": model, "seed": seed, "epochs": EPOCHS, "output": folder})
        if not RunFolder(folder).finished:
            train.run(chosen, resume=True, show="nothing")
        metrics = read_json(folder / "metrics.json")
        return Cell(setting, seed, metrics["validation"]["nDCG@10"]["value"], RunTable.load(folder / "test"))

    return train_cell


def baselines(model: str) -> dict[str, list[RunTable]]:
    """The training-free rows that stand beside a model's first cell."""
    folder = STUDY / f"{model}-{named(GRID[0], SEEDS[0])}" / "baselines"
    names = {path.name: f"cosine {model}" if path.name == "cosine" else path.name for path in sorted(folder.iterdir())}
    return {label: [RunTable.load(folder / name)] for name, label in names.items()}


def tried_table(systems: dict[str, Chosen]) -> str:
    """Validation nDCG@10 of every cell of the grid on the first seed, as Markdown; the chosen one in bold."""
    lines = ["| model | batch | dropout | learning rate | validation nDCG@10 |", "|---|---|---|---|---|"]
    for name, chosen in systems.items():
        for cell in chosen.tried:
            value = f"**{cell.validation:.4f}**" if cell.setting == chosen.setting else f"{cell.validation:.4f}"
            lines.append(f"| {name} | " + " | ".join(str(each) for each in cell.setting.values()) + f" | {value} |")
    return "\n".join(lines)
