"""The fully connected network that both forms of DSSM put on a user's vector."""

from torch import nn

from llmrec.heads._attention import initialise
from llmrec.heads._dropout import Dropout


def layers(dim: int, num_layers: int, hidden_dim: int, dropout: float) -> nn.Sequential:
    """Dropout, then ``num_layers`` hidden layers with ReLU and dropout and one back to ``dim``; none leave it as it is.

    Raises:
        ValueError: fewer than no layers, or a width below 1.
    """
    if num_layers < 0:
        raise ValueError(f"num_layers must be at least 0, came {num_layers}")
    if hidden_dim < 1:
        raise ValueError(f"hidden_dim must be at least 1, came {hidden_dim}")
    inside: list[nn.Module] = [Dropout(dropout)]
    for before in [dim, *[hidden_dim] * num_layers][:num_layers]:
        inside += [nn.Linear(before, hidden_dim), nn.ReLU(), Dropout(dropout)]
    if num_layers:
        inside.append(nn.Linear(hidden_dim, dim))
    network = nn.Sequential(*inside)
    network.apply(initialise)
    return network
