"""DSSM of the papers: a vector for each user of the training log."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmrec.errors import DataError
from llmrec.heads._layers import layers


class DssmId(nn.Module):
    """Two towers, the user's over a table of users, as in MoRec and TCF (arXiv:2303.13835, 2305.11700).

    A user has one vector, whatever the history; the papers found no hidden layer to be best. People who are not in the
    training log have none.

    Args:
        embedding_dim: width of item and user vectors.
        max_seq_len: the most items of a history.
        num_users: in the training log.
        num_layers: hidden layers over the user's vector.
        hidden_dim: width of the hidden layers.
        dropout: on the user's vector and on each hidden layer.
    """

    by_user = True

    def __init__(
        self,
        embedding_dim: int,
        max_seq_len: int,
        num_users: int,
        *,
        num_layers: int = 0,
        hidden_dim: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.users = nn.Embedding(num_users + 1, embedding_dim)
        nn.init.xavier_normal_(self.users.weight)
        self.layers = layers(embedding_dim, num_layers, hidden_dim, dropout)

    def forward(
        self, items: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"], users: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch seq dim"]:
        """The user's vector at every real position, and at the last one of a known user with no history; else zeros.

        Raises:
            DataError: a history whose user is unknown (index 0).
        """
        unknown = (users == 0) & mask.any(dim=1)
        if unknown.any():
            raise DataError(
                f"{int(unknown.sum())} of {len(users)} histories are of users that dssm_id does not know: it knows "
                "only those of its training log; a head without a table of users, such as 'dssm', takes anybody"
            )
        last = torch.arange(mask.shape[1], device=mask.device) == mask.shape[1] - 1
        vectors: Tensor = self.layers(self.users(users))[:, None] * (mask | (last & (users > 0)[:, None]))[..., None]
        return vectors
