"""A pre-trained network of its own for every task, all of which learns."""

from collections.abc import Iterator

from llmrec.lessons import Lesson
from llmrec.phases import Phase
from llmrec.transfer import Method


class Full(Method):
    """Full fine-tuning (FineAll in PeterRec): the best one can do for one task, at the price of a network for each."""

    begins = "pretrained"

    def phases(self, lesson: Lesson) -> Iterator[Phase]:
        """One, in which everything learns."""
        yield lesson.phase("tune", lesson.weights())
