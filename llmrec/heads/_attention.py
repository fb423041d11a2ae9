"""Causal self-attention over left-padded histories: what the transformers among the heads share."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def visible_keys(mask: Bool[Tensor, "batch seq"]) -> Bool[Tensor, "batch 1 seq seq"]:
    """Which positions each position sees: real ones up to itself."""
    seq = mask.shape[1]
    causal = torch.ones(seq, seq, dtype=torch.bool, device=mask.device).tril()
    # A padded query sees itself alone: a row without any key would turn into NaN.
    itself = torch.eye(seq, dtype=torch.bool, device=mask.device)
    return ((causal & mask[:, None, :]) | itself)[:, None]


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


def initialise(module: nn.Module) -> None:
    """Xavier-normal weights and zero biases, as TCF and MoRec do for the user network."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.xavier_normal_(module.weight)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
