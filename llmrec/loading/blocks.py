"""The transformer blocks of a language model, taken apart through public modules alone.

A model is run with stand-ins for its blocks. Each keeps what its block would have been called with (masks and position
embeddings may differ from block to block, as in Gemma) and hands the hidden states on; the true blocks are then called
with the same arguments, whenever it suits.
"""

from collections.abc import Callable
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
    """Name and list of a model's blocks; of a vision model that has stages, such as Swin or ResNet, these.

    Stages that are lists themselves, as those of PVT, are none, for nothing ever calls them.

    Raises:
        DataError: no list of as many modules as the config has blocks, or no block.
    """
    number = len(getattr(model.config, "depths", ())) or int(getattr(model.config, "num_hidden_layers", 0))
    for name, module in model.named_modules():
        fits = isinstance(module, nn.ModuleList) and len(module) == number > 0 and "embed" not in name
        if fits and not isinstance(module[0], nn.ModuleList):
            return name, module
    raise DataError(f"{type(model).__name__} has no list of {number} blocks, so it cannot be taken apart")


def shorten(model: Any, number: int) -> None:
    """Takes all but the first so many blocks away; what stands behind the last, such as a norm, stays.

    Raises:
        DataError: the model has fewer blocks, or cannot be taken apart.
    """
    _, blocks = block_list(model)
    if not 1 <= number <= len(blocks):
        raise DataError(f"{type(model).__name__} has {len(blocks)} blocks, so features.blocks cannot be {number}")
    del blocks[number:]
    model.config.num_hidden_layers = number


class StandIns:
    """Puts a stand-in into the place of every block but the first, which runs: what it returns tells the others' form.

    T5's first block computes the position bias that all others use; so it must.

    Args:
        blocks: the model's list, changed in place. The first block needs its weights, the others none.
        keep: blocks at the end that stay as they are.
    """

    def __init__(self, blocks: nn.ModuleList, keep: int = 0) -> None:
        self.blocks = list(blocks)
        self._first = _First(self.blocks[0])
        self._rest: list[_StandIn] = []
        for block in self.blocks[1 : len(blocks) - keep]:
            self._rest.append(_StandIn(block, self._first, (self._first, *self._rest)[-1]))
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
        """What the last stand-in is to return in the next runs; None: what it gets."""
        last = self._rest[-1] if self._rest else self._first
        last.replaced = hidden


def modules_behind(encoder: nn.Module, block: nn.Module, run: Callable[[], object]) -> list[nn.Module]:
    """Modules with weights that a run of the model comes to behind a block: its last norm, a projection.

    Args:
        encoder: the model.
        block: of it.
        run: runs the model.
    """
    inside, passed, found = set(block.modules()), [False], []

    def mark(*given: object) -> None:
        passed[0] = True

    def note(module: nn.Module, given: object) -> None:
        if passed[0]:
            found.append(module)

    others = [each for each in encoder.modules() if each not in inside and list(each.parameters(recurse=False))]
    handles = [block.register_forward_hook(mark), *(each.register_forward_pre_hook(note) for each in others)]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found


class _Replaced(nn.Module):
    """A module in a block's place that answers for the block's attributes."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "block", block)  # not registered: its weights are not this model's any more
        self.replaced: Tensor | None = None
        self.given: Tensor | None = None
        """The hidden states that it returned in the last run."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "block"), name)


class _First(_Replaced):
    def __init__(self, block: nn.Module) -> None:
        super().__init__(block)
        self.hidden: Tensor | None = None
        self.extras: tuple[Any, ...] | None = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        output = self.block(hidden_states, *args, **kwargs)
        self.hidden, self.extras = states(output), output[1:] if isinstance(output, tuple) else None
        self.given = self.hidden if self.replaced is None else self.replaced
        return self.form(self.given)

    def form(self, hidden: Tensor) -> Any:
        """Hidden states in the shape that blocks of this kind return."""
        return hidden if self.extras is None else (hidden, *self.extras)


class _StandIn(_Replaced):
    def __init__(self, block: nn.Module, first: _First, before: _Replaced) -> None:
        super().__init__(block)
        object.__setattr__(self, "first", first)
        object.__setattr__(self, "before", before)
        self.taken: Call | None = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if hidden_states is not self.before.given:
            kind = type(self.block).__name__
            raise DataError(
                f"something happens to the hidden states between two {kind}s, so they cannot be taken apart"
            )
        self.taken = Call(args, kwargs)
        self.given = hidden_states if self.replaced is None else self.replaced
        return self.first.form(self.given)
