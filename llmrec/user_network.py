"""One user representation for many tasks: item vectors, a trunk over the history, and a head for each task."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

STD = 0.02
"""Of new vectors, as in PeterRec."""


class TaskHead(nn.Module):
    """What a task has to itself: the token that stands behind the history, and the layer that answers.

    Args:
        token: what the token begins with.
        num_classes: what there is to choose from.
    """

    def __init__(self, token: Float[Tensor, " dim"], num_classes: int) -> None:
        super().__init__()
        self.token = nn.Parameter(token.detach().clone())
        self.output = new_output(len(token), num_classes)

    def forward(self, users: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        """The score of every class."""
        scores: Tensor = self.output(users)
        return scores


class UserNetwork(nn.Module):
    """Turns histories of the source's items into user vectors, and these into answers.

    While it learns the source, the vector at each item says what comes next. For a task the token [TCL] of that task
    is appended, and the vector at its place is the user's (PeterRec, Yuan et al. 2020, arXiv:2001.04253). Task 0 is the
    next item of the source itself.

    Args:
        num_items: of the source; index 0 is padding.
        embedding_dim: width of item and user vectors.
        trunk: any of :mod:`llmrec.heads`, made for one place more than the longest history.
        tied: whether the source's next item is told by the vectors that histories are made of; else by a layer of its
            own, as in PeterRec.
    """

    def __init__(self, num_items: int, embedding_dim: int, trunk: nn.Module, *, tied: bool = False) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items + 1, embedding_dim, padding_idx=0)
        nn.init.trunc_normal_(self.items.weight, std=STD, a=-2 * STD, b=2 * STD)
        with torch.no_grad():
            self.items.weight[0] = 0
        self.trunk = trunk
        self.token = nn.Parameter(torch.randn(embedding_dim) * STD)
        """What the tokens of tasks begin with; it learns where pre-training appends it."""
        self.output = None if tied else new_output(embedding_dim, num_items)
        self.heads = nn.ModuleDict()
        self.pooling: Literal["token", "mean"] = "token"
        """Of the places of a history with its token: that of the token alone, or the mean over all."""

    def add_head(self, number: int, num_classes: int) -> TaskHead:
        """A new head for a task, on the network's device.

        Args:
            number: of the task, from 1.
            num_classes: of its answers.
        """
        head = TaskHead(self.token, num_classes).to(self.token.device)
        self.heads[str(number)] = head
        return head

    def head(self, number: int) -> TaskHead:
        """The head of a task."""
        head = self.heads[str(number)]
        assert isinstance(head, TaskHead)
        return head

    @property
    def bidirectional(self) -> bool:
        """Whether the trunk reads later items too, so that the item asked for must be hidden from it."""
        return getattr(self.trunk, "bidirectional", False)

    @property
    def future(self) -> int:
        """How many items behind a history its last vector is trained to tell; 0: the next one, at each position."""
        return getattr(self.trunk, "future", 0)

    def hidden(
        self, history: Int[Tensor, "batch seq"], masked: Bool[Tensor, "#batch seq"] | None = None
    ) -> Float[Tensor, "batch seq dim"]:
        """The vector after each item of left-padded histories, without a token; of a bidirectional trunk that at it.

        Args:
            history: indices of the source's items, 0 for padding.
            masked: places whose item is hidden from a bidirectional trunk, whatever stands there.
        """
        items, real = self.items(history), history > 0
        if masked is not None:
            cloze: Any = self.trunk.cloze
            items, real = cloze.hide(items, masked), real | masked
        vectors: Tensor = self.trunk(items, real)
        return vectors

    def next_item(self, history: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch dim"]:
        """What tells the item behind each history; a bidirectional trunk is asked for a hidden one."""
        if not self.bidirectional:
            return self.hidden(history)[:, -1]
        masked = torch.zeros(1, history.shape[1] + 1, dtype=torch.bool, device=history.device)
        masked[:, -1] = True
        return self.hidden(F.pad(history, (0, 1)), masked)[:, -1]

    def encode(self, history: Int[Tensor, "batch seq"], token: Float[Tensor, " dim"]) -> Float[Tensor, "batch dim"]:
        """User vectors of left-padded histories: at the place of the token, which is appended.

        Args:
            history: indices of the source's items, 0 for padding, most recent last; it may be all padding.
            token: a task's own (``head.token``), or the network's.
        """
        return self.pool(self.items(history), history > 0, token)

    def pool(
        self, items: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"], token: Float[Tensor, " dim"]
    ) -> Float[Tensor, "batch dim"]:
        """The same from the vectors of the items, and which of them are no padding.

        The token stands behind the history under every trunk; PeterRec puts one at either end of a trunk that reads
        both ways, and adds up their vectors.
        """
        batch = len(items)
        appended = torch.cat([items, token.expand(batch, 1, -1)], dim=1)
        real = torch.cat([mask, mask.new_ones(batch, 1)], dim=1)
        vectors: Tensor = self.trunk(appended, real)
        if self.pooling == "mean":
            return vectors.sum(dim=1) / real.sum(dim=1, keepdim=True)  # they are zero at padded places
        return vectors[:, -1]

    def source_items(self) -> Float[Tensor, "items dim_and_one"]:
        """What the source's items are told by, without padding; the last column is the bias, which meets a one."""
        if self.output is None:
            weight = self.items.weight[1:]
            return torch.cat([weight, weight.new_zeros(len(weight), 1)], dim=1)
        return torch.cat([self.output.weight, self.output.bias[:, None]], dim=1)

    def forward(self, history: Int[Tensor, "batch seq"], number: int) -> Float[Tensor, "batch classes"]:
        """The scores of a task's classes; of task 0 these are the source's items in order."""
        if number:
            head = self.head(number)
            scores: Tensor = head(self.encode(history, head.token))
            return scores
        return with_one(self.next_item(history)) @ self.source_items().T


def with_one(users: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim_and_one"]:
    """User vectors with the one that biases meet."""
    return torch.cat([users, users.new_ones(len(users), 1)], dim=1)


def new_output(dim: int, num_classes: int) -> nn.Linear:
    """A layer that scores classes, with small random weights and no preference."""
    layer = nn.Linear(dim, num_classes)
    nn.init.trunc_normal_(layer.weight, std=STD, a=-2 * STD, b=2 * STD)
    nn.init.zeros_(layer.bias)
    return layer
