"""Conure's masks: which task owns each weight of a network's kernels."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor, nn
from torch.nn.utils import parametrize

from llmrec.errors import ConfigError, RunError
from llmrec.optimizer import learned_weight

FREE = 0
"""Owner of a weight that no task has taken; task ``number`` owns as ``number + 1``."""


class Masks:
    """Owners of all kernels of a trunk: the weights of its convolutions and linear layers.

    Each weight has one owner, so no two tasks share one. Layers read their kernels through the masks from now on; which
    weights they see and which of these learn is said by :meth:`train`, :meth:`retrain` and :meth:`recall`.

    Args:
        trunk: changed in place.

    Raises:
        ConfigError: it has no such layer.
    """

    def __init__(self, trunk: nn.Module) -> None:
        layers = [each for each in trunk.modules() if isinstance(each, nn.Conv1d | nn.Linear)]
        if not layers or any(isinstance(each, nn.RNNBase) for each in trunk.modules()):
            raise ConfigError(
                f"masks lie on convolutions and linear layers, which are not what {type(trunk).__name__} is made of; "
                "take --head nextitnet or sasrec, or a method without masks, such as full"
            )
        self.kernels = [_Kernel(layer) for layer in layers]

    @classmethod
    def of(cls, trunk: nn.Module) -> "Masks":
        """Those that a trunk has already."""
        masks = cls.__new__(cls)
        masks.kernels = [each for each in trunk.modules() if isinstance(each, _Kernel)]
        return masks

    @property
    def weights(self) -> list[nn.Parameter]:
        """The kernels, as the optimizer meets them."""
        return [kernel.weight() for kernel in self.kernels]

    @property
    def num_free(self) -> int:
        """Weights that no task owns."""
        return sum(int((kernel.owner == FREE).sum()) for kernel in self.kernels)

    def num_owned(self, number: int) -> int:
        """Weights that a task owns."""
        return sum(int((kernel.owner == number + 1).sum()) for kernel in self.kernels)

    def train(self, number: int) -> Callable[[], None]:
        """Lets free weights learn beside those of earlier tasks, which are seen and stay.

        Returns:
            What is to be called after each step.

        Raises:
            RunError: nothing is free.
        """
        if not self.num_free:
            raise RunError(
                f"no weight is free for task {number}: earlier tasks own them all. Prune more (method.prune), "
                "begin with a larger network (embedding_dim, head.num_layers), or leave out a task"
            )
        return self._show(number - 1, free=True, learns=FREE)

    def prune(self, number: int, share: float) -> None:
        """Gives a task the largest of the free weights, kernel by kernel, and leaves ``share`` of them free.

        Of equal weights the first are taken, so the quota is met exactly.

        Raises:
            RunError: the quota is nothing.
        """
        for kernel in self.kernels:
            free = (kernel.owner.flatten() == FREE).nonzero()[:, 0]
            size = kernel.weight().detach().flatten()[free].abs()
            taken = free[size.argsort(descending=True, stable=True)[: round((1 - share) * len(free))]]
            kernel.owner.view(-1)[taken] = number + 1
        if not self.num_owned(number):
            raise RunError(
                f"pruning {share:g} of {self.num_free} free weights leaves task {number} with none; prune less "
                "(method.prune) or begin with a larger network (embedding_dim, head.num_layers)"
            )

    def retrain(self, number: int) -> Callable[[], None]:
        """Lets the task's own weights learn; those of later tasks and free ones are not seen.

        Returns:
            What is to be called after each step.
        """
        return self._show(number, free=False, learns=number + 1)

    def recall(self, number: int) -> None:
        """Shows what the task was learned with: its own weights and those of earlier tasks."""
        self._show(number, free=False, learns=None)

    def packed(self, number: int) -> UInt8[Tensor, " bytes"]:
        """What a task owns, a bit for each weight."""
        bits = np.concatenate([(kernel.owner == number + 1).cpu().numpy().ravel() for kernel in self.kernels])
        return torch.from_numpy(np.packbits(bits))

    def unpack(self, number: int, packed: UInt8[Tensor, " bytes"]) -> None:
        """Gives a task what :meth:`packed` told."""
        bits, start = torch.from_numpy(np.unpackbits(packed.numpy())).bool(), 0
        for kernel in self.kernels:
            own = bits[start : start + kernel.owner.numel()].view(kernel.owner.shape).to(kernel.owner.device)
            kernel.owner[own] = number + 1
            start += kernel.owner.numel()

    def capacity(self) -> dict[str, Any]:
        """Share of the weights that each task owns, by its number, and the share that is free."""
        total = sum(kernel.owner.numel() for kernel in self.kernels)
        last = max(int(kernel.owner.max()) for kernel in self.kernels)
        return {
            "owned": {str(number): self.num_owned(number) / total for number in range(last)},
            "free": self.num_free / total,
        }

    def _show(self, upto: int, free: bool, learns: int | None) -> Callable[[], None]:
        for kernel in self.kernels:
            kernel.show(upto, free, learns)
        held = list(self._held())

        def hold() -> None:
            """An optimizer with decay or momentum moves weights whose gradient is nothing."""
            with torch.no_grad():
                for kernel, value in held:
                    kernel.weight().copy_(torch.where(kernel.learning(), kernel.weight(), value))

        return hold

    def _held(self) -> "Iterator[tuple[_Kernel, Tensor]]":
        for kernel in self.kernels:
            yield kernel, kernel.weight().detach().clone()


class _Kernel(nn.Module):
    """The weight of a layer as the layer reads it: some of it hidden, some of it without a gradient."""

    owner: Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight = layer.weight
        assert isinstance(weight, nn.Parameter)
        self.register_buffer("owner", torch.zeros_like(weight, dtype=torch.uint8))
        self.show(-1, True, FREE)
        parametrize.register_parametrization(layer, "weight", self)
        self._layer = [layer]  # in a list, so that it is no module of its own module

    def weight(self) -> nn.Parameter:
        """All of it, hidden or not."""
        return learned_weight(self._layer[0])

    def show(self, upto: int, free: bool, learns: int | None) -> None:
        """Which weights are seen, by the number of their tasks, and which owner's learn."""
        self._upto, self._free, self._learns = upto, free, learns

    def learning(self) -> Bool[Tensor, "..."]:
        """Which weights do."""
        return (
            self.owner == self._learns if self._learns is not None else torch.zeros_like(self.owner, dtype=torch.bool)
        )

    def forward(self, weight: Tensor) -> Tensor:
        seen = (self.owner > FREE) & (self.owner <= self._upto + 1)
        if self._free:
            seen = seen | (self.owner == FREE)
        return torch.where(seen, torch.where(self.learning(), weight, weight.detach()), 0.0)
