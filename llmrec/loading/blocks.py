"""The transformer blocks of a language model, taken apart through public modules alone.

A model is run with stand-ins for its blocks. Each keeps what its block would have been called with (masks and position
embeddings may differ from block to block, as in Gemma) and hands the hidden states on; the true blocks are then called
with the same arguments, whenever it suits.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

from llmrec.errors import DataError


class Call(NamedTuple):
    """What a block is called with besides the hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def of(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """The block's hidden states for these arguments."""
        return states(block(hidden, *self.args, **self.kwargs))


def states(output: Any) -> Tensor:
    """Hidden states in what a block returns: a tensor, or a tuple that begins with one."""
    first: Tensor = output[0] if isinstance(output, tuple) else output
    return first


def block_list(model: Any) -> tuple[str, nn.ModuleList]:
    """Name and list of a model's blocks.

    Raises:
        DataError: no list of as many modules as the config has blocks, or no block.
    """
    number = int(model.config.num_hidden_layers)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == number > 0:
            return name, module
    raise DataError(f"{type(model).__name__} has no list of {number} blocks, so it cannot be taken apart")


class StandIns:
    """Puts a stand-in into the place of every block but the first, which runs: what it returns tells the others' form.

    T5's first block computes the position bias that all others use; so it must.

    Args:
        blocks: the model's list, changed in place. The first block needs its weights, the others none.
    """

    def __init__(self, blocks: nn.ModuleList) -> None:
        self.blocks = list(blocks)
        self._first = _First(self.blocks[0])
        self._rest = [_StandIn(block, self._first) for block in self.blocks[1:]]
        for place, module in enumerate((self._first, *self._rest)):
            blocks[place] = module

    def calls(self) -> list[Call]:
        """What blocks 1, 2 ... were called with in the last run, and forgets it."""
        taken = [module.taken for module in self._rest]
        for module in self._rest:
            module.taken = None
        assert all(call is not None for call in taken), "a block that the model did not call"
        return [call for call in taken if call is not None]

    @property
    def hidden(self) -> Tensor:
        """Hidden states behind the first block in the last run."""
        assert self._first.hidden is not None
        return self._first.hidden

    def end_with(self, hidden: Tensor | None) -> None:
        """What the last block is to return in the next runs; None: what it gets."""
        last = self._rest[-1] if self._rest else self._first
        last.replaced = hidden


class _Replaced(nn.Module):
    """A module in a block's place that answers for the block's attributes."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "block", block)  # not registered: its weights are not this model's any more
        self.replaced: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "block"), name)


class _First(_Replaced):
    def __init__(self, block: nn.Module) -> None:
        super().__init__(block)
        self.hidden: Tensor | None = None
        self.output: Any = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.output = self.block(hidden_states, *args, **kwargs)
        self.hidden = states(self.output)
        return self.form(self.hidden if self.replaced is None else self.replaced)

    def form(self, hidden: Tensor) -> Any:
        """Hidden states in the shape that blocks of this kind return."""
        return (hidden, *self.output[1:]) if isinstance(self.output, tuple) else hidden


class _StandIn(_Replaced):
    def __init__(self, block: nn.Module, first: _First) -> None:
        super().__init__(block)
        object.__setattr__(self, "first", first)
        self.taken: Call | None = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.taken = Call(args, kwargs)
        return self.first.form(hidden_states if self.replaced is None else self.replaced)
