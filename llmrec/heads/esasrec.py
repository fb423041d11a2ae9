"""eSASRec: SASRec with gated layers."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmrec.heads._attention import attend, initialise, visible_keys
from llmrec.heads._dropout import Dropout


class ESASRec(nn.Module):
    """SASRec over LiGR layers (Tikhonovich et al. 2025, arXiv:2508.06450; LiGR: arXiv:2502.03417).

    Each sub-layer ``F``, attention and a SwiGLU network of inner width ``4 * embedding_dim``, adds
    ``F(norm(x)) * sigmoid(gate(x))`` to ``x``, with a learned linear ``gate``. As in the authors' code, nothing is
    normalised after the last layer. The paper trains it with ``sampled_softmax``. Positions are counted as in
    ``sasrec``, from the most recent item backwards.

    Args:
        embedding_dim: width of item and user vectors.
        max_seq_len: the most items of a history.
        num_layers: LiGR layers.
        num_heads: attention heads; must divide ``embedding_dim``.
        dropout: on the input, the attention weights, inside the SwiGLU network and on the output of each sub-layer.
    """

    def __init__(
        self, embedding_dim: int, max_seq_len: int, *, num_layers: int = 2, num_heads: int = 2, dropout: float = 0.2
    ) -> None:
        super().__init__()
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, came {num_layers}")
        if num_heads < 1 or embedding_dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide embedding_dim={embedding_dim}")
        self.max_seq_len = max_seq_len
        self.position = nn.Embedding(max_seq_len, embedding_dim)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(_Layer(embedding_dim, num_heads, dropout) for _ in range(num_layers))
        self.apply(initialise)

    def forward(
        self, items: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """User vectors after each position; at padded positions they are zero."""
        position = torch.arange(self.max_seq_len - items.shape[1], self.max_seq_len, device=items.device)
        hidden = self.dropout(items + self.position(position))
        visible = visible_keys(mask)
        for layer in self.layers:
            hidden = layer(hidden, visible)
        return hidden * mask[..., None]


class _Layer(nn.Module):
    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attention_output = nn.Linear(dim, dim)
        self.attention_gate = nn.Linear(dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.switch = nn.Linear(dim, 4 * dim, bias=False)
        self.inner = nn.Linear(dim, 4 * dim, bias=False)
        self.outer = nn.Linear(4 * dim, dim, bias=False)
        self.feed_forward_gate = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, hidden: Tensor, visible: Tensor) -> Tensor:
        attended = self._attend(self.attention_norm(hidden), visible)
        hidden = hidden + self.dropout(attended) * self.attention_gate(hidden).sigmoid()
        fed = self._feed_forward(self.feed_forward_norm(hidden))
        return hidden + self.dropout(fed) * self.feed_forward_gate(hidden).sigmoid()

    def _attend(self, hidden: Tensor, visible: Tensor) -> Tensor:
        mixed = attend(self.query_key_value(hidden), visible, self.num_heads, self.dropout)
        return self.attention_output(mixed)

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        return self.outer(self.dropout(F.silu(self.switch(hidden)) * self.inner(hidden)))
