"""TransRec's user encoder: a transformer that reads all of the history and tells several items behind it."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmrec.heads._attention import TransformerBlock, initialise, visible_keys
from llmrec.heads._dropout import Dropout


class TransRec(nn.Module):
    """The user encoder of TransRec (Wang et al. 2022, arXiv:2206.06190): BERT over the items of the history.

    The user vector is the hidden state at the last item. Training asks it for the next ``future`` items at once, which
    are no part of the history: nothing is hidden, and each place sees all others. With ``--loss bce`` it is the paper's
    loss, as many negatives as positives. Positions are counted as in ``sasrec``, from the most recent item backwards.

    Args:
        embedding_dim: width of item and user vectors; the paper has 256.
        max_seq_len: the most items of a history; the paper has 25.
        num_layers: blocks.
        num_heads: attention heads; must divide ``embedding_dim``.
        dropout: on the input, the attention weights and the output of each sub-layer.
        inner_dim: width inside the feed-forward networks; unset: half of ``embedding_dim``, as in the paper.
        future: how many of the items that follow the user vector is to tell apart from others.
    """

    def __init__(
        self,
        embedding_dim: int,
        max_seq_len: int,
        *,
        num_layers: int = 4,
        num_heads: int = 4,
        dropout: float = 0.1,
        inner_dim: int | None = None,
        future: int = 5,
    ) -> None:
        super().__init__()
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, came {num_layers}")
        if num_heads < 1 or embedding_dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide embedding_dim={embedding_dim}")
        inner_dim = embedding_dim // 2 if inner_dim is None else inner_dim
        for name, value in (("inner_dim", inner_dim), ("future", future)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, came {value}")
        self.future = future
        self.position = nn.Embedding(max_seq_len, embedding_dim)
        self.input_norm = nn.LayerNorm(embedding_dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(embedding_dim, num_heads, dropout, "post", "gelu", inner_dim) for _ in range(num_layers)
        )
        self.apply(initialise)
        nn.init.normal_(self.position.weight, std=0.02)  # larger ones would drown a new table of ids, as small in BERT

    def forward(
        self, items: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """A vector at every position, of which the last one is the user's; at padded positions they are zero."""
        hidden = self.dropout(self.input_norm(items + self.position.weight[-items.shape[1] :]))
        visible = visible_keys(mask, causal=False)
        for block in self.blocks:
            hidden = block(hidden, visible)
        return hidden * mask[..., None]
