"""Training SASRec with full cross-entropy on MovieLens-100K, the last window of each user in all three systems."""

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from eval.speed import Timing
from llmrec.errors import RunError

SCRIPT = Path(__file__).parents[1] / "peers" / "sasrec_epochs.py"
STUDY = Path("eval/results/id_vs_rectools.json")
OURS, RECTOOLS, REPLAY = "llmrec", "RecTools 0.19", "RePlay 0.22"
LAST = ["training.windows=last", "training.batch_size=128", "head.dropout=0.2", "training.learning_rate=0.001"]
BEST = ["training.batch_size=32", "head.dropout=0.4", "training.learning_rate=0.002"]
"""What eval.id_vs_rectools chose for llmrec."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the peers live, and the data."""
    parser.add_argument("--rectools-python", type=Path, default=Path(".venv-peers/bin/python"))
    parser.add_argument("--replay-python", type=Path, default=Path(".venv-replay/bin/python"))
    parser.add_argument("--data-dir", type=Path, help="folder with MovieLens-100K, if it is not to be fetched")
    parser.add_argument("--epochs", type=int, default=4, help="timed epochs of each system in each repetition")
    parser.add_argument("--folder", type=Path, default=Path("runs/speed"), help="where the split is handed over")


def measure(arguments: argparse.Namespace) -> Timing:
    """Systems take turns, each in a fresh model; its first epoch is not counted."""
    import torch

    from eval.id_vs_rectools import hand_over
    from llmrec import components
    from llmrec.sources import load_dataset

    peers = {RECTOOLS: (arguments.rectools_python, "rectools"), REPLAY: (arguments.replay_python, "replay")}
    for python, _ in peers.values():
        if not python.is_file():
            raise RunError(f"{python} is missing; make peers builds the peers' environments")
    torch.set_num_threads(arguments.threads)
    dataset = load_dataset("ml-100k", arguments.data_dir)
    split = components.create("splits", components.resolve("splits", "leave_one_out")).split(dataset)
    hand_over(split, arguments.folder)
    seconds: dict[str, list[float]] = {OURS: [], **{name: [] for name in peers}}
    for _ in range(arguments.repeats):
        seconds[OURS] += Epochs(split, LAST).seconds(arguments.epochs + 1)[1:]
        for name, (python, peer) in peers.items():
            seconds[name] += _peer_epochs(python, peer, arguments)[1:]
    trained = Epochs(split, LAST)
    return Timing(
        title="SASRec, width 64, window 50, 2 blocks, 2 heads, batch 128, full softmax, ml-100k",
        unit="targets",
        work=trained.targets,
        seconds=seconds,
        ratios=[(OURS, RECTOOLS, "at least 1.3x, goal 2x"), (OURS, REPLAY, "none")],
        notes=[
            f"One epoch is {trained.targets:,} targets in every system: the last 51 training items of each user.",
            *_quality(split, arguments),
            *_profile(trained),
        ],
    )


class Epochs:
    """Training epochs of llmrec without the evaluation between them."""

    def __init__(self, split: Any, options: list[str]) -> None:
        import torch
        from accelerate import Accelerator

        from llmrec import components, config, optimizer, recommender, training
        from llmrec.item_text import ItemText
        from llmrec.matching import MatchingStep
        from llmrec.sequences import TrainingBatches

        self.options = config.load(None, options, {}).resolved()
        training.seed_step(0, 0, 0)
        self.model = recommender.build(self.options, split, ItemText(self.options, None, lambda done, total: None))
        counts = split.train.counts(self.model.num_items)
        self.step = MatchingStep(self.model, components.create("losses", self.options.loss), counts)
        groups = optimizer.parameter_groups(self.model, self.options.training)
        self.optimizer = torch.optim.AdamW(groups, lr=self.options.training.learning_rate, fused=True)
        chosen = self.options.training
        self.batches = TrainingBatches(
            split.train, self.options.max_seq_len, chosen.batch_size, chosen.windows, self.options.seed
        )
        self.accelerator, self.steps, self.epochs = Accelerator(cpu=True), 0, 0

    @property
    def targets(self) -> int:
        """Targets in an epoch."""
        return sum(targets for _, targets in self.batches.epoch(0))

    def run(self) -> None:
        """One epoch."""
        from llmrec import training

        self.model.train()
        for batch, targets in self.batches.epoch(self.epochs):
            training.take_step(
                self.step, self.optimizer, batch, targets, self.options.training, (0, self.steps), self.accelerator
            )
            self.steps += 1
        self.epochs += 1

    def seconds(self, epochs: int) -> list[float]:
        """Of each of so many epochs."""
        result = []
        for _ in range(epochs):
            started = time.perf_counter()
            self.run()
            result.append(time.perf_counter() - started)
        return result


def _peer_epochs(python: Path, peer: str, arguments: argparse.Namespace) -> list[float]:
    command = [str(python), str(SCRIPT), str(arguments.folder), peer]
    command += ["--epochs", str(arguments.epochs + 1), "--threads", str(arguments.threads)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RunError(f"{peer} ended with {done.returncode}: {done.stderr[-1000:]}")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def _quality(split: Any, arguments: argparse.Namespace) -> list[str]:
    """Minutes of training until the validation nDCG@10 that RecTools reaches in the saved study."""
    from llmrec import evaluation
    from llmrec.runs import read_json

    peers = [table["peer"] for table in read_json(STUDY)["provenance"]["RecTools SASRec"]]
    wanted = max(peer["validation"]["nDCG@10"] for peer in peers)
    epochs = sum(peer["best_epoch"] for peer in peers) / len(peers)
    trained, spent = Epochs(split, BEST), 0.0
    for _ in range(100):
        spent += trained.seconds(1)[0]
        tables = evaluation.rank_cases(trained.model, split.validation, split.dataset, mask_history=True, k=10)
        if evaluation.means(tables)["nDCG@10"] >= wanted:
            break
    else:
        return [f"RecTools' best validation nDCG@10, {wanted:.4f}, was not reached in 100 epochs."]
    return [
        f"RecTools' best validation nDCG@10 of three seeds is {wanted:.4f} ({STUDY}), after {epochs:.0f} epochs on "
        f"average; llmrec with every position as a target passes it after {trained.epochs} epochs, "
        f"{spent / 60:.2f} minutes of training on this machine."
    ]


def _profile(trained: Epochs) -> list[str]:
    """What a step's time is spent on."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        trained.run()
    events = sorted(found.key_averages(), key=lambda each: -each.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    shares = ", ".join(f"{event.key} {event.self_cpu_time_total / total:.0%}" for event in events[:10])
    return [f"Profile of an epoch of llmrec, share of the time by operation: {shares}."]
