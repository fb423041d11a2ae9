"""Full ranking with history mask, top-k lists and tie counts against nothing but the products of the vectors."""

import argparse
import gc
from typing import Any

from eval.memory import PeakMemory
from eval.speed import Timing, alternate

ROWS = 512
HISTORY = 50


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=64, help="of the vectors")
    parser.add_argument("-k", type=int, default=10, help="length of the lists")


def measure(arguments: argparse.Namespace) -> Timing:
    """Times both on random vectors; targets are random too, so that no block of items may be passed over."""
    import torch

    from llmrec import ranking

    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    users = torch.randn(arguments.users, arguments.width, generator=generator)
    items = torch.randn(arguments.items + 1, arguments.width, generator=generator)
    target, histories = (
        torch.randint(1, arguments.items + 1, size, generator=generator)
        for size in ((arguments.users,), (arguments.users, HISTORY))
    )

    def products() -> None:
        scores = torch.empty(ROWS, arguments.items)
        for start in range(0, len(users), ROWS):
            part = users[start : start + ROWS]
            torch.mm(part, items[1:].T, out=scores[: len(part)])

    def ranks() -> None:
        ranker = ranking.Ranker(arguments.items, arguments.k)
        for start in range(0, len(users), ROWS):
            rows = slice(start, start + ROWS)
            _rank(ranker, users[rows], items, target[rows], histories[rows])

    gc.collect()
    with PeakMemory() as memory:
        seconds = alternate({"llmrec ranking": ranks, "bare products": products}, arguments.repeats)
    sizes = f"{arguments.users:,} users x {arguments.items:,} items, width {arguments.width}"
    return Timing(
        title=f"{sizes}, {HISTORY} items masked, top {arguments.k}, counts above and tied",
        unit="users",
        work=arguments.users,
        seconds=seconds,
        ratios=[("bare products", "llmrec ranking", "at most 2x")],
        notes=[
            f"Peak anonymous memory (RssAnon) of the whole process: {memory.peak / 1e9:.2f} GB, asked for: under 2 GB.",
            "Targets are random, the worst case: no tile of items can be passed over while counting.",
        ],
        facts={"peak_rss_anon_bytes": memory.peak},
    )


def _rank(ranker: Any, users: Any, items: Any, target: Any, histories: Any) -> None:
    import torch

    from llmrec import ranking

    rows = torch.arange(len(users)).repeat_interleave(histories.shape[1])
    masked = ranking.Masked.of(rows, histories.flatten())
    ranker.rank(lambda start, stop, room: torch.mm(users, items[start:stop].T, out=room), target, masked)
