"""Small transformers beside the language model learn; nothing of them enters its blocks."""

import torch
from torch import Tensor, nn

from llmrec.heads._attention import TransformerBlock, visible_keys
from llmrec.tuning import Source, require_texts
from llmrec.tuning._trunk import Learning, Trunk

NUM_HEADS = 12


class KAdapter:
    """K-Adapter (Wang et al. 2020, arXiv:2002.01808) at the first and the last block, as Adapter4Rec has it.

    An adapter brings the hidden states behind its block down to ``hidden_dim``, adds what the adapter before it gave,
    and passes the sum through transformer blocks of its own, which see the whole text. What the last one gives and the
    model's last hidden state, side by side, go through a linear layer whose output is added to the latter. The layer
    begins with zeros, so that at first the vectors are those of the model, which takes no part in the way back.

    A step runs the model over the items of the batch, so take a loss that compares these alone, such as
    in_batch_softmax.

    Args:
        hidden_dim: width of the adapters' blocks; a multiple of 12, the number of their attention heads.
        num_layers: blocks of an adapter.
        learning_rate: of the adapters.
        weight_decay: of their matrices.
        gradient_checkpointing: the adapters' blocks compute twice instead of keeping what they computed.
    """

    def __init__(
        self,
        *,
        hidden_dim: int = 384,
        num_layers: int = 2,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        if hidden_dim < 1 or hidden_dim % NUM_HEADS:
            raise ValueError(f"hidden_dim must be a multiple of {NUM_HEADS}, came {hidden_dim}")
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, came {num_layers}")
        self.hidden_dim, self.num_layers = hidden_dim, num_layers
        self.learning = Learning(learning_rate, weight_decay, gradient_checkpointing)

    def trunk(self, source: Source) -> nn.Module:
        """The model and its adapters."""
        return _Beside(require_texts(source, "k_adapter"), self.learning, self.hidden_dim, self.num_layers)


class _Beside(Trunk):
    def __init__(self, source: Source, learning: Learning, hidden_dim: int, num_layers: int) -> None:
        super().__init__(source, learning, ("8bit", "4bit"))
        batch = {key: value.to(self.encoder.device) for key, value in self.tokens.batch([0])[0].items()}
        first, last = (states.shape[-1] for states in self._states(batch))  # a projection may stand behind the blocks
        self.first, self.last = (_Adapter(dim, hidden_dim, num_layers) for dim in (first, last))
        self.join = nn.Linear(last + hidden_dim, last)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)
        self.prepare([*self.first.blocks, *self.last.blocks])

    def read(self, given: dict[str, Tensor]) -> Tensor:
        """The model's last hidden states and what the adapters add to them."""
        visible = visible_keys(given["attention_mask"].bool(), causal=False)
        first, last = self._states(given)
        adapted = self.last(last, visible, self.first(first, visible))
        joined: Tensor = self.join(torch.cat([last, adapted], dim=-1))
        return last + joined

    @torch.no_grad()
    def _states(self, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Hidden states behind the first block, and the last ones."""
        output = self.encoder(**given, output_hidden_states=True)
        return output.hidden_states[1].float(), output.last_hidden_state.float()


class _Adapter(nn.Module):
    def __init__(self, dim: int, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, hidden_dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(hidden_dim, NUM_HEADS, 0.0, "post", "gelu") for _ in range(num_layers)
        )

    def forward(self, states: Tensor, visible: Tensor, before: Tensor | float = 0.0) -> Tensor:
        hidden: Tensor = self.down(states) + before
        for block in self.blocks:
            hidden = block(hidden, visible)
        return hidden
