"""Training NextItNet against SASRec with as many weights on MovieLens-100K, the last window of each user in both."""

import argparse
from pathlib import Path
from typing import Any

from eval.speed import Timing

SASREC, NEXTITNET = "SASRec", "NextItNet"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The data, and how deep both are."""
    parser.add_argument("--data-dir", type=Path, help="folder with MovieLens-100K, if it is not to be fetched")
    parser.add_argument(
        "--layers", type=int, default=2, help="blocks of SASRec, of 12 d^2 weights; NextItNet has two of 6 d^2 for each"
    )


def measure(arguments: argparse.Namespace) -> Timing:
    """Both take turns, epoch by epoch."""
    import torch

    from eval.benchmarks.train import LAST, Epochs
    from eval.speed import alternate
    from llmrec import components
    from llmrec.sources import load_dataset

    torch.set_num_threads(arguments.threads)
    dataset = load_dataset("ml-100k", arguments.data_dir)
    split = components.create("splits", components.resolve("splits", "leave_one_out")).split(dataset)
    common = [option for option in LAST if not option.startswith("head.")]
    heads = {
        SASREC: ["head=sasrec", "head.dropout=0.2", f"head.num_layers={arguments.layers}"],
        NEXTITNET: ["head=nextitnet", f"head.num_layers={2 * arguments.layers}"],
    }
    trained = {name: Epochs(split, [*common, *options]) for name, options in heads.items()}
    seconds = alternate({name: each.run for name, each in trained.items()}, arguments.repeats)
    of_head = {name: _weights(each.model.head) for name, each in trained.items()}
    weights = {name: _weights(each.model) for name, each in trained.items()}
    options = trained[SASREC].options
    return Timing(
        title=f"width {options.embedding_dim}, window {options.max_seq_len}, {arguments.layers} blocks and "
        f"{2 * arguments.layers}, batch {options.training.batch_size}, full softmax, ml-100k",
        unit="targets",
        work=trained[SASREC].targets,
        seconds=seconds,
        ratios=[(NEXTITNET, SASREC, "none")],
        notes=[f"{name}: {of_head[name]:,} weights in the head, {weights[name]:,} in all." for name in trained],
        facts={"head_weights": of_head, "weights": weights},
    )


def _weights(module: Any) -> int:
    return sum(weight.numel() for weight in module.parameters())
