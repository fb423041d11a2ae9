"""Vision models: from a name to a loaded network that turns pixels into one vector an image."""

import json
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmrec.errors import ConfigError, DataError, LlmrecError, nearest
from llmrec.loading.files import ModelFiles, find, repository_of
from llmrec.loading.memory import DTYPES, Precision, fits_on_gpu, require_memory
from llmrec.loading.names import VISION
from llmrec.loading.skeleton import where
from llmrec.loading.weights import require_whole

SHAPES: dict[str, dict[str, Any]] = {
    "resnet-mini": {
        "model_type": "resnet",
        "embedding_size": 32,
        "hidden_sizes": [32, 64, 128, 256],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
    },
    "vit-mini": {
        "model_type": "vit",
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "hidden_dropout_prob": 0.0,
    },
}
"""Models that are trained from nothing, by name."""
PATCHES = 8
"""To a side of the image, of a shape that reads patches."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, for models that do not say their own."""
_SIZE = 224
_FIRST_TOKEN = ("vit", "deit", "vit_mae")
"""Kinds whose vector is the first token; what they call a pooler belongs to a classifier, or there is none."""
_ANY_SIZE = ("dinov2", "dinov2_with_registers")
"""Kinds that interpolate their positions; the size in their config is that of their training's last part."""
_PARTS = {"clip": "vision_config", "siglip": "vision_config"}
"""Kinds that read texts too, and which of their configs is that of the eye."""


