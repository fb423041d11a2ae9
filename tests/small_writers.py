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


def causal_folder(place: Path, kind: str) -> Path:
    """A decoder alone as the hub has it, of a few random numbers, with a tokenizer of bytes.

    Args:
        place: where it is saved.
        kind: llama, whose texts begin with a piece of their own and whose two tables are not tied, opt, whose beginning
            is also the end, or gpt2, which has no piece that could fill up and one table.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    texts = [f"So far user_{n} has chosen item_{1000 + n}, item_{1000 + n % 7}. What next? (1999)" for n in range(99)]
    special = {"llama": ["<s>", "</s>", "<unk>"], "opt": ["</s>", "<pad>"], "gpt2": ["</s>"]}[kind]
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    )
    if kind != "gpt2":
        words.post_processor = processors.TemplateProcessing(
            single=f"{special[0]} $A", special_tokens=[(special[0], 0)]
        )
    names = {"eos_token": "</s>", "bos_token": special[0]}
    names |= {"unk_token": "<unk>"} if kind == "llama" else {}
    names |= {"pad_token": "<pad>"} if kind == "opt" else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **names)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": len(tokenizer)}
    own: dict[str, Any] = {
        "llama": {"intermediate_size": 32, "initializer_range": 0.5},
        "opt": {"ffn_dim": 32, "init_std": 0.5, "word_embed_proj_dim": 16, "max_position_embeddings": 512},
        "gpt2": {"initializer_range": 0.5},
    }
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id, "pad_token_id": None}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, **own[kind], **ends)).save_pretrained(
            place
        )
    tokenizer.save_pretrained(place)
    return place


def teacher_forced(made: GenerativeRecommender, text: str, name: str, names: Sequence[str] | None = None) -> float:
    """Piece by piece, what the language model says of the pieces that some name has there; None: names of all items."""
    ids = torch.tensor(pieces_of(made.tokenizer, [text]))
    others = pieces_of(made.tokenizer, names or made.ids.names[1:])
    pieces, total = pieces_of(made.tokenizer, [name])[0], 0.0
    hidden = made.writer.read(ids)
    told = made.writer.logits(hidden, made.writer.mask(ids), torch.tensor([[made.writer.start, *pieces[:-1]]]))[
        0
    ].double()
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
