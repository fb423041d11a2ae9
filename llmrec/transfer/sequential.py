"""One network that is tuned for one task after the other."""

from collections.abc import Iterator

from llmrec.lessons import SOURCE, Lesson
from llmrec.phases import Phase
from llmrec.transfer import Method


class Sequential(Method):
    """All of one network learns each task; the heads of earlier ones stay (SinMoAll in Conure): it forgets."""

    begins = "previous"

    def phases(self, lesson: Lesson) -> Iterator[Phase]:
        """One for each task, in which everything learns; the source is known already."""
        if lesson.number != SOURCE:
            yield lesson.phase("tune", lesson.weights())
