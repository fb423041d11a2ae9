"""Matrix products in bf16 on CPUs that have no instructions for it."""

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
    """Has bf16 products run at the speed of fp32 where the CPU has no instructions for them; else changes nothing.

    torch's own take a hundred times longer there, and most laptops are so. Can decorate a function too.
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
        if func not in PRODUCTS or args[0].device.type != "cpu":
            return func(*args, **kwargs or {})
        rounds = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if not rounds and all(not isinstance(each, Tensor) or each.dtype != torch.bfloat16 for each in args):
            return func(*args, **kwargs or {})
        with torch.autocast("cpu", enabled=False):
            named = {name: _rounded(each) for name, each in (kwargs or {}).items()}
            return func(*map(_rounded, args), **named).bfloat16()


def _rounded(argument: Any) -> Any:
    return argument.bfloat16().float() if isinstance(argument, Tensor) else argument
