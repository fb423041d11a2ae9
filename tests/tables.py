"""Run tables made by hand, for tests that begin with what a recommender answered."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from llmrec.protocol import Protocol
from llmrec.runs import CASES, RANKINGS, RunTable

PROTOCOL = Protocol(
    data="toy",
    data_hash="0123456789abcdef",
    split="leave_one_out",
    targets="last interaction of each user, the one before it validates",
    test_history="training + validation",
    mask_history=True,
    filter="none",
    candidates="catalogue",
    k=10,
    cases="fedcba9876543210",
)


def counted(
    rows: Sequence[tuple[str, int, int]], *, candidates: int = 101, protocol: Protocol = PROTOCOL, **provenance: Any
) -> RunTable:
    """A run table of cases (user, candidates above the target, candidates tied with it), without lists."""
    cases = [
        (
            f"next_item/{number}/{user}",
            user,
            "next_item",
            number,
            f"target-{number}",
            above,
            tied,
            candidates,
            None,
            None,
        )
        for number, (user, above, tied) in enumerate(rows)
    ]
    return RunTable(
        pl.DataFrame(cases, schema=CASES, orient="row"), pl.DataFrame(schema=RANKINGS), protocol, provenance
    )


def listed(
    target: str, ranked: Sequence[tuple[str, float | None, int]], *, candidates: int | None = 101, k: int = 10
) -> RunTable:
    """What another library gives for one case: a list of (item, score, rank) and no counts."""
    case = ("next_item/0/ann", "ann", "next_item", 0, target, None, None, candidates, None, None)
    rankings = [("next_item/0/ann", "ann", item, score, rank) for item, score, rank in ranked]
    return RunTable(
        pl.DataFrame([case], schema=CASES, orient="row"),
        pl.DataFrame(rankings, schema=RANKINGS, orient="row"),
        PROTOCOL.model_copy(update={"k": k}),
        {},
    )
