"""The last blocks of the language model learn; the others are run once."""

from typing import Any

import torch
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.features import pool
from llmrec.loading.blocks import StandIns, block_list, modules_behind
from llmrec.tokens import Tokens, batches_by_length
from llmrec.tuning import Source


class TopBlocks:
    """The top blocks and what stands behind them learn (TCF's FT, arXiv:2305.11700).

    The hidden states that enter the first of them are computed once for all items and kept in memory, so a step costs
    as much as these blocks over the items of the batch. Dropout of the language model stays off. The weights that learn
    are fp32; where the features are bf16, the kept states are so too and the blocks run under autocast.

    Args:
        blocks: how many learn.
        learning_rate: of the language model's weights.
        weight_decay: of its matrices.
    """

    def __init__(self, *, blocks: int = 2, learning_rate: float = 5e-5, weight_decay: float = 0.01) -> None:
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, came {blocks}")
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, came {learning_rate}")
        if weight_decay < 0:
            raise ValueError(f"weight_decay must be at least 0, came {weight_decay}")
        self.blocks, self.learning_rate, self.weight_decay = blocks, learning_rate, weight_decay

    def trunk(self, source: Source) -> nn.Module:
        """The blocks that learn over the kept states.

        Raises:
            ConfigError: the model has no more blocks than are to learn.
        """
        return _Top(source, self.blocks, self.learning_rate, self.weight_decay)


class _Top(nn.Module):
    row: Tensor
    """Which of the distinct texts each item has; the padding's entry is not used."""
    encoder: Any
    standing: StandIns

    def __init__(self, source: Source, number: int, learning_rate: float, weight_decay: float) -> None:
        super().__init__()
        self.own_learning_rate, self.own_weight_decay = learning_rate, weight_decay
        self.pooling, self.mixed = source.pooling, source.precision == "bf16"
        texts = list(dict.fromkeys(source.texts[1:]))
        place = {text: number for number, text in enumerate(texts)}
        self.register_buffer("row", torch.tensor([0, *(place[text] for text in source.texts[1:])]), persistent=False)
        model = source.model()
        self.tokens = Tokens.of(texts, model, source.max_tokens)
        self._take_apart(model.model, number)

    def _take_apart(self, encoder: Any, number: int) -> None:
        if hasattr(encoder, "pooler"):
            encoder.pooler = None  # it would run behind the last block, and no vector comes out of it
        _, blocks = block_list(encoder)
        if number >= len(blocks):
            raise ConfigError(f"tuning.blocks must be below the {len(blocks)} blocks of the model, came {number}")
        self.states = self._states(encoder, blocks[-number])
        self.width, self.dtype = encoder.get_input_embeddings().embedding_dim, encoder.dtype
        object.__setattr__(self, "encoder", encoder)  # not registered: the rest neither learns nor is saved
        self.standing = StandIns(blocks, keep=number)
        behind = modules_behind(encoder, blocks[-1], lambda: self._run([0]))
        self.learned = nn.ModuleList([*blocks[-number:], *behind]).float().requires_grad_(True)

    def forward(self, items: Tensor | None = None) -> Tensor:
        """Text vectors of these items or of all; the padding has that of some text, which the encoder sets to zero."""
        wanted, back = (self.row if items is None else self.row[items]).unique(return_inverse=True)
        vectors: list[Tensor] = [torch.empty(0)] * len(wanted)
        for group in batches_by_length(self.tokens.lengths[wanted.cpu().numpy()]):
            for at, vector in zip(group, self._run(wanted[group].tolist()), strict=True):
                vectors[at] = vector
        return torch.stack(vectors)[back]

    def train(self, mode: bool = True) -> "_Top":
        """The language model stays without dropout, so that kept and new states go together."""
        super().train(False)
        self.training = mode
        return self

    def _run(self, texts: list[int]) -> Tensor:
        batch, own = self.tokens.batch(texts)
        shape, device = own.shape, self.row.device
        if next(self.encoder.parameters()).device != device:
            self.encoder.to(device)
        hidden = torch.zeros(*shape, self.states[0].shape[1], dtype=self.dtype)
        for row, text in enumerate(texts):
            hidden[row, : len(self.states[text])] = self.states[text]
        self.standing.end_with(hidden.to(device))
        nothing = torch.zeros(*shape, self.width, dtype=self.dtype, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.mixed):
            output = self.encoder(inputs_embeds=nothing, attention_mask=batch["attention_mask"].to(device))
        return pool(output.last_hidden_state, own.to(device), self.pooling)

    @torch.no_grad()
    def _states(self, encoder: Any, block: nn.Module) -> list[Tensor]:
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
                encoder(**batch)
            except _Entered:
                hidden = entered.pop()
            for row, text in enumerate(group):
                states[text] = hidden[row, : self.tokens.lengths[text]].clone()
        handle.remove()
        return states


class _Entered(Exception):
    """The block is reached; nothing behind it is wanted."""
