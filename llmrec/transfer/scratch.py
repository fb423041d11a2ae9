"""A new network for every task."""

from collections.abc import Iterator

from llmrec.lessons import Lesson
from llmrec.phases import Phase
from llmrec.transfer import Method


class Scratch(Method):
    """Each task has a network that knows nothing before: what transfer is to be better than."""

    begins = "new"

    def phases(self, lesson: Lesson) -> Iterator[Phase]:
        """One, in which everything learns."""
        yield lesson.phase("tune", lesson.weights())
