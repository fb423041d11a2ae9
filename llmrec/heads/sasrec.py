"""SASRec: a causal transformer over the history."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmrec.heads._attention import TransformerBlock, initialise, visible_keys
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
            TransformerBlock(embedding_dim, num_heads, dropout, norm, activation) for _ in range(num_layers)
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
