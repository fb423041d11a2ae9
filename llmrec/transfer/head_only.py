"""A frozen network whose tasks have a head alone."""

from collections.abc import Iterator
from typing import Literal

from llmrec.lessons import Lesson
from llmrec.phases import Phase
from llmrec.transfer import Method


class HeadOnly(Method):
    """A linear probe: the task's token and output learn, and nothing else (FineCLS in PeterRec).

    Args:
        network: ``pretrained`` on the source, or ``new``, which tells what the pre-training is worth.
    """

    def __init__(self, *, network: Literal["pretrained", "new"] = "pretrained") -> None:
        self.begins = network

    def phases(self, lesson: Lesson) -> Iterator[Phase]:
        """One, in which the head learns."""
        yield lesson.phase("head", lesson.head())