class Eye(nn.Module):
    """A vision model that gives each image as a text of one token: its vector, pooled as the model's kind asks.

    A kind without a pooler has its token of the whole image, or else the mean over the places of its last layer.

    Args:
        network: as ``AutoModel`` makes it.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.config = network, network.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self._weight.dtype

    @property
    def _weight(self) -> Tensor:
        return next(self.network.parameters())

    def forward(self, pixel_values: Float[Tensor, "batch 3 size size"]) -> "Seen":
        """One vector an image."""
        return Seen(self.vectors(pixel_values.to(self.dtype))[:, None])

    def vectors(self, values: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch dim"]:
        """The same, without the form of a text."""
        given: dict[str, Tensor] = {}
        if self.config.model_type == "vit_mae":  # it would draw an order of the patches at random
            patches = (values.shape[-1] // self.config.patch_size) ** 2
            given["noise"] = torch.arange(patches, device=values.device).expand(len(values), -1).to(values.dtype)
        output = self.network(pixel_values=values, **given)
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        if self.config.model_type not in _FIRST_TOKEN and pooled is not None:
            return pooled.flatten(1)
        hidden: Tensor | None = getattr(output, "last_hidden_state", None)
        hidden = output.feature_maps[-1] if hidden is None else hidden
        if hidden.ndim == 4:
            return hidden.mean(dim=(2, 3))
        return hidden[:, 0] if self._has_first_token else hidden.mean(dim=1)

    @property
    def _has_first_token(self) -> bool:
        """Whether what stands before the patches is of the image as a whole."""
        return any(name.endswith("cls_token") for name, _ in self.network.named_parameters())


@dataclass(frozen=True)
class Seen:
    """What an :class:`Eye` returns; named as the output of a language model."""

    last_hidden_state: Float[Tensor, "batch 1 dim"]


@dataclass(frozen=True)
class VisionModel:
    """A loaded model; of one from nothing there are no files."""

    model: Eye
    files: ModelFiles | None
    size: int
    """Pixels to a side."""
    mean: tuple[float, ...]
    """By channel, of pixels from 0 to 1, as they were where the model was trained."""
    std: tuple[float, ...]


def check_tuning(name: str, tuning: str) -> None:
    """Refuses to leave weights as they are that nobody trained: they are drawn anew whenever the model is loaded.

    Raises:
        ConfigError: a model from nothing, not all of which learns.
    """
    if name in SHAPES and tuning != "full":
        raise ConfigError(f"{name} has new weights, all of which must learn; take images.tuning=full, came {tuning}")


def check_name(name: str) -> None:
    """Refuses what can be neither a shape nor a pre-trained model.

    Raises:
        ConfigError: with the names that there are.
    """
    if name in SHAPES or Path(name).expanduser().is_dir():
        return
    try:
        repository_of(name)
    except ConfigError:
        known = [*SHAPES, *VISION]
        raise ConfigError(
            f"no model {name!r}{nearest(name, known)} that reads images (have: {', '.join(known)}); besides these: a "
            "hub id (owner/name) or a folder that exists"
        ) from None


def size_of(name: str, asked: int | None) -> int:
    """Pixels to a side that a model is to read.

    Raises:
        ConfigError: the model knows positions for another size alone.
    """
    check_name(name)
    if name in SHAPES:
        return asked or _SIZE
    config = _config(find(name))
    own = getattr(config, "image_size", None)
    own = own[0] if isinstance(own, list | tuple) else own
    if getattr(config, "depths", None) or config.model_type in _ANY_SIZE:
        return asked or (_SIZE if config.model_type in _ANY_SIZE else own or _SIZE)
    if asked and own and asked != own:
        raise ConfigError(f"{name} reads images of {own} pixels a side; leave images.size={asked} out, or set {own}")
    return asked or own or _SIZE


def load_vision(name: str, precision: Precision, size: int | None = None) -> VisionModel:
    """Loads a vision model, or draws a new one of a shape from torch's global generator.

    Args:
        name: one of :data:`SHAPES`, a short name of :data:`llmrec.loading.names.VISION`, a hub id or a folder.
        precision: of weights and of what is computed.
        size: pixels to a side; None: as the model wants.

    Raises:
        ConfigError: no such name, or a size that the model cannot read.
        MemoryLimitError: the weights are larger than the free memory.
        DataError: the files cannot be read as such a model, or the model reads no image of this size alone.
    """
    side = size_of(name, size)
    if name in SHAPES:
        return VisionModel(Eye(_new(name, side)), None, side, _MEAN, _STD)
    files = find(name)
    try:
        network, (mean, std) = _read(files, precision), _normalisation(files)
    except LlmrecError:
        raise
    except Exception as error:  # readers of foreign files fail in more ways than can be listed
        raise DataError(f"{files.path} cannot be read as a vision model: {type(error).__name__}: {error}") from error
    eye = Eye(network.eval().requires_grad_(False))
    _try(eye, files, side)
    return VisionModel(eye.to("cuda") if fits_on_gpu(network) else eye, files, side, mean, std)


@torch.no_grad()
def _try(eye: Eye, files: ModelFiles, side: int) -> None:
    """Raises DataError unless the model makes a vector of one image and nothing else: some want words or masks too."""
    try:
        eye(torch.zeros(1, 3, side, side))
    except Exception as error:  # a foreign model's own
        raise DataError(
            f"{files.path} is a {eye.config.model_type} that gives no vector of an image of {side} x {side} pixels "
            f"({type(error).__name__}: {error}); take another images.size or vision model, such as vit-base"
        ) from error


def _new(name: str, side: int) -> Any:
    from transformers import AutoConfig, AutoModel

    shape = SHAPES[name]
    if "num_hidden_layers" in shape:
        if side % PATCHES:
            raise ConfigError(
                f"{name} cuts images into {PATCHES} x {PATCHES} patches, which images.size={side} is no multiple of"
            )
        shape = shape | {"image_size": side, "patch_size": side // PATCHES}
    return _without_pooler(AutoModel.from_config(AutoConfig.for_model(**shape)))


def _without_pooler(network: Any) -> Any:
    """What no vector comes out of would be saved and never learn."""
    if network.config.model_type in _FIRST_TOKEN and hasattr(network, "pooler"):
        network.pooler = None
    return network


def _read(files: ModelFiles, precision: Precision) -> Any:
    from transformers import AutoModel

    config = _config(files)
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0
    with torch.device("meta"):
        weights = sum(each.numel() for each in AutoModel.from_config(config).parameters())
    require_memory(files.name, weights, precision)
    network, report = AutoModel.from_pretrained(
        config=config, dtype=DTYPES[precision], use_safetensors=True, output_loading_info=True, **where(files)
    )
    require_whole(files.path, network, report)
    if "pixel_values" not in _reads(network):
        raise DataError(f"{files.path} is a {config.model_type}, which reads no images; name a vision model")
    return _without_pooler(network)


def _config(files: ModelFiles) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(**where(files))
    except Exception as error:  # as above
        raise DataError(f"{files.path} cannot be read as a model: {type(error).__name__}: {error}") from error
    return getattr(config, _PARTS[config.model_type]) if config.model_type in _PARTS else config


def _reads(network: Any) -> list[str]:
    return list(signature(network.forward).parameters)


def _normalisation(files: ModelFiles) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel as the model's preprocessor has them."""
    path, of_both = files.path / "preprocessor_config.json", files.path / "processor_config.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not told and of_both.is_file():  # of a model that reads texts too, as newer versions write it
        path, told = of_both, json.loads(of_both.read_text(encoding="utf-8")).get("image_processor", {})
    if told.get("do_rescale") is False or abs((told.get("rescale_factor") or 1 / 255) * 255 - 1) > 1e-3:
        raise DataError(f"{path} asks for pixels of another scale than 0 to 1, which are not made here")
    if told.get("do_normalize") is False:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return tuple(told.get("image_mean") or _MEAN), tuple(told.get("image_std") or _STD)
