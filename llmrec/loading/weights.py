"""Weights in safetensors shards, read by the names that a model's modules have."""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from llmrec.errors import DataError

_OLD = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
"""What the first checkpoints of BERT call them."""
_FLOATS = ("F32", "F16", "BF16")


class Shards:
    """Finds every weight of a model before the first one is read.

    A checkpoint may name weights as the model does or below the model's prefix (``model.``, ``bert.``), and tied
    weights by either name.

    Args:
        folder: with the shards.
        model: as ``AutoModel`` makes it, on no device.

    Raises:
        DataError: a shard that cannot be read, a weight that no shard holds or one of another shape.
    """

    def __init__(self, folder: Path, model: nn.Module) -> None:
        self.folder = folder
        self._shapes: dict[str, tuple[Path, list[int]]] = {}
        self._types: dict[str, str] = {}
        for path in sorted(folder.glob("*.safetensors")):
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
        if missing := [name for name in names if self._find(name) is None]:
            raise DataError(f"{self.folder} lacks {len(missing)} weights of its model, such as {missing[0]}")
        for name in names:
            key = str(self._find(name))
            if self._types[key] not in _FLOATS and expected[name].is_floating_point():
                raise DataError(
                    f"{self.folder}: {name} holds {self._types[key]}; only {', '.join(_FLOATS)} can be read"
                )
            shape = self._shapes[key][1]
            if list(expected[name].shape) != shape:
                raise DataError(
                    f"{self.folder}: {name} has the shape {shape}, the config says {list(expected[name].shape)}"
                )

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


def _aligned(numel: int) -> int:
    """Values up to the next weight, so that each begins at a border of the processor's cache lines."""
    return -(-numel // 64) * 64
