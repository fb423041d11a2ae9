"""Shared inputs: a small log with structure, built in memory and on disk."""

import io
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmrec.interactions import Dataset

# Second processes on two cores run many times slower unless each keeps to one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent
GENRES = ("Comedy", "Drama", "War")


def toy_tables(num_users: int = 40, num_items: int = 30, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A log in which people mostly go on to the next item of a cycle, and items with titles and genres."""
    generator = np.random.default_rng(seed)
    rows = []
    for user in range(num_users):
        item = int(generator.integers(num_items))
        for step in range(int(generator.integers(5, 25))):
            rows.append((f"u{user}", f"i{item}", 1_000_000 + 60 * step, float(generator.integers(1, 6))))
            item = (item + 1) % num_items if generator.random() < 0.8 else int(generator.integers(num_items))
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "rating"], orient="row")
    items = pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(num_items)],
            "title": [f"Film {item} ({1950 + item})" for item in range(num_items)],
            "genres": [[GENRES[item % len(GENRES)]] for item in range(num_items)],
        }
    )
    return log, items


def write_recbole(folder: Path, name: str, log: pl.DataFrame, items: pl.DataFrame) -> Path:
    """The tables as RecBole atomic files; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log.select("user_id", "item_id", "rating", "timestamp").rename(
        {
            "user_id": "user_id:token",
            "item_id": "item_id:token",
            "rating": "rating:float",
            "timestamp": "timestamp:float",
        }
    ).write_csv(folder / f"{name}.inter", separator="\t")
    items.select(
        pl.col("item_id").alias("item_id:token"),
        pl.col("title").alias("title:token_seq"),
        pl.col("genres").list.join(" ").alias("genres:token_seq"),
    ).write_csv(folder / f"{name}.item", separator="\t", quote_style="never")
    return folder


@pytest.fixture
def toy() -> Dataset:
    """The small log as a data set."""
    return Dataset.from_tables("toy", *toy_tables())


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small log as RecBole files in a folder named toy."""
    return write_recbole(tmp_path_factory.mktemp("data") / "toy", "toy", *toy_tables())


@pytest.fixture
def cells_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has studies train their cells in this process, one at a time: each of its own would import all libraries anew."""
    from eval import cells
    from llmrec import train

    def run_here(arguments: list[str], folder: Path) -> None:
        sys.stderr.write(f"{folder} (its log: here)\n")
        with redirect_stdout(io.StringIO()):
            assert train.main(arguments) == 0

    monkeypatch.setattr(cells, "run", run_here)
