"""GRU4Rec: a recurrent network over the history."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmrec.heads._attention import initialise
from llmrec.heads._dropout import Dropout


class GRU4Rec(nn.Module):
    """Gated recurrent units (Hidasi et al. 2016, arXiv:1511.06939) and a linear layer back to the width of the items.

    Args:
        embedding_dim: width of item and user vectors.
        max_seq_len: not needed: the state goes from each item to the next.
        num_layers: of the recurrent network.
        hidden_dim: width of its state.
        dropout: on the input and between the layers.
    """

    def __init__(
        self,
        embedding_dim: int,
        max_seq_len: int,
        *,
        num_layers: int = 1,
        hidden_dim: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        for name, came in (("num_layers", num_layers), ("hidden_dim", hidden_dim)):
            if came < 1:
                raise ValueError(f"{name} must be at least 1, came {came}")
        self.dropout = Dropout(dropout)
        between = dropout if num_layers > 1 else 0.0
        self.recurrent = nn.GRU(embedding_dim, hidden_dim, num_layers, batch_first=True, dropout=between)
        self.output = nn.Linear(hidden_dim, embedding_dim)
        self.output.apply(initialise)

    def forward(
        self, items: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """User vectors after each position; at padded positions they are zero."""
        # The state must not pass through padding, so each history begins at place 0 and is moved back afterwards.
        seq = items.shape[1]
        padding = seq - mask.sum(dim=1, keepdim=True)
        place = torch.arange(seq, device=items.device)
        states, _ = self.recurrent(_gather(self.dropout(items), (place + padding) % seq))
        vectors: Tensor = self.output(_gather(states, (place - padding) % seq)) * mask[..., None]
        return vectors


def _gather(values: Tensor, place: Tensor) -> Tensor:
    """What stands at these places of each row."""
    return values.gather(1, place[..., None].expand_as(values))
