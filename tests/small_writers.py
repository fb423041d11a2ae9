"""Small models that write names: a T5 of a few numbers, and a recommender of the toy log."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from llmrec import components, config, training
from llmrec.generative import making
from llmrec.generative.batches import TextBatches
from llmrec.generative.examples import Examples
from llmrec.generative.recommender import GenerativeRecommender
from llmrec.generative.vocabulary import pieces_of, train_vocabulary
from llmrec.generative.writer import Writer
from llmrec.interactions import Dataset
from llmrec.splits import Split

PADDING, END = 0, 1
SMALL = ["p5.vocabulary=400"]


def tiny_writer(pieces: int, starts: list[bool] | None = None, layers: int = 1) -> Writer:
    """So many pieces; every one begins a word unless said otherwise."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    settings = T5Config(
        vocab_size=pieces, d_model=16, d_kv=8, d_ff=16, num_layers=layers, num_heads=2, decoder_start_token_id=PADDING
    )
    model = T5ForConditionalGeneration(settings)
    return Writer(model, starts or [False] * 2 + [True] * (pieces - 2), END, PADDING)


def t5_folder(place: Path, kind: str = "t5") -> Path:
    """A model as the hub has it, of a few random numbers, with a SentencePiece tokenizer.

    Args:
        place: where it is saved.
        kind: t5, mt5, umt5, or t5-untied, which as T5 1.1 and Flan-T5 writes with other vectors than it reads with.
    """
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    texts = [f"So far user_{n} has chosen item_{1000 + n}, item_{1000 + n % 7}. What next? (1999)" for n in range(99)]
    tokenizer = train_vocabulary(texts, 300)
    untied = kind == "t5-untied"
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "initializer_factor": 0.5}
    settings = AutoConfig.for_model(
        kind.removesuffix("-untied"),
        **sizes,
        vocab_size=len(tokenizer),
        feed_forward_proj="relu" if kind == "t5" else "gated-gelu",
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        AutoModelForSeq2SeqLM.from_config(settings).save_pretrained(place)
        if untied:
            weights = load_file(place / "model.safetensors")
            weights["lm_head.weight"] = torch.randn_like(weights["shared.weight"])
            save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(place)
    told = json.loads((place / "config.json").read_text(encoding="utf-8"))
    # transformers writes down what it made of it; on the hub stands what the authors said.
    told.pop("scale_decoder_outputs", None)
    (place / "config.json").write_text(json.dumps(told | {"tie_word_embeddings": not untied}), encoding="utf-8")
    return place


def teacher_forced(made: GenerativeRecommender, text: str, name: str, names: Sequence[str] | None = None) -> float:
    """Piece by piece, what the language model says of the pieces that some name has there; None: names of all items."""
    start = made.writer.model.config.decoder_start_token_id
    ids = torch.tensor(pieces_of(made.tokenizer, [text]))
    others = pieces_of(made.tokenizer, names or made.ids.names[1:])
    pieces, total = pieces_of(made.tokenizer, [name])[0], 0.0
    hidden = made.writer.read(ids)
    told = made.writer.logits(hidden, made.writer.mask(ids), torch.tensor([[start, *pieces[:-1]]]))[0].double()
    for place, piece in enumerate(pieces):
        allowed = sorted({other[place] for other in others if other[:place] == pieces[:place]})
        total += (told[place, piece] - told[place, allowed].logsumexp(0)).item()
    return total


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
