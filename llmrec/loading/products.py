"""Matrix products in bf16 on CPUs that have no instructions for it (AVX2)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

PRODUCTS = (F.linear, torch.addmm, torch.bmm, torch.matmul, Tensor.matmul, Tensor.__matmul__)


@contextmanager
def quick_products() -> Iterator[None]:
    """Has linear layers and matrix products in bf16 run at the speed of fp32 on CPUs with AVX2 only.

    torch's own take a hundred times longer there, and many laptops are so. Where a weight learns, its fp32 form is kept
    until the way back. Elsewhere nothing changes. Can decorate a function too.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        yield
        return
    with WideProducts():
        yield


class WideProducts(TorchFunctionMode):
    """Products of bf16 on the CPU are computed in fp32 and rounded at the end, as hardware does; so are autocast's."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called in place of every function of torch."""
        kwargs = kwargs or {}
        if func not in PRODUCTS or not _is_rough([*args, *kwargs.values()]) or "out" in kwargs:
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            named = {name: _rounded(each) for name, each in kwargs.items()}
            return func(*map(_rounded, args), **named).bfloat16()


def _is_rough(arguments: list[Any]) -> bool:
    """Whether torch would compute a product of these in bf16 on the CPU."""
    tensors = [each for each in arguments if isinstance(each, Tensor)]
    kinds, devices = {each.dtype for each in tensors}, {each.device.type for each in tensors}
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return devices == {"cpu"} and kinds <= ({torch.bfloat16, torch.float32} if autocast else {torch.bfloat16})


def _rounded(argument: Any) -> Any:
    return argument.bfloat16().float() if isinstance(argument, Tensor) else argument
