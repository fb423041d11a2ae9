"""A frozen network with small patches for every task."""

from collections.abc import Iterator
from typing import Literal

from torch import nn

from llmrec import patches
from llmrec.lessons import Lesson
from llmrec.phases import Phase
from llmrec.transfer import Method
from llmrec.user_network import UserNetwork


class Peterrec(Method):
    """PeterRec (Yuan et al. 2020, arXiv:2001.04253): model patches learn, and the trunk stays as it is.

    Args:
        form: ``serial`` patches stand behind the convolutions, ``parallel`` ones beside them.
        skip: whether a patch adds what it reads; unset: as it must be for the pre-trained network to be the beginning,
            on for serial and off for parallel.
        norms: whether the second layer norm of every block learns, as in the paper.
    """

    begins = "pretrained"

    def __init__(
        self, *, form: Literal["serial", "parallel"] = "serial", skip: bool | None = None, norms: bool = True
    ) -> None:
        self.form, self.norms = form, norms
        self.skip = form == "serial" if skip is None else skip

    def prepare(self, network: UserNetwork) -> None:
        """Inserts the patches.

        Raises:
            ConfigError: a trunk without convolutions.
        """
        patches.insert(network.trunk, self.form, self.skip)

    def phases(self, lesson: Lesson) -> Iterator[Phase]:
        """One, in which patches, second layer norms and the head learn."""
        parts: list[nn.Module | None] = []
        for block in patches.blocks_of(lesson.network.trunk):
            parts += [block.first_patch, block.second_patch, block.second_norm if self.norms else None]
        own = [weight for part in parts if part is not None for weight in part.parameters()]
        yield lesson.phase("patches", [*own, *lesson.head()])
