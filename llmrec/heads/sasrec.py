"""SASRec: a causal transformer over the history."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmrec.heads._attention import attend, initialise, visible_keys
from llmrec.heads._dropout import Dropout


class SASRec(nn.Module):
    """Self-attentive sequential recommendation (Kang & McAuley 2018, arXiv:1808.09781).

    Block as in TCF and MoRec (arXiv:2305.11700, 2303.13835): learned positions, layer norm and dropout at the input,
    causal self-attention, feed-forward network of inner width ``4 * embedding_dim``. Positions are counted from the
    most recent item backwards, so a history's vector does not depend on how far its batch is padded.

    Args:
        embedding_dim: width of item and user vectors.
        max_seq_len: the most items of a history.
        num_layers: blocks.
        num_heads: attention heads; must divide ``embedding_dim``.
        dropout: on the input, the attention weights and the output of each sub-layer.
        norm: ``post`` normalises after each residual sum (the papers), ``pre`` before each sub-layer and at the end.
        activation: of the feed-forward network.
    """

    def __init__(
        self,
        embedding_dim: int,
        max_seq_len: int,
        *,
        num_layers: int = 2,
        num_heads: int = 2,
        dropout: float = 0.2,
        norm: Literal["post", "pre"] = "post",
        activation: Literal["relu", "gelu"] = "relu",
    ) -> None:
        super().__init__()
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, came {num_layers}")
        if num_heads < 1 or embedding_dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide embedding_dim={embedding_dim}")
        self.max_seq_len = max_seq_len
        self.position = nn.Embedding(max_seq_len, embedding_dim)
        self.input_norm = nn.LayerNorm(embedding_dim) if norm == "post" else nn.Identity()
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            _Block(embedding_dim, num_heads, dropout, norm, activation) for _ in range(num_layers)
        )
        self.output_norm = nn.LayerNorm(embedding_dim) if norm == "pre" else nn.Identity()
        self.apply(initialise)

    def forward(
        self, items: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """User vectors after each position; at padded positions they are zero."""
        seq = items.shape[1]
        position = torch.arange(self.max_seq_len - seq, self.max_seq_len, device=items.device)
        hidden = self.dropout(self.input_norm(items + self.position(position)))
        visible = visible_keys(mask)
        for block in self.blocks:
            hidden = block(hidden, visible)
        return self.output_norm(hidden) * mask[..., None]


class _Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, dropout: float, norm: str, activation: str) -> None:
        super().__init__()
        self.num_heads, self.pre = num_heads, norm == "pre"
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attention_output = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, 4 * dim)
        self.outer = nn.Linear(4 * dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.activation = F.relu if activation == "relu" else F.gelu

    def forward(self, hidden: Tensor, visible: Tensor) -> Tensor:
        if self.pre:
            hidden = hidden + self.dropout(self._attend(self.attention_norm(hidden), visible))
            return hidden + self.dropout(self._feed_forward(self.feed_forward_norm(hidden)))
        hidden = self.attention_norm(hidden + self.dropout(self._attend(hidden, visible)))
        return self.feed_forward_norm(hidden + self.dropout(self._feed_forward(hidden)))

    def _attend(self, hidden: Tensor, visible: Tensor) -> Tensor:
        mixed = attend(self.query_key_value(hidden), visible, self.num_heads, self.dropout)
        return self.attention_output(mixed)

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        return self.outer(self.activation(self.inner(hidden)))
