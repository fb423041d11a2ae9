"""Where the language model of a run comes from: a shape with new weights, a pre-trained model, or a run's folder."""

from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llmrec import loading
from llmrec.errors import ConfigError, DataError, RunError, nearest
from llmrec.generative import additions
from llmrec.generative.causal_writer import CausalWriter
from llmrec.generative.vocabulary import keep_whole, word_starts
from llmrec.generative.writer import Writer
from llmrec.item_ids import ItemIds
from llmrec.options import P5Options
from llmrec.runs import read_json, write_text

SHAPES: dict[str, dict[str, Any]] = {
    "t5-tiny": {"model_type": "t5", "d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 2, "num_heads": 4},
    "t5-mini": {"model_type": "t5", "d_model": 192, "d_kv": 48, "d_ff": 384, "num_layers": 2, "num_heads": 4},
    "llama-tiny": {
        "model_type": "llama",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "tie_word_embeddings": True,
    },
}
"""Models that are trained from nothing, by name."""
LIKE_T5 = ("t5", "mt5", "umt5")
"""Architectures that know positions by their distance alone, as :meth:`Writer.beginnings` wants it."""
AnyWriter = Writer | CausalWriter
FILE = "language_model/config.json"
"""The language model's own configuration in the folder of a run."""
_NEVER_WRITE = ("bert", "roberta")


def check_name(name: str) -> None:
    """Refuses what can be neither a shape nor a pre-trained model.

    Raises:
        ConfigError: with the names that there are.
    """
    if name not in SHAPES and not Path(name).expanduser().is_dir():
        try:
            loading.repository_of(name)
        except ConfigError:
            known = [short for short, each in loading.MODELS.items() if each.shape["model_type"] not in _NEVER_WRITE]
            raise ConfigError(
                f"no model {name!r} that writes names{nearest(name, [*SHAPES, *known])}; besides these: a hub id "
                "(owner/name) or a folder that exists"
            ) from None


def from_shape(name: str, tokenizer: Any) -> AnyWriter:
    """A new model of a shape of the table, its weights drawn from torch's global generator."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    own = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    settings = AutoConfig.for_model(**SHAPES[name], **own)
    if not settings.is_encoder_decoder:
        return _writer(AutoModelForCausalLM.from_config(settings), tokenizer)
    settings.decoder_start_token_id = tokenizer.pad_token_id
    settings.dropout_rate = 0.0  # it is small and sees hardly an example twice
    return _writer(AutoModelForSeq2SeqLM.from_config(settings), tokenizer)


def pretrained(name: str, ids: ItemIds, options: P5Options) -> tuple[AnyWriter, Any]:
    """A pre-trained model and its tokenizer, which keeps the pieces of the items' names whole.

    The vectors of words begin with zeros, unlike those of a shape: so the model begins as what it was trained to be, to
    the bit, whatever the spread of its own embeddings, and a row that is added to others learns from zero as well as
    from anywhere.

    Args:
        name: a short name, a hub id or a folder.
        ids: names of the items.
        options: how it is in memory, and whether additions learn in its place.

    Raises:
        ConfigError: no such name, or bitsandbytes is wanted and not installed.
        AssetError: neither cached nor reachable.
        DataError: neither like T5 nor a decoder alone, files that cannot be read, or a tokenizer of an encoder that
            does not tell where words begin.
    """
    model, tokenizer = _load(loading.find(name), options)
    first = len(tokenizer)
    keep_whole(tokenizer, ids)
    return _begun(model, tokenizer, first, name, options), tokenizer


def keep(writer: AnyWriter, folder: Path) -> None:
    """Writes what the run's folder needs besides the weights: the language model's configuration, or its additions."""
    if hasattr(writer, "adapted"):
        additions.save(writer, folder)
        return
    (folder / FILE).parent.mkdir(exist_ok=True)
    write_text(folder / FILE, writer.model.config.to_json_string(use_diff=False))


def restored(folder: Path, name: str, options: P5Options, tokenizer: Any) -> AnyWriter:
    """The writer of a run's folder, its weights not yet those of the run.

    Raises:
        AssetError: the model that its additions belong to is neither cached nor reachable.
        RunError: that one is of another revision now.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if options.lora is not None:
        files = loading.find(name)
        if (then := read_json(folder / "metrics.json")["provenance"]["revision"]) != files.revision:
            raise RunError(f"{folder} has additions to revision {then} of {name}; here is {files.revision}")
        model, own = _load(files, options)
        return _begun(model, tokenizer, len(own), name, options)
    if name in SHAPES and not (folder / FILE).exists():  # runs of shapes were saved without it once
        return from_shape(name, tokenizer)
    settings = AutoConfig.from_pretrained((folder / FILE).parent, local_files_only=True, trust_remote_code=False)
    kind = AutoModelForSeq2SeqLM if settings.is_encoder_decoder else AutoModelForCausalLM
    model = kind.from_config(settings, trust_remote_code=False)
    if not read_json(folder / FILE)["tie_word_embeddings"]:  # T5's configuration says that they are tied, whatever came
        head = model.get_output_embeddings()
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
    return _writer(model, tokenizer)


def _load(files: loading.ModelFiles, options: P5Options) -> tuple[Any, Any]:
    if not loading.reads_apart(files):
        model, tokenizer = loading.load_writer(files, options.precision, options.loading)
        if tokenizer.pad_token_id == tokenizer.eos_token_id:  # an end would be taken for nothing
            others = (tokenizer.unk_token, tokenizer.bos_token)
            own = next((each for each in others if each not in (None, tokenizer.eos_token)), "<pad>")
            tokenizer.add_special_tokens({"pad_token": own})
        return model, tokenizer
    if (options.loading, options.precision) != ("resident", "fp32"):
        raise ConfigError(f"{files.name} has an encoder; take p5.loading=resident and p5.precision=fp32")
    model, tokenizer = loading.load_seq2seq(files, LIKE_T5)
    if not any(word_starts(tokenizer)):
        raise DataError(
            f"{files.path}: no piece of the tokenizer begins with '\u2581', so nothing tells where a word begins, and "
            "P5 counts words; take a model whose pieces are SentencePiece's, such as flan-t5-small"
        )
    if getattr(model.config, "decoder_start_token_id", None) is None:
        model.config.decoder_start_token_id = tokenizer.pad_token_id  # as of every T5
    return model, tokenizer


def _begun(model: Any, tokenizer: Any, first: int, name: str, options: P5Options) -> AnyWriter:
    """With vectors for the pieces from ``first`` on, and its additions."""
    _require_places(model, name)
    _widen(model, first, len(tokenizer))
    model.pretrained = True  # the optimizer asks
    writer = _writer(model, tokenizer)
    if isinstance(writer, Writer):
        nn.init.zeros_(writer.words.weight)
    if options.lora is not None:
        additions.add(writer, options.lora, range(first, len(tokenizer)), name)
    return writer


def _require_places(model: Any, name: str) -> None:
    """Raises DataError unless the model knows a place by its number, and sees of others what a mask lets it see."""
    config = model.config.get_text_config()
    if config.is_encoder_decoder:
        return
    goes_on = getattr(model, "_is_stateful", False) or "conv" in (getattr(config, "layer_types", None) or ())
    numbered = "position_ids" in signature(model.forward).parameters and not getattr(config, "alibi", False)
    if goes_on or not numbered:
        why = "passes a state from piece to piece" if goes_on else "counts places itself, padding included"
        raise DataError(
            f"{name} ({config.model_type}) {why}, so what it says of a name would depend on what stands beside it; "
            "take a model of attention over numbered places, such as SmolLM2, OPT, Llama or Qwen3"
        )


@torch.no_grad()
def _widen(model: Any, first: int, number: int) -> None:
    """Draws vectors of the pieces from ``first`` on, each number from a normal as its column has it among the others.

    The new vectors of transformers all but equal the mean, so the pieces could not be told apart; and T5 has some rows
    behind its own pieces, which nothing was ever trained on.
    """
    read, write = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    # Without this, what T5 1.1 and Flan-T5 write with would be replaced by what they read with, without a word.
    model.config.tie_word_embeddings = read is write
    rows = min(first, len(read))
    if number > len(read):  # some models have rows to spare
        model.resize_token_embeddings(number, mean_resizing=False)
        read, write = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for weight in (read,) if read is write else (read, write):
        known, new = weight[:rows], weight[first:number]
        weight[rows:first] = known.mean(0)  # a padding that the model had not: as likely as the others are on average
        new.copy_(known.mean(0) + known.std(0) * torch.randn_like(new))


def _writer(model: Any, tokenizer: Any) -> AnyWriter:
    end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
    if model.config.is_encoder_decoder:
        return Writer(model, word_starts(tokenizer), end, padding)
    line = tokenizer("\n", add_special_tokens=False)["input_ids"]
    start = line[-1] if line and line[-1] != tokenizer.unk_token_id else end
    whole, plain = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    return CausalWriter(model, start, end, padding, whole[: whole.index(plain[0])])
