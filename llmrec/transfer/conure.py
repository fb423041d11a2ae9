"""One network that takes a part of its weights for every task and forgets nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from llmrec.lessons import SOURCE, Lesson
from llmrec.masks import Masks
from llmrec.phases import Phase
from llmrec.transfer import Method
from llmrec.user_network import UserNetwork


class Conure(Method):
    """Conure (Yuan et al. 2021, arXiv:2009.13724): a task is trained, pruned and trained again in one network.

    A task first trains the weights that are free beside those of earlier tasks; then it keeps the largest of them,
    kernel by kernel, and trains these again without the rest. Vectors of items, layer norms and biases stay as the
    source left them. Earlier tasks answer with what they were learned with, to the bit.

    Args:
        retrain_epochs: the most epochs of the second training; unset: as many as of the first.
        prune: shares of the free weights that are left to later tasks, for the source and the tasks in turn; the last
            one counts for all that follow.
    """

    begins = "previous"

    def __init__(
        self, *, retrain_epochs: int | None = None, prune: Sequence[float] = (0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.5)
    ) -> None:
        if not prune or not all(0 < share < 1 for share in prune):
            raise ValueError(f"prune must be shares between 0 and 1, came {list(prune)}")
        if retrain_epochs is not None and retrain_epochs < 1:
            raise ValueError(f"retrain_epochs must be at least 1, came {retrain_epochs}")
        self.prune, self.retrain_epochs = prune, retrain_epochs

    def prepare(self, network: UserNetwork) -> None:
        """Lays masks on the trunk.

        Raises:
            ConfigError: a trunk with nothing to mask.
        """
        Masks(network.trunk)

    def phases(self, lesson: Lesson) -> Iterator[Phase]:
        """Training, but for the source, which pre-training has seen to, and training again.

        Raises:
            RunError: no weight is free.
        """
        masks, number = Masks.of(lesson.network.trunk), lesson.number
        learns = [*masks.weights, *lesson.head()]
        own = sum(weight.numel() for weight in lesson.head())
        if number != SOURCE:
            hold = masks.train(number)
            yield lesson.phase("train", learns, after_step=hold, trainable=masks.num_free + own)
        masks.prune(number, self.prune[min(number, len(self.prune) - 1)])
        hold, epochs = masks.retrain(number), self.retrain_epochs
        trainable = masks.num_owned(number) + own
        yield lesson.phase("retrain", learns, after_step=hold, trainable=trainable, epochs=epochs)

    def recall(self, network: UserNetwork, number: int) -> None:
        """Shows the weights of the task and of those before it."""
        Masks.of(network.trunk).recall(number)

    def stored(self, lesson: Lesson, learned: frozenset[str]) -> dict[str, Tensor]:
        """The head, and a bit for each weight: whether the task owns it."""
        packed = Masks.of(lesson.network.trunk).packed(lesson.number)
        return {**super().stored(lesson, learned), f"masks.{lesson.number}": packed}

    def restore(self, network: UserNetwork, stored: dict[str, Tensor]) -> None:
        """Puts back head and masks."""
        heads = {name: tensor for name, tensor in stored.items() if not name.startswith("masks.")}
        super().restore(network, heads)
        for name in stored.keys() - heads.keys():
            Masks.of(network.trunk).unpack(int(name.removeprefix("masks.")), stored[name])

    def report(self, network: UserNetwork) -> dict[str, Any]:
        """Shares of the weights that tasks own, and the free one."""
        return {"capacity": Masks.of(network.trunk).capacity()}
