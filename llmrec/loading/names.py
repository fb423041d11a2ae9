"""Language models with a short name: where the hub keeps them, their shape, and which pooling suits them.

A shape is what the model's ``config.json`` says of it, so that its cost can be told before anything is downloaded.
Any other hub id, folder or ``.gguf`` file is as good; it only has no short name.
"""

from dataclasses import dataclass
from typing import Any, Literal

Pooling = Literal["mean", "last", "cls"]


@dataclass(frozen=True)
class Known:
    """One model.

    ``parameters`` counts those of the text encoder alone: no pooler, no head, no decoder of T5.
    """

    repository: str
    parameters: int
    shape: dict[str, Any]
    """Arguments of ``transformers.AutoConfig.for_model``."""
    pooling: Pooling = "mean"
    """What its authors trained it for; of a model not trained to give vectors, the mean tells texts apart best
    (Sentence-BERT, arXiv:1908.10084)."""


def pooling_of(name: str, asked: Pooling | Literal["auto"]) -> Pooling:
    """The pooling asked for; ``auto``: the model's own where its name or hub id is known, else ``mean``."""
    if asked != "auto":
        return asked
    known = [model.pooling for short, model in MODELS.items() if name in (short, model.repository)]
    return known[0] if known else "mean"


def _opt(layers: int, hidden: int, heads: int, **more: Any) -> dict[str, Any]:
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "ffn_dim": 4 * hidden, "num_attention_heads": heads}
    return {"model_type": "opt", "vocab_size": 50272, "word_embed_proj_dim": hidden, **sizes, **more}


def _llama(layers: int, hidden: int, inner: int, heads: int, groups: int, **more: Any) -> dict[str, Any]:
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": inner}
    attention = {"num_attention_heads": heads, "num_key_value_heads": groups}
    return {"model_type": "llama", **sizes, **attention, **more}


def _bert(layers: int, hidden: int, heads: int, **more: Any) -> dict[str, Any]:
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": 4 * hidden}
    return {"model_type": "bert", "num_attention_heads": heads, **sizes, **more}


def _t5(layers: int, hidden: int, inner: int, heads: int, gate: str = "gated-gelu") -> dict[str, Any]:
    sizes = {"num_layers": layers, "d_model": hidden, "d_ff": inner, "num_heads": heads, "d_kv": 64}
    return {"model_type": "t5", "feed_forward_proj": gate, **sizes}


