"""Language models small enough for a test: real transformers classes, random weights, a word-level tokenizer."""

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    Gemma3TextConfig,
    Gemma3TextModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    OPTConfig,
    OPTModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)
from transformers.utils import logging

from llmrec import loading
from llmrec.tuning import TextSource

logging.disable_progress_bar()

WORDS = [
    *("Toy", "Story", "Heat", "Who", "are", "you", "?", "Joe", "Biden", "is", "the", "president", "of", "Film"),
    *("Comedy", "Drama", "War", "Alien", "Aliens", "Seven", "Samurai", "(", ")", ",", "."),
    *(str(number) for number in range(200)),
]
_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_GROUPED = {"num_key_value_heads": 1, "head_dim": 8}
_OPT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32, "init_std": 0.2}
_SPECIAL = ["<pad>", "</s>", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = len(_SPECIAL) + len(WORDS)
POSITIONS = 160
_COMMON = {"vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS}

ARCHITECTURES = {
    "bert": (BertModel, BertConfig(**_COMMON, **_SIZES, initializer_range=0.2)),
    "roberta": (RobertaModel, RobertaConfig(**_COMMON, **_SIZES, initializer_range=0.2, pad_token_id=0)),
    "t5": (
        T5Model,
        T5Config(
            vocab_size=VOCABULARY,
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            initializer_factor=0.5,
        ),
    ),
    "opt": (OPTModel, OPTConfig(**_COMMON, **_OPT, word_embed_proj_dim=16)),
    # OPT-350m alone has its norms behind the sub-layers and a projection between embeddings and layers.
    "opt-350m": (OPTModel, OPTConfig(**_COMMON, **_OPT, word_embed_proj_dim=8, do_layer_norm_before=False)),
    "llama": (LlamaModel, LlamaConfig(**_COMMON, **_SIZES, initializer_range=0.2)),
    "qwen3": (Qwen3Model, Qwen3Config(**_COMMON, **_SIZES, **_GROUPED, initializer_range=0.2)),
    # Six of seven blocks see a window of the text only: their masks and position embeddings are of their own.
    "gemma3": (
        Gemma3TextModel,
        Gemma3TextConfig(
            **_COMMON, **_SIZES | {"num_hidden_layers": 7}, **_GROUPED, sliding_window=4, initializer_range=0.2
        ),
    ),
    "gpt2": (
        GPT2Model,
        GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=POSITIONS, initializer_range=0.2),
    ),
}
"""LLaMA and GPT-2 come without a padding token and add no special tokens; OPT puts </s> first; BERT and RoBERTa have
both ends."""

_FOLDER = tempfile.TemporaryDirectory(prefix="tiny-models-")


@cache
def folder(kind: str) -> Path:
    """Where the model of that kind is saved; not to be changed, see :func:`copy`."""
    place = Path(_FOLDER.name) / kind
    architecture, config = ARCHITECTURES[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        architecture(config).save_pretrained(place)
    _tokenizer(kind).save_pretrained(place)
    return place


@cache
def writer(kind: str, template: str | None = None) -> Path:
    """Where a model of that kind with a head that writes is saved; with a chat template it takes messages."""
    place = Path(tempfile.mkdtemp(prefix=f"{kind}-writer-", dir=_FOLDER.name))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(ARCHITECTURES[kind][1]).save_pretrained(place)
    tokenizer = _tokenizer(kind)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(place)
    return place


def files(kind: str) -> loading.ModelFiles:
    return loading.find(str(folder(kind)))


@cache
def loaded(kind: str, precision: loading.Precision = "fp32") -> loading.LanguageModel:
    return loading.load(files(kind), precision)


def copy(kind: str, to: Path, **config: object) -> Path:
    """A copy to change, with these entries of ``config.json``."""
    shutil.copytree(folder(kind), to)
    path = to / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | config), encoding="utf-8")
    return to


def snapshot(kind: str, cache_folder: Path, repository: str, commit: str, ref: str = "main") -> Path:
    """A copy in the layout of the hub's cache."""
    place = cache_folder / f"models--{repository.replace('/', '--')}"
    (place / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
    (place / "refs" / ref).write_text(commit, encoding="utf-8")
    return copy(kind, place / "snapshots" / commit)


def _tokenizer(kind: str) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(WORDS, trainers.WordLevelTrainer(special_tokens=_SPECIAL))
    special = {"unk_token": "[UNK]", "eos_token": "</s>"}
    if kind in ("bert", "roberta"):
        ends = [("[CLS]", words.token_to_id("[CLS]")), ("[SEP]", words.token_to_id("[SEP]"))]
        words.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
        special |= {"pad_token": "<pad>", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if kind.startswith("opt"):
        start = [("</s>", words.token_to_id("</s>"))]
        words.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=start)
        special |= {"pad_token": "<pad>", "bos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


def source(
    vectors: Callable[[], torch.Tensor], texts: list[str] | None = None, kind: str = "llama", how: str = "resident"
) -> TextSource:
    """What a tuning makes its trunk of: the model is read from its files, since a tuning may change it."""
    load = lambda way: loading.load(files(kind), "fp32", way)
    return TextSource(vectors, texts or ["", "Heat"], load, how, "mean", "fp32", 150)
