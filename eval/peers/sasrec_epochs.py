"""Times training epochs of RecTools' or RePlay's SASRec on a prepared split; prints the seconds as a JSON list.

Stands alone and runs in the peer's own environment. The folder holds `train.parquet` (user, item, position). Both train
on the last window of each user with full cross-entropy: width 64, 2 blocks, 2 heads, window 50, dropout 0.2, batch 128,
Adam, their own data loader and Lightning's trainer.

    python sasrec_epochs.py FOLDER rectools --epochs 5 --threads 2
"""

import argparse
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

WIDTH, BLOCKS, HEADS, WINDOW, DROPOUT, BATCH = 64, 2, 2, 50, 0.2, 128


def stopwatch(callback: type) -> Any:
    """A Lightning callback that notes the seconds of every training epoch."""

    class Stopwatch(callback):
        seconds: list[float] = []  # noqa: RUF012

        def on_train_epoch_start(self, *_: object) -> None:
            self.started = time.perf_counter()

        def on_train_epoch_end(self, *_: object) -> None:
            self.seconds.append(time.perf_counter() - self.started)

    return Stopwatch()


def rectools(train: pd.DataFrame, epochs: int) -> list[float]:
    """RecTools' SASRecModel."""
    from pytorch_lightning import Callback, Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    watch = stopwatch(Callback)

    def trainer() -> Any:
        return Trainer(
            max_epochs=epochs,
            callbacks=[watch],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    when = pd.to_datetime(train["position"], unit="s")
    columns = {Columns.User: train["user"], Columns.Item: train["item"], Columns.Weight: 1.0, Columns.Datetime: when}
    SASRecModel(
        n_factors=WIDTH,
        n_blocks=BLOCKS,
        n_heads=HEADS,
        session_max_len=WINDOW,
        dropout_rate=DROPOUT,
        lr=1e-3,
        batch_size=BATCH,
        loss="softmax",
        train_min_user_interactions=2,
        get_trainer_func=trainer,
    ).fit(Dataset.construct(pd.DataFrame(columns)))
    return watch.seconds


class Windows(torch.utils.data.Dataset):
    """The last window of each user, left-padded, as RePlay's model takes it."""

    def __init__(self, train: pd.DataFrame, padding: int) -> None:
        ordered = train.sort_values(["user", "position"])
        lists = [group.to_numpy() for _, group in ordered.groupby("user")["item"]]
        self.windows = [items[-WINDOW - 1 :] - 1 for items in lists if len(items) > 1]
        self.padding = padding

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        items = torch.from_numpy(np.asarray(self.windows[row], dtype=np.int64))
        size = len(items) - 1
        inputs, labels = (torch.full((WINDOW,), self.padding) for _ in range(2))
        inputs[-size:], labels[-size:] = items[:-1], items[1:]
        real = torch.arange(WINDOW) >= WINDOW - size
        return {
            "feature_tensors": {"item_id": inputs},
            "padding_mask": real,
            "positive_labels": labels[:, None],
            "negative_labels": torch.empty(0, dtype=torch.long),
            "target_padding_mask": real[:, None],
        }


def replay(train: pd.DataFrame, epochs: int) -> list[float]:
    """RePlay's SasRec."""
    from lightning import Callback, Trainer
    from replay.data import FeatureHint, FeatureSource, FeatureType
    from replay.data.nn import TensorFeatureInfo, TensorFeatureSource, TensorSchema
    from replay.nn.lightning import LightningModule
    from replay.nn.lightning.optimizer import OptimizerFactory
    from replay.nn.sequential import SasRec

    items = int(train["item"].max())
    item = TensorFeatureInfo(
        "item_id",
        is_seq=True,
        feature_type=FeatureType.CATEGORICAL,
        embedding_dim=WIDTH,
        padding_value=items,
        cardinality=items,
        feature_hint=FeatureHint.ITEM_ID,
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")],
    )
    model = SasRec.from_params(
        TensorSchema([item]),
        embedding_dim=WIDTH,
        num_heads=HEADS,
        num_blocks=BLOCKS,
        max_sequence_length=WINDOW,
        dropout=DROPOUT,
        hidden_dim=4 * WIDTH,
    )
    watch = stopwatch(Callback)
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = torch.utils.data.DataLoader(Windows(train, items), batch_size=BATCH, shuffle=True)
    trainer.fit(LightningModule(model, OptimizerFactory("adam", learning_rate=1e-3)), loader)
    return watch.seconds


def main() -> None:
    """Reads the command line, trains and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("peer", choices=("rectools", "replay"))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in ("lightning.pytorch", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    train = pd.read_parquet(arguments.folder / "train.parquet")
    print(json.dumps({"rectools": rectools, "replay": replay}[arguments.peer](train, arguments.epochs)))


if __name__ == "__main__":
    main()
