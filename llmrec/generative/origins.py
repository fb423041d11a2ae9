"""Where the language model of a run comes from: a shape with new weights, a pre-trained model, or a run's folder."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from llmrec import loading
from llmrec.errors import ConfigError, DataError, nearest
from llmrec.generative.vocabulary import keep_whole, word_starts
from llmrec.generative.writer import Writer
from llmrec.item_ids import ItemIds
from llmrec.runs import read_json, write_text

SHAPES: dict[str, dict[str, int]] = {
    "t5-tiny": {"d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 2, "num_heads": 4},
    "t5-mini": {"d_model": 192, "d_kv": 48, "d_ff": 384, "num_layers": 2, "num_heads": 4},
}
"""Models that are trained from nothing, by name."""
LIKE_T5 = ("t5", "mt5", "umt5")
"""Architectures that know positions by their distance alone, as :meth:`Writer.beginnings` wants it."""
FILE = "language_model/config.json"
"""The language model's own configuration in the folder of a run."""


def check_name(name: str) -> None:
    """Refuses what can be neither a shape nor a pre-trained model.

    Raises:
        ConfigError: with the names that there are.
    """
    if name not in SHAPES and not Path(name).expanduser().is_dir():
        try:
            loading.repository_of(name)
        except ConfigError:
            known = [short for short, each in loading.MODELS.items() if each.shape["model_type"] in LIKE_T5]
            raise ConfigError(
                f"no model {name!r} that writes names{nearest(name, [*SHAPES, *known])}; besides these: a hub id "
                "(owner/name) or a folder that exists"
            ) from None


def from_shape(name: str, tokenizer: Any) -> Writer:
    """A new T5 of a shape of the table, its weights drawn from torch's global generator."""
    from transformers import T5Config, T5ForConditionalGeneration

    settings = T5Config(
        **SHAPES[name],
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        dropout_rate=0.0,  # it is small and sees hardly an example twice
    )
    return _writer(T5ForConditionalGeneration(settings), tokenizer)


def pretrained(name: str, ids: ItemIds) -> tuple[Writer, Any]:
    """A pre-trained model and its tokenizer, which keeps the pieces of the items' names whole.

    The vectors of words begin with zeros, unlike those of a shape: so the model begins as what it was trained to be, to
    the bit, whatever the spread of its own embeddings, and a row that is added to others learns from zero as well as
    from anywhere.

    Args:
        name: a short name, a hub id or a folder.
        ids: names of the items.

    Raises:
        ConfigError: no such name.
        AssetError: neither cached nor reachable.
        DataError: not like T5, files that cannot be read, or a tokenizer that does not tell where words begin.
    """
    files = loading.find(name)
    model, tokenizer = loading.load_seq2seq(files, LIKE_T5)
    if not any(word_starts(tokenizer)):
        raise DataError(
            f"{files.path}: no piece of the tokenizer begins with '\u2581', so nothing tells where a word begins, and "
            "P5 counts words; take a model whose pieces are SentencePiece's, such as flan-t5-small"
        )
    if getattr(model.config, "decoder_start_token_id", None) is None:
        model.config.decoder_start_token_id = tokenizer.pad_token_id  # as of every T5
    first = len(tokenizer)
    keep_whole(tokenizer, ids)
    _widen(model, first, len(tokenizer))
    model.pretrained = True  # the optimizer asks
    writer = _writer(model, tokenizer)
    nn.init.zeros_(writer.words.weight)
    return writer, tokenizer


def keep(model: Any, folder: Path) -> None:
    """Writes the language model's own configuration into the folder of a run."""
    (folder / FILE).parent.mkdir(exist_ok=True)
    write_text(folder / FILE, model.config.to_json_string(use_diff=False))


def restored(folder: Path, name: str, tokenizer: Any) -> Writer:
    """The writer of a run's folder, its weights not yet those of the run."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    if name in SHAPES and not (folder / FILE).exists():  # runs of shapes were saved without it once
        return from_shape(name, tokenizer)
    settings = AutoConfig.from_pretrained((folder / FILE).parent, local_files_only=True, trust_remote_code=False)
    model = AutoModelForSeq2SeqLM.from_config(settings, trust_remote_code=False)
    if not read_json(folder / FILE)["tie_word_embeddings"]:  # T5's configuration says that they are tied, whatever came
        head = model.get_output_embeddings()
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
    return _writer(model, tokenizer)


@torch.no_grad()
def _widen(model: Any, first: int, number: int) -> None:
    """Draws vectors of the pieces from ``first`` on, each number from a normal as its column has it among the others.

    The new vectors of transformers all but equal the mean, so the pieces could not be told apart; and T5 has some rows
    behind its own pieces, which nothing was ever trained on.
    """
    read, write = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    # Without this, what T5 1.1 and Flan-T5 write with would be replaced by what they read with, without a word.
    model.config.tie_word_embeddings = read is write
    if number > len(read):
        model.resize_token_embeddings(number, mean_resizing=False)
        read, write = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for weight in (read,) if read is write else (read, write):
        known, new = weight[:first], weight[first:number]
        new.copy_(known.mean(0) + known.std(0) * torch.randn_like(new))


def _writer(model: Any, tokenizer: Any) -> Writer:
    return Writer(model, word_starts(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