_ROBERTA = {"model_type": "roberta", "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
_GEMMA = {"model_type": "gemma3_text", "vocab_size": 262144, "num_attention_heads": 4, "num_key_value_heads": 1}
_QWEN = {"model_type": "qwen3", "vocab_size": 151936, "num_key_value_heads": 8, "head_dim": 128}
_LLAMA3 = {"vocab_size": 128256}

MODELS = {
    "minilm-l6": Known("sentence-transformers/all-MiniLM-L6-v2", 22_565_376, _bert(6, 384, 12)),
    "bert-base": Known("google-bert/bert-base-uncased", 108_891_648, _bert(12, 768, 12)),
    "bert-large": Known("google-bert/bert-large-uncased", 334_092_288, _bert(24, 1024, 16)),
    "roberta-base": Known("FacebookAI/roberta-base", 124_055_040, _bert(12, 768, 12) | _ROBERTA),
    "roberta-large": Known("FacebookAI/roberta-large", 354_310_144, _bert(24, 1024, 16) | _ROBERTA),
    "bge-small": Known("BAAI/bge-small-en-v1.5", 33_212_160, _bert(12, 384, 12), "cls"),
    "bge-base": Known("BAAI/bge-base-en-v1.5", 108_891_648, _bert(12, 768, 12), "cls"),
    "bge-large": Known("BAAI/bge-large-en-v1.5", 334_092_288, _bert(24, 1024, 16), "cls"),
    "t5-small": Known("google-t5/t5-small", 35_330_816, _t5(6, 512, 2048, 8, "relu")),
    "t5-base": Known("google-t5/t5-base", 109_628_544, _t5(12, 768, 3072, 12, "relu")),
    "flan-t5-small": Known("google/flan-t5-small", 35_332_800, _t5(8, 512, 1024, 6)),
    "flan-t5-base": Known("google/flan-t5-base", 109_628_544, _t5(12, 768, 2048, 12)),
    "flan-t5-large": Known("google/flan-t5-large", 341_231_104, _t5(24, 1024, 2816, 16)),
    "flan-t5-xl": Known("google/flan-t5-xl", 1_223_527_424, _t5(24, 2048, 5120, 32)),
    "flan-t5-xxl": Known("google/flan-t5-xxl", 4_762_310_656, _t5(24, 4096, 10240, 64)),
    "smollm2-135m": Known(
        "HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008, _llama(30, 576, 1536, 9, 3, vocab_size=49152)
    ),
    "smollm2-360m": Known("HuggingFaceTB/SmolLM2-360M", 361_821_120, _llama(32, 960, 2560, 15, 5, vocab_size=49152)),
    "smollm2-1.7b": Known(
        "HuggingFaceTB/SmolLM2-1.7B", 1_711_376_384, _llama(24, 2048, 8192, 32, 32, vocab_size=49152)
    ),
    "gemma-3-270m": Known(
        "google/gemma-3-270m",
        268_098_176,
        {"num_hidden_layers": 18, "hidden_size": 640, "intermediate_size": 2048, "head_dim": 256, **_GEMMA},
    ),
    "gemma-3-1b": Known(
        "google/gemma-3-1b-pt",
        999_885_952,
        {"num_hidden_layers": 26, "hidden_size": 1152, "intermediate_size": 6912, "head_dim": 256, **_GEMMA},
    ),
    "qwen3-0.6b": Known("Qwen/Qwen3-0.6B-Base", 596_049_920, _llama(28, 1024, 3072, 16, 8) | _QWEN),
    "qwen3-1.7b": Known("Qwen/Qwen3-1.7B-Base", 1_720_574_976, _llama(28, 2048, 6144, 16, 8) | _QWEN),
    "qwen3-4b": Known("Qwen/Qwen3-4B-Base", 4_022_468_096, _llama(36, 2560, 9728, 32, 8) | _QWEN),
    "qwen3-8b": Known("Qwen/Qwen3-8B-Base", 7_568_405_504, _llama(36, 4096, 12288, 32, 8) | _QWEN),
    "qwen3-14b": Known("Qwen/Qwen3-14B-Base", 13_990_394_880, _llama(40, 5120, 17408, 40, 8) | _QWEN),
    "qwen3-32b": Known("Qwen/Qwen3-32B", 31_984_210_944, _llama(64, 5120, 25600, 64, 8) | _QWEN),
    "llama-3.2-1b": Known("meta-llama/Llama-3.2-1B", 1_235_814_400, _llama(16, 2048, 8192, 32, 8, **_LLAMA3)),
    "llama-3.2-3b": Known("meta-llama/Llama-3.2-3B", 3_212_749_824, _llama(28, 3072, 8192, 24, 8, **_LLAMA3)),
    "llama-3.1-8b": Known("meta-llama/Llama-3.1-8B", 7_504_924_672, _llama(32, 4096, 14336, 32, 8, **_LLAMA3)),
    "llama-3.1-70b": Known("meta-llama/Llama-3.1-70B", 69_503_033_344, _llama(80, 8192, 28672, 64, 8, **_LLAMA3)),
    "mistral-7b": Known(
        "mistralai/Mistral-7B-v0.3",
        7_113_805_824,
        _llama(32, 4096, 14336, 32, 8, vocab_size=32768) | {"model_type": "mistral", "sliding_window": None},
    ),
    "opt-125m": Known("facebook/opt-125m", 125_239_296, _opt(12, 768, 12)),
    # The only OPT with its norms behind the sub-layers and embeddings of another width.
    "opt-350m": Known(
        "facebook/opt-350m", 331_196_416, _opt(24, 1024, 16, word_embed_proj_dim=512, do_layer_norm_before=False)
    ),
    "opt-1.3b": Known("facebook/opt-1.3b", 1_315_758_080, _opt(24, 2048, 32)),
    "opt-2.7b": Known("facebook/opt-2.7b", 2_651_596_800, _opt(32, 2560, 32)),
    "opt-6.7b": Known("facebook/opt-6.7b", 6_658_473_984, _opt(32, 4096, 32)),
    "opt-13b": Known("facebook/opt-13b", 12_853_473_280, _opt(40, 5120, 40)),
    "opt-30b": Known("facebook/opt-30b", 29_974_540_288, _opt(48, 7168, 56)),
    "opt-66b": Known("facebook/opt-66b", 65_719_701_504, _opt(64, 9216, 72)),
    # Handed out by Meta on request: no hub repository, only a folder can be loaded.
    "opt-175b": Known("", 174_604_468_224, _opt(96, 12288, 96)),
}

VISION = {
    "resnet-18": "microsoft/resnet-18",
    "resnet-50": "microsoft/resnet-50",
    "vit-base": "google/vit-base-patch16-224-in21k",
    "vit-mae-base": "facebook/vit-mae-base",
    "beit-base": "microsoft/beit-base-patch16-224-pt22k",
    "swin-tiny": "microsoft/swin-tiny-patch4-window7-224",
    "swin-base": "microsoft/swin-base-patch4-window7-224-in22k",
    "clip-base": "openai/clip-vit-base-patch32",
    "dinov2-small": "facebook/dinov2-small",
}
"""Pre-trained vision models with a short name, and where the hub keeps them."""
