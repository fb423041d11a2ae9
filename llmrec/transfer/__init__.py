"""Transfer methods: what a task begins with, which phases of training it takes, and what must be stored of it.

A method is a class of its own file, made from its options alone. The runner (:mod:`llmrec.lifelong`) makes the network
of a task by ``begins``, adds the task's head, calls ``prepare`` and runs the phases that ``phases`` yields; then it
measures the task and all before it.
"""

from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor

from llmrec.errors import RunError
from llmrec.lessons import Lesson
from llmrec.phases import Phase
from llmrec.user_network import UserNetwork


class Method:
    """Base of the transfer methods: nothing is added, and what learned is what is stored."""

    begins: Literal["new", "pretrained", "previous"]
    """``new``: each task has a new network; ``pretrained``: each has that of the source; ``previous``: one network, of
    the source, goes through all tasks, and ``phases`` is called for the source first."""

    def pretraining(self, lesson: Lesson) -> Iterator[Phase]:
        """Phases on the source, for all tasks of all methods that share :attr:`origin`."""
        yield lesson.phase("pretrain", lesson.weights())

    @property
    def origin(self) -> dict[str, Any]:
        """What tells this pre-training from others; the folder of the pre-trained network depends on it."""
        return {"objective": "next item"}

    def prepare(self, network: UserNetwork) -> None:
        """Adds what the method needs to a network that has just begun: patches, say."""

    def phases(self, lesson: Lesson) -> Iterator[Phase]:
        """The phases of a task, each asked for when the one before has ended.

        After each step is called, and between them is done, only what depends on nothing but the network's state.
        """
        raise NotImplementedError

    def recall(self, network: UserNetwork, number: int) -> None:
        """Makes the network answer a task as it did when that had just been learned, as far as the method can."""

    def stored(self, lesson: Lesson, learned: frozenset[str]) -> dict[str, Tensor]:
        """What must be stored for a task, beside what tasks share: the pre-trained network, or the one of all tasks.

        Args:
            lesson: when its phases have ended.
            learned: names of the weights that learned.
        """
        state, own = lesson.network.state_dict(), f"heads.{lesson.number}." if lesson.number else "output."
        names = [name for name in state if name.startswith(own)] if self.begins == "previous" else sorted(learned)
        return {name: state[name] for name in names}

    def restore(self, network: UserNetwork, stored: dict[str, Tensor]) -> None:
        """Puts back what was stored for a task into a network that was begun and prepared again.

        Raises:
            RunError: weights that this network has not.
        """
        if unknown := network.load_state_dict(stored, strict=False).unexpected_keys:
            raise RunError(f"stored are {len(unknown)} weights that the network has not, such as {unknown[0]}")

    def report(self, network: UserNetwork) -> dict[str, Any]:
        """What the method has to tell after a task, for ``results.json``."""
        return {}
