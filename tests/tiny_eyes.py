"""Vision models small enough for a test: real transformers classes with random weights, saved as the hub has them."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BeitConfig,
    BeitModel,
    CLIPConfig,
    CLIPModel,
    ConvNextConfig,
    ConvNextModel,
    Data2VecVisionConfig,
    Data2VecVisionModel,
    Dinov2Config,
    Dinov2Model,
    IJepaConfig,
    IJepaModel,
    PvtConfig,
    PvtModel,
    ResNetConfig,
    ResNetModel,
    SegformerConfig,
    SegformerModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTMAEConfig,
    ViTMAEModel,
    ViTModel,
    ViTMSNConfig,
    ViTMSNModel,
)
from transformers.utils import logging

logging.disable_progress_bar()

SIZE = 16
_BLOCKS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_PATCHES = _BLOCKS | {"image_size": SIZE, "patch_size": 4, "initializer_range": 0.2}
_STAGES: dict[str, Any] = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "hidden_sizes": [8, 16],
    "patch_sizes": [4, 2],
    "strides": [4, 2],
    "sr_ratios": [2, 1],
    "initializer_range": 0.2,
}
_TEXT = _BLOCKS | {"vocab_size": 20}

ARCHITECTURES = {
    "beit": (BeitModel, BeitConfig(**_PATCHES)),
    "data2vec-vision": (Data2VecVisionModel, Data2VecVisionConfig(**_PATCHES)),
    "ijepa": (IJepaModel, IJepaConfig(**_PATCHES)),
    "vit_msn": (ViTMSNModel, ViTMSNConfig(**_PATCHES)),
    "pvt": (
        PvtModel,
        PvtConfig(
            image_size=SIZE, sequence_reduction_ratios=[2, 1], num_attention_heads=[1, 2], mlp_ratios=[2, 2], **_STAGES
        ),
    ),
    "segformer": (SegformerModel, SegformerConfig(num_attention_heads=[1, 2], mlp_ratios=[2, 2], **_STAGES)),
    "clip": (CLIPModel, CLIPConfig(vision_config=_PATCHES, text_config=_TEXT, projection_dim=8)),
    "convnext": (ConvNextModel, ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, patch_size=2)),
    "dinov2": (Dinov2Model, Dinov2Config(**_PATCHES)),
    "resnet": (
        ResNetModel,
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    ),
    "swin": (
        SwinModel,
        SwinConfig(image_size=SIZE, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4),
    ),
    "vit": (ViTModel, ViTConfig(**_PATCHES)),
    "vit_mae": (ViTMAEModel, ViTMAEConfig(**_PATCHES)),
}

_FOLDER = tempfile.TemporaryDirectory(prefix="tiny-eyes-")


@cache
def folder(kind: str) -> Path:
    """Where the model of that kind is saved; not to be changed."""
    place = Path(_FOLDER.name) / kind
    architecture, config = ARCHITECTURES[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        architecture(config).save_pretrained(place)
    told = {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5]}
    (place / "preprocessor_config.json").write_text(json.dumps(told), encoding="utf-8")
    return place
