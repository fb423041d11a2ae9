"""Weights in safetensors shards, read by the names that a model's modules have."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from llmrec.errors import DataError
from llmrec.runs import read_json

_OLD = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
"""What the first checkpoints of BERT call them."""
_FLOATS = ("F64", "F32", "F16", "BF16")
_IDLE = (r"\.(attn|attention)\.(masked_)?bias$", r"rotary_emb\.inv_freq$", r"relative_position_index$", r"_scale$")
"""What checkpoints keep of every block without need: masks, angles and places, which a model computes by itself, and
the scales (``k_scale``, ``v_scale``) of a quantised cache of keys and values, which no model here has."""


class Shards:
    """Finds every weight of a model before the first one is read.

    A checkpoint may name weights as the model does or below the model's prefix (``model.``, ``bert.``), and tied
    weights by either name.

    Args:
        folder: with the shards.
        model: as ``AutoModel`` makes it, on no device.

    Raises:
        DataError: a shard that cannot be read, or a weight that stands in two.
    """

    def __init__(self, folder: Path, model: nn.Module) -> None:
        self.folder = folder
        self._shapes: dict[str, tuple[Path, list[int]]] = {}
        self._types: dict[str, str] = {}
        for path in _paths(folder):
            self._add(path)
        self._prefix = str(getattr(model, "base_model_prefix", ""))
        self._same: dict[int, list[str]] = {}
        self._ids: dict[str, int] = {}
        for name, weight in model.named_parameters(remove_duplicate=False):
            self._same.setdefault(id(weight), []).append(name)
            self._ids[name] = id(weight)

    def require(self, names: Iterable[str], model: nn.Module) -> None:
        """Raises DataError unless every one of these weights is there in its shape."""
        expected = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
        names = list(names)
        self.require_floats(name for name in names if expected[name].is_floating_point())
        if missing := [name for name in names if self._find(name) is None]:
            raise DataError(f"{self.folder} lacks {len(missing)} weights of its model, such as {missing[0]}")
        for name in names:
            shape = self._shapes[str(self._find(name))][1]
            if list(expected[name].shape) != shape:
                raise DataError(
                    f"{self.folder}: {name} has the shape {shape}, the config says {list(expected[name].shape)}"
                )

    def require_floats(self, names: Iterable[str]) -> None:
        """Raises DataError if one of these weights, where it is there, is a whole or packed number: without its scale,
        which a config for quantised weights tells, it would be read as another."""
        for name in names:
            if (key := self._find(name)) is not None and self._types[key] not in _FLOATS:
                raise DataError(
                    f"{self.folder}: {name} holds {self._types[key]}; only {', '.join(_FLOATS)} can be read, or "
                    "quantised weights with the quantization_config of their config.json"
                )

    def unexpected(self, model: nn.Module) -> list[str]:
        """Keys that are no weight of a model."""
        found = {self._find(name) for name in (*self._ids, *dict(model.named_buffers()))}
        return [key for key in self._shapes if key not in found]

    def read(self, names: Iterable[str], dtype: torch.dtype, room: Tensor | None = None) -> dict[str, Tensor]:
        """Copies of the weights; shards are closed again, since pages that stay mapped count as memory.

        Args:
            names: of the weights.
            dtype: of the copies.
            room: a vector that they are to lie in, one behind the other, as long as :meth:`room_for` says.
        """
        by_shard: dict[Path, list[tuple[str, str]]] = {}
        for name in names:
            key = str(self._find(name))
            by_shard.setdefault(self._shapes[key][0], []).append((name, key))
        weights, start = {}, 0
        for path, wanted in by_shard.items():
            with safe_open(path, framework="pt") as shard:
                for name, key in wanted:
                    given = shard.get_tensor(key)
                    if room is None:
                        weights[name] = given.to(dtype, copy=True)
                    else:
                        weights[name] = room[start : start + given.numel()].view(given.shape).copy_(given)
                        start += _aligned(given.numel())
        return weights

    @staticmethod
    def room_for(weights: Iterable[Tensor]) -> int:
        """Values that a vector must hold for these weights."""
        return sum(_aligned(weight.numel()) for weight in weights)

    def _add(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as shard:
                for key in shard.keys():  # noqa: SIM118 (not a mapping)
                    if key in self._shapes:
                        raise DataError(
                            f"{self.folder}: {key} stands in {self._shapes[key][0].name} and in {path.name}; leave "
                            "only the files of the model there"
                        )
                    part = shard.get_slice(key)
                    self._shapes[key], self._types[key] = (path, part.get_shape()), part.get_dtype()
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path} cannot be read as safetensors: {error}") from None

    def _find(self, name: str) -> str | None:
        same = [name, *self._same.get(self._ids.get(name, 0), [])]
        for known in same:
            old = known
            for new, before in _OLD.items():
                old = old.replace(new, before)
            for key in (known, f"{self._prefix}.{known}", old, f"{self._prefix}.{old}"):
                if key in self._shapes:
                    return key
        return None


def _paths(folder: Path) -> list[Path]:
    """The files that a model's weights are in, as transformers chooses them; beside them others may lie."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        return sorted({folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    return sorted(folder.glob("*.safetensors"))


