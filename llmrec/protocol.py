"""What was measured and how. Tables that differ in any field are never compared."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_serializer

from llmrec.errors import ProtocolError


class Protocol(BaseModel):
    """The conditions that a metric depends on; equal hashes mean comparable numbers.

    Training seeds, transforms and versions are provenance, not protocol: they are saved and printed beside a number
    and may differ between compared runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    data_hash: str
    """Content hash of the log and the item texts, whatever files they came from."""
    split: str
    targets: str
    """Which interactions are predicted, in words."""
    test_history: str
    """What is known of a user when a test target is asked for, in words."""
    mask_history: bool
    """Whether a user's whole history is removed from his ranking. The target counts as a miss if it stands in it."""
    ties_in_time: Literal["file order"] = "file order"
    ties_in_score: Literal["expectation"] = "expectation"
    """A target that ties with others takes each of the tied places with equal probability."""
    filter: str
    """What was taken from the data before it was split, in words."""
    candidates: str
    """``catalogue``, or how many and of what kind."""
    candidate_seed: int | None = None
    k: int
    """Length of the saved rankings; no metric looks deeper unless the counts above the target are known."""
    cases: str
    """Hash of the case ids of the test part."""
    explanations: str | None = None
    """How explanations were made, in words, where they were not read; else the field is not written."""

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Protocols of data as they were read keep the hash that they had before there was the field."""
        fields = dump(self)
        return fields if self.explanations is not None else {k: v for k, v in fields.items() if k != "explanations"}

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits over all fields."""
        return digest(self.model_dump())

    def difference(self, other: "Protocol") -> dict[str, tuple[object, object]]:
        """The fields in which two protocols differ, with both values."""
        return {
            name: (getattr(self, name), getattr(other, name))
            for name in type(self).model_fields
            if getattr(self, name) != getattr(other, name)
        }

    def line(self) -> str:
        """The protocol in one line, for the foot of a table."""
        mask = "history masked" if self.mask_history else "history not masked"
        explained = "" if self.explanations is None else f"explanations {self.explanations}; "
        return (
            f"{self.data} ({self.data_hash[:8]}), {self.split}: {self.targets}; test history = {self.test_history}; "
            f"{mask}; candidates: {self.candidates}; time ties: {self.ties_in_time}; score ties: {self.ties_in_score}; "
            f"filter: {self.filter}; {explained}protocol {self.hash}"
        )


def digest(fields: dict[str, object]) -> str:
    """Sixteen hexadecimal digits over the fields of a protocol, also of one saved before a field was added or named."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def require_equal(protocols: dict[str, Protocol]) -> None:
    """Refuses to compare runs whose protocols differ.

    Raises:
        ProtocolError: names the first differing run, each differing field and both values.
    """
    (first_name, first), *others = protocols.items()
    for name, protocol in others:
        if different := first.difference(protocol):
            fields = "; ".join(f"{field}: {a!r} against {b!r}" for field, (a, b) in different.items())
            raise ProtocolError(
                f"{first_name} and {name} were measured differently and can't stand in one table: {fields}. "
                "Run one of them again under the other's protocol."
            )
