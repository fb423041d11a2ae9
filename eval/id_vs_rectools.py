"""ID-SASRec of llmrec against RecTools' on MovieLens-100K, same users, same choice on validation.

Width 64, window 50, 2 blocks, 2 heads, full softmax, history masked, up to 100 epochs chosen on validation, the same
grid of dropout and learning rate, 3 seeds. RecTools trains on the last window of each user only, so that is tried here
too. RecTools runs in its own environment: ``make peers`` first. What is
finished in runs/study/ is used again, so an interrupted study goes on where it stopped.
"""

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from eval import cells, compare
from llmrec import components, evaluation, report
from llmrec.config import RunConfig
from llmrec.errors import RunError, exit_code
from llmrec.runs import RANKINGS, RunTable, read_json, write_atomically
from llmrec.sources import load_dataset
from llmrec.splits import Split

PYTHON = Path(".venv-peers/bin/python")
SCRIPT = Path(__file__).parent / "peers" / "rectools_sasrec.py"
PEER_DEFAULT: cells.Setting = {"training.batch_size": 128, "head.dropout": 0.2, "training.learning_rate": 0.001}
"""RecTools' own; tried besides the grid that both share."""
PEER_FOLDER = cells.STUDY / "rectools"
OUTPUT = Path("eval/results/id_vs_rectools")


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.id_vs_rectools", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", type=Path, default=PYTHON, help="of an environment with RecTools 0.19")
    cells.add_jobs(parser)
    arguments = parser.parse_args(argv)
    study(arguments.peer_python, arguments.jobs)
    return 0


def study(python: Path, jobs: int) -> None:
    """Trains what is missing, prints the table and writes eval/results/id_vs_rectools.*."""
    if not python.is_file():
        raise RunError(f"{python} is missing; make peers builds RecTools' environment")
    split = components.create("splits", components.resolve("splits", "leave_one_out")).split(load_dataset("ml-100k"))
    hand_over(split, PEER_FOLDER)
    systems = {
        "llmrec SASRec id": cells.on_ml_100k("id"),
        "llmrec SASRec id, last window": cells.on_ml_100k("id", "training.windows=last"),
        "RecTools SASRec": cells.System(partial(rectools, python, split), [*cells.GRID, PEER_DEFAULT]),
    }
    ours, last, peer = systems
    chosen = cells.choose(systems, jobs)
    runs = cells.baselines(chosen[ours]) | {name: each.tables() for name, each in chosen.items()}
    pairs = [(ours, peer), (last, peer), (ours, last), (ours, report.REFERENCE), (peer, report.REFERENCE)]
    compare.save(runs, pairs, OUTPUT, "\n" + cells.tried_table(chosen))
    print(report.show(runs, pairs))


def rectools(python: Path, split: Split, setting: cells.Setting, seed: int) -> cells.Cell:
    """One RecTools model, trained in its own process unless it is there already."""
    folder, name = PEER_FOLDER, f"rectools{cells.named(setting)}-s{seed}"
    if not (folder / f"{name}.json").is_file():
        options = {"name": name, "seed": seed, "max-epochs": cells.EPOCHS, "patience": cells.PATIENCE}
        options["threads"] = 1
        options |= {key.rpartition(".")[2].replace("_", "-"): value for key, value in setting.items()}
        flags = [part for key, value in options.items() for part in (f"--{key}", str(value))]
        done = subprocess.run([str(python), str(SCRIPT), str(folder), *flags], check=False)
        if done.returncode:
            raise RunError(f"{SCRIPT.name} ended with exit code {done.returncode}; what it printed stands above")
    summary = read_json(folder / f"{name}.json")
    provenance = {
        "seed": seed,
        "best_epoch": summary["best_epoch"],
        "seconds": {"train": summary["seconds_training"]},
        "versions": summary["versions"],
        "peer": summary,
    }
    table = foreign_table(split, pl.read_parquet(folder / f"{name}-test.parquet"), provenance)
    return cells.Cell(setting, seed, summary["validation"]["nDCG@10"], table)


def hand_over(split: Split, folder: Path) -> None:
    """Writes the split for a library that knows nothing of ours: item and user indices, order within the user."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = split.train.rows()
    position = np.arange(len(rows)) - split.train.offsets[rows]
    tables = {"train": pl.DataFrame({"user": rows + 1, "item": split.train.values, "position": position})}
    for part, cases in (("validation", split.validation), ("test", split.test)):
        tables[part] = pl.DataFrame({"user": cases.user, "target": cases.target})
    for part, table in tables.items():
        write_atomically(folder / f"{part}.parquet", table.write_parquet)


def foreign_table(split: Split, lists: pl.DataFrame, provenance: dict) -> RunTable:
    """A run table from plain top-k lists (``user, item, score, rank`` by index): no counts, nothing beyond k."""
    dataset, cases = split.dataset, split.test
    masked = np.array([len(np.unique(cases.histories[row])) for row in range(len(cases))])
    table = evaluation.cases_table(cases, dataset, None, None, dataset.num_items - masked)
    named = lists.with_columns(
        user_id=pl.Series(dataset.user_ids[lists["user"].to_numpy()], dtype=pl.String),
        item_id=pl.Series(dataset.item_ids[lists["item"].to_numpy()], dtype=pl.String),
    ).join(table.select("case_id", "user_id"), on="user_id", maintain_order="left")
    protocol = evaluation.protocol_of(split, RunConfig())
    return RunTable(table, named.select(*RANKINGS).cast(RANKINGS), protocol, provenance)


if __name__ == "__main__":
    sys.exit(main())
