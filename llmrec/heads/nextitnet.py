"""NextItNet: dilated causal convolutions over the history."""

from typing import Literal

from llmrec.heads._convolution import Convolutions


class NextItNet(Convolutions):
    """A convolutional network for next items (Yuan et al. 2019, arXiv:1808.05163), the trunk of PeterRec and Conure.

    A block is two convolutions, of dilation d and 2d, each with layer norm and ReLU, beside a skip.

    Args:
        embedding_dim: width of item and user vectors, and channels.
        max_seq_len: not needed: a place is seen by its distance alone.
        num_layers: blocks.
        kernel_size: places that a convolution reads.
        dilations: of the blocks' first convolutions, repeated over the blocks.
        norm: ``post`` normalises behind each convolution (PeterRec), ``pre`` before it (Conure).
        gate: whether a learned scalar that begins at 0 multiplies what a block adds, as in StackRec (Wang et al. 2021).
        dropout: on the input; the papers have none.
    """

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
    ) -> None:
        super().__init__(embedding_dim, num_layers, kernel_size, dilations, True, norm, gate, dropout)
