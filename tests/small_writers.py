"""Small models that write names: a T5 of a few numbers, and a recommender of the toy log."""

from typing import Any

import torch

from llmrec import components, config, training
from llmrec.generative import making
from llmrec.generative.batches import TextBatches
from llmrec.generative.examples import Examples
from llmrec.generative.recommender import GenerativeRecommender
from llmrec.generative.writer import Writer
from llmrec.interactions import Dataset
from llmrec.splits import Split

PADDING, END = 0, 1
SMALL = ["p5.vocabulary=400"]


def tiny_writer(pieces: int, starts: list[bool] | None = None) -> Writer:
    """So many pieces; every one begins a word unless said otherwise."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    settings = T5Config(
        vocab_size=pieces, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=PADDING
    )
    model = T5ForConditionalGeneration(settings)
    return Writer(model, starts or [False] * 2 + [True] * (pieces - 2), END, PADDING)


def options(*overrides: str, **flags: Any) -> config.RunConfig:
    return config.load(None, [*SMALL, *overrides], {"model": "t5-tiny", "data": "toy", **flags}).resolved()


def split_of(dataset: Dataset, name: str = "leave_one_out", **more: Any) -> Split:
    return components.create("splits", components.resolve("splits", {"name": name, **more})).split(dataset)


def build(
    dataset: Dataset, *overrides: str, split: Split | None = None
) -> tuple[GenerativeRecommender, Examples, Split]:
    """A new recommender with weights far enough from zero for its scores to differ, its examples and its data."""
    split = split or split_of(dataset)
    training.seed_step(0, 0, 0)
    model, examples = making.build(options(*overrides), split)
    return model.eval(), examples, split


def batches(dataset: Dataset, size: int, *overrides: str, longest: tuple[int, int] = (1024, 128)) -> TextBatches:
    model, examples, _ = build(dataset, *overrides)
    return TextBatches(examples, model.tokenizer, size, longest)
