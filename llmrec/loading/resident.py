"""A language model that is in memory as a whole, or spread over devices by accelerate."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from llmrec.loading.blocks import block_list
from llmrec.loading.products import quick_products

Batch = dict[str, Tensor]


class Resident:
    """Batches pass the model one after another.

    Args:
        encoder: as ``AutoModel`` makes it, or its text encoder.
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.encoder.config.use_cache = False

    @torch.no_grad()
    def last_hidden_states(self, batches: list[Batch], progress: Callable[[int, int], None]) -> Iterator[Tensor]:
        """Hidden states behind the last block, batch by batch."""
        for number, batch in enumerate(batches, 1):
            yield self._run(batch).last_hidden_state.cpu()
            progress(number, len(batches))

    @torch.no_grad()
    def entering(self, index: int, batches: list[Batch], progress: Callable[[int, int], None]) -> Iterator[Tensor]:
        """Hidden states that enter a block, batch by batch; neither it nor what stands behind it runs."""
        entered: list[Tensor] = []

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entered.append(args[0] if args else kwargs["hidden_states"])
            raise _Entered

        handle = block_list(self.encoder)[1][index].register_forward_pre_hook(enter, with_kwargs=True)
        try:
            for number, batch in enumerate(batches, 1):
                try:
                    self._run(batch)
                except _Entered:
                    yield entered.pop().cpu()
                progress(number, len(batches))
        finally:
            handle.remove()

    def keep(self, number: int) -> None:
        """Lets all blocks go but the first and the last so many."""
        for block in block_list(self.encoder)[1][1:-number]:
            block.to("meta")

    def _run(self, batch: Batch) -> Any:
        device = self.encoder.device if self.encoder.device.type != "meta" else "cpu"  # there what is spread begins
        with quick_products():
            return self.encoder(**{key: value.to(device) for key, value in batch.items()})


class _Entered(Exception):
    """The block is reached."""
