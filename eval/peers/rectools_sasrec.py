"""Train RecTools' SASRec (full softmax) on a prepared split, with the number of epochs chosen on validation.

Stands alone: it runs in RecTools' own environment (RecTools[torch], and pyarrow 23 where NumPy is below 2,
as pyarrow 26 wants NumPy 2) and needs nothing of llmrec. The folder holds `train.parquet` (user, item,
position), `validation.parquet` and `test.parquet` (user, target). The top 10 of both, and a summary in JSON,
are written back into it:

    python rectools_sasrec.py FOLDER --name rectools-s0 --seed 0 --max-epochs 100 --eval-every 2 --threads 2

What RecTools 0.19 does with the data (read in its source):

* it trains on the last `session_max_len` + 1 rows of each user, and its catalogue is the items of those rows,
  which can be fewer than the items of the training set; every other target cannot be hit, but still counts;
* it recommends from the last `session_max_len` catalogue items of the dataset passed to `recommend`, and
  filters all items of that dataset, those further back too;
* `fit_partial` keeps the optimizer (one Adam per Lightning module) and the epoch counter: with shuffling and
  dropout off, chunks give the very weights of one `fit`. With them on, only the random stream differs.
"""

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

K = 10
PARTS = ("validation", "test")
MODEL: dict[str, Any] = {
    "n_factors": 64,
    "n_blocks": 2,
    "n_heads": 2,
    "session_max_len": 50,
    "dropout_rate": 0.2,
    "lr": 1e-3,
    "batch_size": 128,
    "loss": "softmax",
    "train_min_user_interactions": 2,
    "deterministic": True,
    "verbose": 0,
}


def as_dataset(rows: pd.DataFrame) -> Dataset:
    """Give the rows to RecTools, with a second per position as their time."""
    return Dataset.construct(
        pd.DataFrame(
            {
                Columns.User: rows["user"],
                Columns.Item: rows["item"],
                Columns.Weight: 1.0,
                Columns.Datetime: pd.to_datetime(rows["position"], unit="s"),
            }
        )
    )


class Split:
    """The targets of validation and test, and for each the dataset that holds the history before it."""

    def __init__(self, folder: Path) -> None:
        self.train = pd.read_parquet(folder / "train.parquet")
        self.targets = {part: pd.read_parquet(folder / f"{part}.parquet") for part in PARTS}
        last = self.targets["validation"].rename(columns={"target": "item"})
        last["position"] = self.train["position"].max() + 1
        self.histories = {
            "validation": as_dataset(self.train),
            "test": as_dataset(pd.concat([self.train, last], ignore_index=True)),
        }

    def unknown_targets(self, known_items: np.ndarray) -> dict[str, int]:
        """Count the targets the model cannot rank, and say how many of them the training set lacks."""
        counts = {}
        for part, rows in self.targets.items():
            counts[part] = int((~rows["target"].isin(known_items)).sum())
            absent = int((~rows["target"].isin(self.train["item"])).sum())
            say(
                f"{part}: {counts[part]} of {len(rows)} targets cannot be hit: {absent} are not in train, "
                f"{counts[part] - absent} only in rows that RecTools cuts away"
            )
        return counts


@dataclass
class Outcome:
    """How training went: the best epoch, what it recommended and how good that was."""

    best_epoch: int = 0
    epochs_run: int = 0
    seconds_training: float = 0.0
    recommended: dict[str, pd.DataFrame] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def seconds_per_epoch(self) -> float:
        """Mean time of an epoch, without evaluation."""
        return self.seconds_training / max(self.epochs_run, 1)


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def recommend(model: SASRecModel, split: Split, part: str) -> pd.DataFrame:
    """Recommend the top K for each user of a part, without moving the random stream of training."""
    with torch.random.fork_rng(devices=[]):
        rows = model.recommend(
            users=split.targets[part]["user"].unique(),
            dataset=split.histories[part],
            k=K,
            filter_viewed=True,
            on_unsupported_targets="ignore",  # users without a known item get nothing, and count as misses
        )
    rows = rows.rename(columns={Columns.User: "user", Columns.Item: "item", Columns.Score: "score"})
    types = {"user": "int64", "item": "int64", "score": "float32", "rank": "int64"}
    return rows.rename(columns={Columns.Rank: "rank"})[list(types)].astype(types)


def score(recommended: pd.DataFrame, targets: pd.DataFrame) -> dict[str, float]:
    """HR@K and nDCG@K with one target a row, over all rows of `targets`."""
    hits = recommended.merge(targets, left_on=["user", "item"], right_on=["user", "target"])
    gains = 1.0 / np.log2(hits["rank"].to_numpy() + 1.0)
    return {f"HR@{K}": len(hits) / len(targets), f"nDCG@{K}": float(gains.sum()) / len(targets)}


