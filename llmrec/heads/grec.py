"""GRec: dilated convolutions that read the history on either side of a gap."""

from typing import Literal

from llmrec.heads._cloze import Cloze
from llmrec.heads._convolution import Convolutions


class GRec(Convolutions):
    """NextItNet's blocks without causality, trained by gap filling (Yuan et al. 2020, arXiv:1906.04473).

    It is the paper's encoder, as PeterRec has it for a trunk, without the causal decoder behind it.

    Args:
        embedding_dim: width of item and user vectors, and channels.
        max_seq_len: not needed: a place is seen by its distance alone.
        num_layers: blocks.
        kernel_size: places that a convolution reads; odd.
        dilations: of the blocks' first convolutions, repeated over the blocks; the second ones' are twice as large.
        norm: ``post`` normalises behind each convolution, ``pre`` before it.
        gate: whether a learned scalar that begins at 0 multiplies what a block adds, as in StackRec (Wang et al. 2021).
        dropout: on the input.
        mask_share: of a window's places that training asks for.
        last_share: of the windows that ask for their last item alone.
    """

    bidirectional = True

    def __init__(
        self,
        embedding_dim: int,
        max_seq_len: int,
        *,
        num_layers: int = 8,
        kernel_size: int = 3,
        dilations: tuple[int, ...] = (1, 4),
        norm: Literal["post", "pre"] = "post",
        gate: bool = False,
        dropout: float = 0.0,
        mask_share: float = 0.2,
        last_share: float = 0.1,
    ) -> None:
        super().__init__(embedding_dim, num_layers, kernel_size, dilations, False, norm, gate, dropout)
        self.cloze = Cloze(embedding_dim, mask_share, last_share)
