"""Self-attention over left-padded histories: what the transformers among the heads share."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmrec.heads._dropout import Dropout


def visible_keys(mask: Bool[Tensor, "batch seq"], *, causal: bool = True) -> Bool[Tensor, "batch 1 seq seq"]:
    """Which positions each position sees: real ones, and of them those up to itself or all."""
    seq = mask.shape[1]
    allowed = torch.ones(seq, seq, dtype=torch.bool, device=mask.device)
    if causal:
        allowed = allowed.tril()
    # A padded query sees itself alone: a row without any key would turn into NaN.
    itself = torch.eye(seq, dtype=torch.bool, device=mask.device)
    return ((allowed & mask[:, None, :]) | itself)[:, None]


def attend(
    query_key_value: Float[Tensor, "batch seq three_dims"],
    visible: Bool[Tensor, "batch 1 seq seq"],
    num_heads: int,
    dropout: Callable[[Tensor], Tensor],
) -> Float[Tensor, "batch seq dim"]:
    """Mixes the values with softmax weights.

    Args:
        query_key_value: the three side by side.
        visible: see :func:`visible_keys`.
        num_heads: into which each of the three is divided.
        dropout: of the weights.
    """
    batch, seq, _ = query_key_value.shape
    query, key, value = (
        part.view(batch, seq, num_heads, -1).transpose(1, 2) for part in query_key_value.chunk(3, dim=-1)
    )
    # Spelt out, since torch's fused attention has no dropout of its own on a CPU.
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    weights = scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)
    return (dropout(weights) @ value).transpose(1, 2).reshape(batch, seq, -1)


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward network, each beside a skip.

    ``attention_adapter`` and ``feed_forward_adapter`` are None or take what a sub-layer gave and what entered it, and
    give what is added to the skip in its place (Houlsby et al. 2019, arXiv:1902.00751).

    Args:
        dim: width.
        num_heads: attention heads; must divide ``dim``.
        dropout: on the attention weights and the output of each sub-layer.
        norm: ``post`` normalises after each residual sum, ``pre`` before each sub-layer.
        activation: of the feed-forward network.
        inner_dim: its inner width; None: ``4 * dim``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        dropout: float,
        norm: Literal["post", "pre"],
        activation: Literal["relu", "gelu"],
        inner_dim: int | None = None,
    ) -> None:
        super().__init__()
        inner_dim = inner_dim or 4 * dim
        self.num_heads, self.pre = num_heads, norm == "pre"
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attention_output = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, inner_dim)
        self.outer = nn.Linear(inner_dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.activation = F.relu if activation == "relu" else F.gelu
        self.attention_adapter: nn.Module | None = None
        self.feed_forward_adapter: nn.Module | None = None

    def forward(
        self, hidden: Float[Tensor, "batch seq dim"], visible: Bool[Tensor, "batch 1 seq seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """What leaves the block; for ``visible`` see :func:`visible_keys`."""
        if self.pre:
            hidden = hidden + self._attend(self.attention_norm(hidden), visible)
            return hidden + self._feed_forward(self.feed_forward_norm(hidden))
        hidden = self.attention_norm(hidden + self._attend(hidden, visible))
        return self.feed_forward_norm(hidden + self._feed_forward(hidden))

    def _attend(self, hidden: Tensor, visible: Tensor) -> Tensor:
        mixed = attend(self.query_key_value(hidden), visible, self.num_heads, self.dropout)
        attended = self.dropout(self.attention_output(mixed))
        return attended if self.attention_adapter is None else self.attention_adapter(attended, hidden)

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        fed = self.dropout(self.outer(self.activation(self.inner(hidden))))
        return fed if self.feed_forward_adapter is None else self.feed_forward_adapter(fed, hidden)


def initialise(module: nn.Module) -> None:
    """Xavier-normal weights and zero biases, as TCF and MoRec do for the user network."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.xavier_normal_(module.weight)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