def train_chunk(model: SASRecModel, data: Dataset, epochs: int) -> float:
    """Train on for some epochs; return the seconds it took."""
    start = time.perf_counter()
    model.fit_partial(data, min_epochs=epochs, max_epochs=epochs)
    return time.perf_counter() - start


def train(model: SASRecModel, split: Split, max_epochs: int, eval_every: int, patience: int) -> Outcome:
    """Train until validation stops improving; keep the recommendations of the best epoch."""
    outcome, best = Outcome(), -1.0
    while outcome.epochs_run < max_epochs and outcome.epochs_run - outcome.best_epoch < patience:
        epochs = min(eval_every, max_epochs - outcome.epochs_run)
        seconds = train_chunk(model, split.histories["validation"], epochs)
        outcome.epochs_run += epochs
        outcome.seconds_training += seconds
        rows = recommend(model, split, "validation")
        scores = score(rows, split.targets["validation"])
        shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        say(f"epoch {outcome.epochs_run}  validation {shown}  {seconds / epochs:.2f} s/epoch")
        if scores[f"nDCG@{K}"] > best:
            best, outcome.best_epoch = scores[f"nDCG@{K}"], outcome.epochs_run
            outcome.recommended = {"validation": rows, "test": recommend(model, split, "test")}
    outcome.scores = {part: score(rows, split.targets[part]) for part, rows in outcome.recommended.items()}
    return outcome


def summarise(
    outcome: Outcome, split: Split, model: SASRecModel, options: dict[str, Any], args: argparse.Namespace
) -> dict[str, Any]:
    """Gather what the JSON file says."""
    packages = {"rectools": "rectools", "torch": "torch", "lightning": "pytorch-lightning"}
    known = model.data_preparator.get_known_item_ids()
    training = {"max_epochs": args.max_epochs, "eval_every": args.eval_every, "patience": args.patience}
    return {
        "best_epoch": outcome.best_epoch,
        "epochs_run": outcome.epochs_run,
        "seconds_training": outcome.seconds_training,
        "seconds_per_epoch": outcome.seconds_per_epoch,
        **outcome.scores,
        "versions": {name: version(package) for name, package in packages.items()},
        "parameters": {**options, **training, "seed": args.seed},
        "threads": args.threads,
        "unknown_targets": split.unknown_targets(known),
        "users_without_recommendations": {
            part: split.targets[part]["user"].nunique() - rows["user"].nunique()
            for part, rows in outcome.recommended.items()
        },
        "items": {"train": split.train["item"].nunique(), "known_to_model": len(known)},
    }


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    save(temporary)
    temporary.replace(path)


def write_all(folder: Path, outcome: Outcome, summary: dict[str, Any], name: str) -> None:
    """Write the recommendations, then the summary."""
    for part, rows in outcome.recommended.items():
        write(folder / f"{name}-{part}.parquet", partial(rows.to_parquet, index=False))
    text = json.dumps(summary, indent=2) + "\n"
    write(folder / f"{name}.json", lambda path: path.write_text(text, encoding="utf-8"))


def positive(text: str) -> int:
    """Read a whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above zero")
    return number


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="holds the split; the results are written into it")
    parser.add_argument("--name", required=True, help="of the files written there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=positive, default=MODEL["batch_size"])
    parser.add_argument("--dropout", type=float, default=MODEL["dropout_rate"])
    parser.add_argument("--learning-rate", type=float, default=MODEL["lr"])
    parser.add_argument("--max-epochs", type=positive, default=100)
    parser.add_argument("--eval-every", type=positive, default=2, help="epochs between two evaluations")
    parser.add_argument("--patience", type=positive, default=20, help="epochs without a gain to stop after")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads(), help="threads of torch")
    return parser.parse_args()


def hush() -> None:
    """Keep the libraries' standing notes (devices, loaders, deprecations) out of the progress."""
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("pytorch_lightning", "rectools", "pydantic"):
        warnings.filterwarnings("ignore", module=name)


def main() -> None:
    """Train, evaluate and write the results."""
    args = read_arguments()
    hush()
    torch.set_num_threads(args.threads)
    split = Split(args.folder)
    seed_everything(args.seed, workers=True, verbose=False)
    options = {**MODEL, "dropout_rate": args.dropout, "lr": args.learning_rate, "batch_size": args.batch_size}
    model = SASRecModel(**options)
    outcome = train(model, split, args.max_epochs, args.eval_every, args.patience)
    summary = summarise(outcome, split, model, options, args)
    write_all(args.folder, outcome, summary, args.name)
    say(f"best epoch {outcome.best_epoch}: {json.dumps(outcome.scores)}")


if __name__ == "__main__":
    main()
