"""SASRec: a causal transformer over the history."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

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
        if embedding_dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide embedding_dim={embedding_dim}")
        self.max_seq_len = max_seq_len
        self.position = nn.Embedding(max_seq_len, embedding_dim)
        self.input_norm = nn.LayerNorm(embedding_dim) if norm == "post" else nn.Identity()
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            _Block(embedding_dim, num_heads, dropout, norm, activation) for _ in range(num_layers)
        )
        self.output_norm = nn.LayerNorm(embedding_dim) if norm == "pre" else nn.Identity()
        self.apply(_initialise)

    def forward(
        self, items: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """User vectors after each position; at padded positions they are zero."""
        seq = items.shape[1]
        position = torch.arange(self.max_seq_len - seq, self.max_seq_len, device=items.device)
        hidden = self.dropout(self.input_norm(items + self.position(position)))
        # A padded query sees itself alone: a row without any key would turn into NaN.
        causal = torch.ones(seq, seq, dtype=torch.bool, device=items.device).tril()
        itself = torch.eye(seq, dtype=torch.bool, device=items.device)
        visible = ((causal & mask[:, None, :]) | itself)[:, None]
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
        batch, seq, dim = hidden.shape
        query, key, value = (
            part.view(batch, seq, self.num_heads, -1).transpose(1, 2)
            for part in self.query_key_value(hidden).chunk(3, dim=-1)
        )
        # Spelt out, since torch's fused attention has no dropout of its own on a CPU.
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        weights = scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)
        mixed = self.dropout(weights) @ value
        return self.attention_output(mixed.transpose(1, 2).reshape(batch, seq, dim))

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        return self.outer(self.activation(self.inner(hidden)))


def _initialise(module: nn.Module) -> None:
    """Xavier-normal weights and zero biases, as TCF and MoRec do for the user network."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.xavier_normal_(module.weight)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
