"""Training the top blocks over kept hidden states against running the whole model in every step."""

import argparse
from typing import Any

from eval.speed import Timing

KEPT, WHOLE = "over kept states", "whole model each step"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The model, how much of it learns, and how many steps are timed."""
    parser.set_defaults(repeats=2)
    parser.add_argument("--model", default="smollm2-135m", help="language model")
    parser.add_argument("--blocks", type=int, default=2, help="how many learn")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="of the language model")
    parser.add_argument("--steps", type=int, default=2, help="in one repetition")


def measure(arguments: argparse.Namespace) -> Timing:
    """Both take the same steps of MovieLens-100K, in turns."""
    import torch

    from eval.speed import alternate
    from llmrec import preparation, recommender, train
    from llmrec.console import Console
    from llmrec.item_text import ItemText
    from llmrec.sequences import TrainingBatches
    from llmrec.sources import load_dataset

    torch.set_num_threads(arguments.threads)
    words = ["--model", arguments.model, "--tuning", "top_blocks", "--loss", "in_batch_softmax"]
    words += [f"tuning.blocks={arguments.blocks}", f"features.precision={arguments.precision}"]
    options = train.options_of(words)[0].resolved()
    split = preparation.cut(options, load_dataset(options.data), Console(quiet=True))
    text = ItemText.of(options, split.dataset, lambda done, total: None)
    limits = options.max_seq_len, options.training.batch_size
    every = list(TrainingBatches(split.train, *limits, options.training.windows, seed=0).epoch(0, 0, 0, 1))
    systems: dict[str, Any] = {}
    for name in (KEPT, WHOLE):
        model = recommender.build(options, split, text)
        encoder: Any = model.encoder
        if name == WHOLE:
            encoder.trunk = _whole(text.source(), arguments.blocks, options.tuning)
            first: Any = systems[KEPT].module.recommender
            model.head.load_state_dict(first.head.state_dict())
            encoder.projection.load_state_dict(first.encoder.projection.state_dict())
        systems[name] = _Steps(model, split, options, every[: arguments.steps])
    seconds = alternate(systems, arguments.repeats)
    apart = max(abs(a - b) for a, b in zip(systems[KEPT].losses, systems[WHOLE].losses, strict=True))
    steps = len(every)
    epochs = {name: sorted(taken)[len(taken) // 2] / arguments.steps * steps for name, taken in seconds.items()}
    return Timing(
        title=f"{arguments.model}, top {arguments.blocks} blocks learn, {arguments.precision}, steps of ml-100k",
        unit="steps",
        work=arguments.steps,
        seconds=seconds,
        ratios=[(KEPT, WHOLE, "at least 3x")],
        notes=[
            f"An epoch has {steps} steps: {epochs[KEPT]:.0f} s over kept states, {epochs[WHOLE]:.0f} s without.",
            f"The losses of the {len(systems[KEPT].losses)} steps differ by at most {apart:.1e}.",
        ],
        facts={"seconds_per_epoch": epochs, "largest_difference_of_losses": apart},
    )


class _Steps:
    """Takes the same steps again and again, and notes the losses."""

    def __init__(self, model: Any, split: Any, options: Any, batches: list[Any]) -> None:
        import torch
        from accelerate import Accelerator

        from llmrec import components
        from llmrec.matching import MatchingStep
        from llmrec.optimizer import parameter_groups

        loss = components.create("losses", options.loss)
        self.module = MatchingStep(model, loss, split.train.counts(model.num_items))
        rate = options.training.learning_rate
        self.optimizer = torch.optim.AdamW(parameter_groups(model, options.training), lr=rate, fused=True)
        self.options, self.batches, self.accelerator = options.training, batches, Accelerator(cpu=True)
        self.losses: list[float] = []

    def __call__(self) -> None:
        from llmrec.training import take_step

        self.module.train()
        for batch, targets in self.batches:
            place = (0, len(self.losses))
            loss = take_step(self.module, self.optimizer, batch, targets, self.options, place, self.accelerator)
            self.losses.append(loss)


def _whole(source: Any, number: int, tuning: dict[str, Any]) -> Any:
    """A trunk of which the same blocks learn and all run."""
    from torch import nn

    from llmrec.loading.blocks import block_list, modules_behind
    from llmrec.tuning._trunk import Learning, Trunk

    trunk = Trunk(source, Learning(tuning["learning_rate"], tuning["weight_decay"], gradient_checkpointing=False))
    _, blocks = block_list(trunk.encoder)
    behind = modules_behind(trunk.encoder, blocks[-1], lambda: trunk.pooled([0]))
    trunk.learned = nn.ModuleList([*blocks[-number:], *behind]).float().requires_grad_(True)
    return trunk
