"""The last blocks of the language model learn; the others are run once."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.kept_states import KeptStates
from llmrec.loading.blocks import StandIns, block_list, modules_behind
from llmrec.tuning import ImageSource, Source
from llmrec.tuning._trunk import Learning, Trunk


class TopBlocks:
    """The top blocks and what stands behind them learn (TCF's FT, arXiv:2305.11700).

    The hidden states that enter the first of them are computed once for all items and kept in the cache's folder
    ``top_blocks``, in the precision of the features, so a step costs as much as these blocks over the items of the
    batch, and the model's first block, which tells the others' form. A model that the memory does not hold is streamed
    up to there; no other block is in memory in training. Dropout of the language model stays off.

    Of a vision model, whose hidden states would take a hundred times the room of its images, the lower blocks run in
    every step; a stage counts as one block.

    Args:
        blocks: how many learn.
        learning_rate: of the language model's weights.
        weight_decay: of its matrices.
        gradient_checkpointing: blocks compute twice instead of keeping what they computed.
    """

    spreads = True
    """Over processes, under FSDP."""

    def __init__(
        self,
        *,
        blocks: int = 2,
        learning_rate: float = 5e-5,
        weight_decay: float = 0.01,
        gradient_checkpointing: bool = False,
    ) -> None:
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, came {blocks}")
        self.blocks, self.learning = blocks, Learning(learning_rate, weight_decay, gradient_checkpointing)

    def trunk(self, source: Source) -> nn.Module:
        """The blocks that learn over the kept states.

        Raises:
            ConfigError: the model has no more blocks than are to learn.
        """
        if isinstance(source, ImageSource):
            return _TopOfEye(source, self.blocks, self.learning)
        return _Top(source, self.blocks, self.learning)


def _require_fewer(number: int, blocks: nn.ModuleList) -> None:
    if number >= len(blocks):
        raise ConfigError(f"tuning.blocks must be below the {len(blocks)} blocks of the model, came {number}")


class _Top(Trunk):
    rewrites = True
    standing: StandIns

    def __init__(self, source: Source, number: int, learning: Learning) -> None:
        super().__init__(source, learning, ("auto", "streamed"))
        self.whole = partial(source.model, "resident")
        _, blocks = block_list(self.encoder)
        _require_fewer(number, blocks)
        self.states = KeptStates(self.language_model, self.tokens, len(blocks) - number)
        self.language_model.runs.keep(number)
        self.width, self.dtype = self.encoder.get_input_embeddings().embedding_dim, self.encoder.dtype
        self.standing = StandIns(blocks, keep=number)
        self.prepare(blocks[-number:])
        behind = modules_behind(self.encoder, blocks[-1], lambda: self.pooled([0]))
        self.learned = nn.ModuleList([*blocks[-number:], *behind]).float().requires_grad_(True)

    def merged(self) -> Any:
        """The whole model anew, with these blocks and what stands behind them."""
        names = {module: name for name, module in self.encoder.named_modules()}
        whole = self.whole().model.float()
        for module in self.learned:
            whole.get_submodule(names[module]).load_state_dict(module.state_dict())
        return whole

    def place(self, device: torch.device) -> None:
        """The first block too, which is no part of the model while another stands in for it."""
        super().place(device)
        self.standing.blocks[0].to(device)

    def given(self, batch: dict[str, Tensor], texts: list[int]) -> dict[str, Tensor]:
        """Nothing for the embeddings: the kept states take the place of what the lower blocks make of it."""
        shape = batch["input_ids"].shape
        hidden = torch.zeros(*shape, self.states.width, dtype=self.dtype)
        for row, text in enumerate(texts):
            hidden[row, : self.tokens.lengths[text]] = self.states[text]
        self.standing.end_with(hidden.to(self.row.device))
        nothing = torch.zeros(*shape, self.width, dtype=self.dtype)
        return {"inputs_embeds": nothing, "attention_mask": batch["attention_mask"]}


class _TopOfEye(Trunk):
    rewrites = True

    def __init__(self, source: ImageSource, number: int, learning: Learning) -> None:
        super().__init__(source, learning)
        blocks = block_list(self.encoder)[1]
        _require_fewer(number, blocks)
        behind = modules_behind(self.encoder, blocks[-1], lambda: self.pooled([0]))
        self.prepare(blocks[-number:])
        self.learned = nn.ModuleList([*blocks[-number:], *behind]).float().requires_grad_(True)

    def merged(self) -> Any:
        """The whole model, in which these blocks stand."""
        return self.encoder.float()
