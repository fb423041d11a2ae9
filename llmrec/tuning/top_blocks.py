"""The last blocks of the language model learn; the others are run once."""

from typing import Any

import torch
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.loading.blocks import StandIns, block_list, modules_behind
from llmrec.tokens import batches_by_length
from llmrec.tuning import Source
from llmrec.tuning._trunk import Learning, Trunk


class TopBlocks:
    """The top blocks and what stands behind them learn (TCF's FT, arXiv:2305.11700).

    The hidden states that enter the first of them are computed once for all items and kept in memory, in the precision
    of the features, so a step costs as much as these blocks over the items of the batch, and the model's first block,
    which tells the others' form. Dropout of the language model stays off.

    Args:
        blocks: how many learn.
        learning_rate: of the language model's weights.
        weight_decay: of its matrices.
        gradient_checkpointing: blocks compute twice instead of keeping what they computed.
    """

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
        return _Top(source, self.blocks, self.learning)


class _Top(Trunk):
    standing: StandIns

    def __init__(self, source: Source, number: int, learning: Learning) -> None:
        super().__init__(source, learning)
        _, blocks = block_list(self.encoder)
        if number >= len(blocks):
            raise ConfigError(f"tuning.blocks must be below the {len(blocks)} blocks of the model, came {number}")
        self.states = self._states(blocks[-number])
        self.width, self.dtype = self.encoder.get_input_embeddings().embedding_dim, self.encoder.dtype
        self.standing = StandIns(blocks, keep=number)
        for lower in self.standing.blocks[1:-number]:
            lower.to("meta")  # what they make of the texts is kept
        self.prepare(blocks[-number:])
        behind = modules_behind(self.encoder, blocks[-1], lambda: self.pooled([0]))
        self.learned = nn.ModuleList([*blocks[-number:], *behind]).float().requires_grad_(True)

    def place(self, device: torch.device) -> None:
        """The first block too, which is no part of the model while another stands in for it."""
        super().place(device)
        self.standing.blocks[0].to(device)

    def given(self, batch: dict[str, Tensor], texts: list[int]) -> dict[str, Tensor]:
        """Nothing for the embeddings: the kept states take the place of what the lower blocks make of it."""
        shape = batch["input_ids"].shape
        hidden = torch.zeros(*shape, self.states[0].shape[1], dtype=self.dtype)
        for row, text in enumerate(texts):
            hidden[row, : len(self.states[text])] = self.states[text]
        self.standing.end_with(hidden.to(self.row.device))
        nothing = torch.zeros(*shape, self.width, dtype=self.dtype)
        return {"inputs_embeds": nothing, "attention_mask": batch["attention_mask"]}

    @torch.no_grad()
    def _states(self, block: nn.Module) -> list[Tensor]:
        """The hidden states that enter a block, text by text."""
        states: list[Tensor] = [torch.empty(0)] * len(self.tokens.lengths)
        entered: list[Tensor] = []

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entered.append(args[0] if args else kwargs["hidden_states"])
            raise _Entered

        handle = block.register_forward_pre_hook(enter, with_kwargs=True)
        for group in batches_by_length(self.tokens.lengths):
            batch, _ = self.tokens.batch(group)
            try:
                self.encoder(**batch)
            except _Entered:
                hidden = entered.pop()
            for row, text in enumerate(group):
                states[text] = hidden[row, : self.tokens.lengths[text]].clone()
        handle.remove()
        return states


class _Entered(Exception):
    """The block is reached; nothing behind it is wanted."""
