"""Attention and feed-forward networks of a language model's blocks, found by running it."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.loading.blocks import block_list

_ATTENTION = re.compile("attn|attention", re.IGNORECASE)


class SubLayer(NamedTuple):
    """The attention or the feed-forward network of a block, what stands around it such as norms left out."""

    first: nn.Module
    """The linear layer that reads what enters."""
    last: nn.Module
    """The linear layer that gives what goes to the residual sum."""
    dim: int
    """Width of either."""

    def adapt(self, adapter: nn.Module) -> None:
        """From now on an adapter takes what the sub-layer gave and what entered it, and gives what goes on instead.

        The adapter computes in the precision of its own weights, which the model's may not have.
        """
        entered: list[Tensor] = []

        def enter(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            entered[:] = given[:1]

        def leave(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            adapted: Tensor = adapter(output.float(), entered.pop().float())
            return adapted.to(output.dtype)

        self.first.register_forward_pre_hook(enter)
        self.last.register_forward_hook(leave)


class _Call(NamedTuple):
    layer: nn.Module
    read: torch.Size
    gave: torch.Size


def sub_layers(encoder: Any, run: Callable[[], object]) -> list[dict[str, SubLayer]]:
    """The two sub-layers of every block, ``attention`` and ``feed_forward``.

    In the order of their calls, the first linear layer of a sub-layer reads what enters, and the last one whose output
    has the same shape gives what leaves. Those of the attention stand below a module that is called so.

    Args:
        encoder: the model.
        run: runs the model.

    Raises:
        ConfigError: a block has no such layers; some mixtures of experts have none.
    """
    _, blocks = block_list(encoder)
    calls: list[dict[str, list[_Call]]] = [{"attention": [], "feed_forward": []} for _ in blocks]
    handles = []
    for block, called in zip(blocks, calls, strict=True):
        for name, layer in block.named_modules():
            if _is_linear(layer):
                part = called["attention" if _ATTENTION.search(name) else "feed_forward"]
                handles.append(layer.register_forward_hook(partial(_note, part)))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    model = type(encoder).__name__
    return [{part: _ends(some, part, model) for part, some in called.items()} for called in calls]


def _is_linear(layer: nn.Module) -> bool:
    """Whether it multiplies by a matrix, whatever its class: GPT-2's are transposed, quantised ones are packed."""
    weight = getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() == 2 and not isinstance(layer, nn.Embedding)


def _note(calls: list[_Call], layer: nn.Module, given: tuple[Tensor, ...], output: object) -> None:
    if isinstance(output, Tensor):  # the router of a mixture of experts gives several
        calls.append(_Call(layer, given[0].shape, output.shape))


def _ends(calls: list[_Call], part: str, model: str) -> SubLayer:
    first = calls[0] if calls else None
    last = next((call for call in reversed(calls[1:]) if call.gave == calls[0].read), None)
    if first is None or last is None:
        raise ConfigError(
            f"no linear layer of a block of {model} gives what leaves its {part.replace('_', '-')} network, so no "
            "adapter can stand behind it; take --tuning lora, or frozen"
        )
    return SubLayer(first.layer, last.layer, first.read[-1])
