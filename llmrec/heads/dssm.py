"""DSSM without user ids: a fully connected network over the mean of the history."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmrec.heads._layers import layers


class Dssm(nn.Module):
    """Two towers (Huang et al. 2013), the user's over the mean of the item vectors so far: blind to their order.

    The DSSM of MoRec and TCF (arXiv:2303.13835, 2305.11700) has a table of users instead, see ``dssm_id``; this one
    takes any history.

    Args:
        embedding_dim: width of item and user vectors.
        max_seq_len: the most items of a history.
        num_layers: hidden layers of the network; without any the mean itself is the user vector.
        hidden_dim: width of the hidden layers.
        dropout: on the mean and on each hidden layer.
    """

    def __init__(
        self,
        embedding_dim: int,
        max_seq_len: int,
        *,
        num_layers: int = 1,
        hidden_dim: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.layers = layers(embedding_dim, num_layers, hidden_dim, dropout)

    def forward(
        self, items: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """User vectors after each position; at padded positions they are zero."""
        real = mask[..., None]
        mean = (items * real).cumsum(dim=1) / real.cumsum(dim=1).clamp_min(1)
        vectors: Tensor = self.layers(mean) * real
        return vectors
