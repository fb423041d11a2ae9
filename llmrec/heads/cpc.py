"""CPC: SASRec's network, trained to tell the items behind each history alone."""

from typing import Literal

from llmrec.heads.sasrec import SASRec


class CPC(SASRec):
    """Contrastive predictive coding as TransRec and Adapter4Rec have it (arXiv:2206.06190, arXiv:2305.15036).

    The network is that of ``sasrec``, whose runs it may begin with; of a history only the last position has targets, as
    when it recommends. Another cut of every sequence in each epoch brings other targets. Adapter4Rec's has the next
    item, TransRec's the next five.

    Args:
        embedding_dim: width of item and user vectors.
        max_seq_len: the most items of a history.
        num_layers: blocks.
        num_heads: attention heads; must divide ``embedding_dim``.
        dropout: on the input, the attention weights and the output of each sub-layer.
        norm: ``post`` normalises after each residual sum (the papers), ``pre`` before each sub-layer and at the end.
        activation: of the feed-forward network.
        future: how many of the items that follow the user vector is to tell apart from others.
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
        future: int = 1,
    ) -> None:
        super().__init__(
            embedding_dim,
            max_seq_len,
            num_layers=num_layers,
            num_heads=num_heads,
            dropout=dropout,
            norm=norm,
            activation=activation,
        )
        if future < 1:
            raise ValueError(f"future must be at least 1, came {future}")
        self.future = future
