"""A frozen network whose tasks have a head alone."""

from collections.abc import Iterator
from typing import Literal

from llmrec.lessons import Lesson
from llmrec.phases import Phase
from llmrec.transfer import Method
from llmrec.user_network import UserNetwork


class HeadOnly(Method):
    """A linear probe: the task's token and output learn, and nothing else (FineCLS in PeterRec).

    Args:
        network: ``pretrained`` on the source, or ``new``, which tells what the pre-training is worth.
        pooling: the user's vector: at the place of the token, or the mean over all places.
    """

    def __init__(
        self,
        *,
        network: Literal["pretrained", "new"] = "pretrained",
        pooling: Literal["token", "mean"] = "token",
    ) -> None:
        self.begins, self.pooling = network, pooling

    def prepare(self, network: UserNetwork) -> None:
        """Sets what a user's vector is."""
        network.pooling = self.pooling

    def phases(self, lesson: Lesson) -> Iterator[Phase]:
        """One, in which the head learns."""
        yield lesson.phase("head", lesson.head())
