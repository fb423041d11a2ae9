"""BERT4Rec: a transformer that reads the history in both directions."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmrec.heads._attention import TransformerBlock, initialise, visible_keys
from llmrec.heads._cloze import Cloze
from llmrec.heads._dropout import Dropout


class BERT4Rec(nn.Module):
    """Bidirectional self-attention trained to name masked items (Sun et al. 2019, arXiv:1904.06690).

    SASRec's block with GELU in which each place sees all others, and a linear layer with GELU and a layer norm before
    the items are compared. Positions are counted as in ``sasrec``, from the place asked for backwards.

    Args:
        embedding_dim: width of item and user vectors.
        max_seq_len: the most items of a history; one more place is that of the item asked for.
        num_layers: blocks.
        num_heads: attention heads; must divide ``embedding_dim``.
        dropout: on the input, the attention weights and the output of each sub-layer.
        mask_share: of a window's places that training asks for; the paper has 0.2 to 0.6.
        last_share: of the windows that ask for their last item alone.
    """

    bidirectional = True

    def __init__(
        self,
        embedding_dim: int,
        max_seq_len: int,
        *,
        num_layers: int = 2,
        num_heads: int = 2,
        dropout: float = 0.2,
        mask_share: float = 0.2,
        last_share: float = 0.1,
    ) -> None:
        super().__init__()
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, came {num_layers}")
        if num_heads < 1 or embedding_dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide embedding_dim={embedding_dim}")
        self.position = nn.Embedding(max_seq_len + 1, embedding_dim)
        self.input_norm = nn.LayerNorm(embedding_dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(embedding_dim, num_heads, dropout, "post", "gelu") for _ in range(num_layers)
        )
        self.output = nn.Sequential(nn.Linear(embedding_dim, embedding_dim), nn.GELU(), nn.LayerNorm(embedding_dim))
        self.apply(initialise)
        nn.init.normal_(self.position.weight, std=0.02)  # larger ones would drown a new table of ids, as small in BERT
        self.cloze = Cloze(embedding_dim, mask_share, last_share)

    def forward(
        self, items: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """A vector for every position, with what stands before and behind it; at padded positions they are zero."""
        hidden = self.dropout(self.input_norm(items + self.position.weight[-items.shape[1] :]))
        visible = visible_keys(mask, causal=False)
        for block in self.blocks:
            hidden = block(hidden, visible)
        vectors: Tensor = self.output(hidden) * mask[..., None]
        return vectors