def require_whole(folder: Path, model: nn.Module, report: Mapping[str, Any]) -> None:
    """Refuses a model that transformers made of other weights than its files hold.

    Args:
        folder: of the files, or a ``.gguf`` file.
        model: as it was loaded.
        report: of loading it, by ``output_loading_info``.

    Raises:
        DataError: a weight that is missing, which would be random; one in the blocks that the model has no place for;
            or whole numbers that no config says the scale of.
    """
    # Only the pooler, which nothing here uses, may be missing.
    if missing := sorted(key for key in report["missing_keys"] if "pooler" not in key):
        raise DataError(f"{folder} lacks {len(missing)} weights of its model, such as {missing[0]}")
    if folder.is_dir() and not read_json(folder / "config.json").get("quantization_config"):
        Shards(folder, model).require_floats(name for name, _ in model.named_parameters())
        require_place(folder, model, report["unexpected_keys"])


def require_place(folder: Path, model: nn.Module, unexpected: Iterable[str]) -> None:
    """Raises DataError if one of the keys that a model does not know is of its blocks; heads and the like stand beside
    these."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    lists = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList))
    idle = re.compile("|".join((*_IDLE, *(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()))))
    forms = {key: (key, f"{prefix}{key}", key.removeprefix(prefix)) for key in unexpected if not idle.search(key)}
    if more := sorted(key for key, names in forms.items() if any(name.startswith(lists) for name in names)):
        raise DataError(
            f"{folder} holds {len(more)} weights of blocks that the model of its config.json has no place for, such as "
            f"{more[0]}; put the config.json there that belongs to the weights"
        )


def require_rows(name: str, model: Any, tokenizer: Any, ids: Iterable[int]) -> None:
    """Raises DataError if one of these tokens has no row in a model's table: its tokenizer is that of another.

    A tokenizer may well know more than the model, such as a mark for images, as long as no text has it. A model without
    such a table takes any token, as CANINE does, which hashes characters.
    """
    try:
        table = getattr(model.get_input_embeddings(), "weight", None)
    except NotImplementedError:
        return
    if table is None or table.dim() != 2:
        return
    rows, largest = len(table), max(ids, default=0)
    if largest >= rows:
        raise DataError(
            f"{name}: the tokenizer reads {tokenizer.convert_ids_to_tokens(largest)!r} as number {largest}, and the "
            f"model has vectors of {rows} tokens; put the tokenizer there that belongs to the weights"
        )


def _aligned(numel: int) -> int:
    """Values up to the next weight, so that each begins at a border of the processor's cache lines."""
    return -(-numel // 64) * 64
