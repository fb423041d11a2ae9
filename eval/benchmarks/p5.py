"""Training a language model to write names, against a plain loop of transformers over the same texts."""

import argparse
import time
from pathlib import Path
from typing import Any

from eval.memory import PeakMemory
from eval.speed import Timing

OURS, PLAIN = "llmrec", "plain loop of transformers"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The run that is timed, and how much of it."""
    parser.set_defaults(repeats=2)
    parser.add_argument("--config", type=Path, default=Path("configs/p5-beauty.yaml"), help="of the run")
    parser.add_argument("--data", default="amazon-beauty", help="name of the data set")
    parser.add_argument("--data-dir", type=Path, help="its folder, if it is not to be fetched")
    parser.add_argument("--steps", type=int, default=128, help="in one repetition")
    parser.add_argument("--users", type=int, default=256, help="users ranked among the whole catalogue")


def measure(arguments: argparse.Namespace) -> Timing:
    """Both write prompts, cut them into pieces and take as many steps with the same model, in turns."""
    import numpy as np
    import torch

    from eval.speed import alternate
    from llmrec import building, config, evaluation, preparation
    from llmrec.console import Console
    from llmrec.processes import Processes
    from llmrec.sources import load_dataset

    torch.set_num_threads(arguments.threads)
    options = config.load(arguments.config, [], {"data": arguments.data, "data_dir": arguments.data_dir}).resolved()
    console = Console(quiet=True)
    with PeakMemory() as held:
        started = time.perf_counter()
        split = preparation.cut(options, load_dataset(options.data, options.data_dir), console)
        built = building.build(options, split, Processes(Path("runs")), console)
        making = time.perf_counter() - started
        ours, plain = _Ours(built, options, arguments.steps), _Plain(built, options, arguments.steps)
        seconds = alternate({OURS: ours, PLAIN: plain}, arguments.repeats)
        cases = split.test.take(np.random.default_rng(0).permutation(len(split.test))[: arguments.users])
        started = time.perf_counter()
        evaluation.rank_cases(built.model, cases, split.dataset, mask_history=True, k=options.protocol.k)
        ranking = (time.perf_counter() - started) / len(cases)
    epoch = len(plain.drawn)
    rate = ours.examples / sorted(seconds[OURS])[len(seconds[OURS]) // 2]
    hours = epoch * options.training.epochs / rate / 3600
    return Timing(
        title=f"{options.model} on {split.dataset.name}, {options.item_ids['name']} names, batch of {ours.batch_size}",
        unit="examples",
        work=ours.examples,
        seconds=seconds,
        ratios=[(OURS, PLAIN, "none")],
        notes=[
            f"{len(split.train):,} users, {split.dataset.num_items:,} items, {epoch:,} examples an epoch: "
            f"{epoch / rate / 60:.0f} minutes an epoch, {hours:.1f} hours for the {options.training.epochs} epochs.",
            f"Full ranking: {1 / ranking:.2f} users a second, {ranking * len(split.train) / 3600:.1f} hours for all.",
            f"Data, names and model stand after {making:.0f} s. The most memory of its own (RssAnon), in training and "
            f"ranking: {held.peak / 2**30:.2f} GiB.",
            "The plain loop draws its examples in any order and pads each batch to its longest text; it has no vectors "
            "of whole words.",
        ],
        facts={"examples_per_epoch": epoch, "ranking_seconds_per_user": ranking, "peak_bytes": held.peak},
    )


class _Ours:
    """Takes the next steps of an epoch."""

    def __init__(self, built: Any, options: Any, steps: int) -> None:
        import torch
        from accelerate import Accelerator

        from llmrec.optimizer import parameter_groups

        self.step, self.batches, self.options, self.steps = built.step, built.batches, options.training, steps
        self.batch_size = self.options.batch_size
        groups = parameter_groups(built.model, self.options)
        self.optimizer = torch.optim.AdamW(groups, lr=self.options.learning_rate, fused=True)
        self.accelerator, self.taken = Accelerator(cpu=True), 0

    @property
    def examples(self) -> int:
        """In one repetition."""
        return self.steps * self.batch_size

    def __call__(self) -> None:
        from itertools import islice

        from llmrec.training import take_step

        self.step.train()
        for batch, targets in islice(self.batches.epoch(0, self.taken), self.steps):
            take_step(self.step, self.optimizer, batch, targets, self.options, (0, self.taken), self.accelerator)
            self.taken += 1


class _Plain:
    """A new model of the same shape, taught as the tutorials do."""

    def __init__(self, built: Any, options: Any, steps: int) -> None:
        import torch
        from transformers import T5ForConditionalGeneration

        recommender = built.model
        self.model = T5ForConditionalGeneration(recommender.writer.model.config).train()
        self.examples, self.tokenizer = built.batches.examples, recommender.tokenizer
        self.drawn, self.size, self.steps = self.examples.epoch(0), options.training.batch_size, steps
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=options.training.learning_rate)
        self.taken = 0

    def __call__(self) -> None:
        import torch

        for _ in range(self.steps):
            rows = self.drawn[self.taken * self.size : (self.taken + 1) * self.size]
            asked, targets = zip(*self.examples.write(rows, (0, self.taken)), strict=True)
            read = self.tokenizer(list(asked), padding=True, return_tensors="pt")
            write = self.tokenizer(list(targets), padding=True, return_tensors="pt")
            labels = write["input_ids"].masked_fill(write["attention_mask"] == 0, -100)
            loss = self.model(input_ids=read["input_ids"], attention_mask=read["attention_mask"], labels=labels).loss
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.taken += 1
