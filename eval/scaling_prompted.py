"""How a prompted language model compares: what ``eval.zeroshot --task hr@1 --save`` has kept for a data set."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmrec.evaluation import Interval
from llmrec.report import interval

RESULTS = Path("eval/results")
METRIC = "HR@1"


def lines(name: str, data: str, folder: Path = RESULTS) -> Iterator[str]:
    """A line for each prompted model and one for what stood beside it on the same users and candidates.

    Args:
        name: of the scaling study, as its runs are called.
        data: name of the data set.
        folder: of the kept results.
    """
    files = sorted(folder.glob(f"zeroshot-{data}-hr-1-*.json"))
    if not files:
        yield "- not measured"
    for file in files:
        study = json.loads(file.read_text(encoding="utf-8"))
        rows = {row["name"]: row for row in study["rows"]}
        mine, chance = rows[study["model"]], study["chance"][METRIC]
        yield f"- {study['model']}, {mine['n']} users, {METRIC}: {_told(mine)}, chance {chance:.4f}"
        beside = ("popularity", f"scaling-{name}-")
        others = [f"{each} {_told(row)}" for each, row in rows.items() if each.startswith(beside)]
        yield f"- beside it: {', '.join(others)} ({file.with_suffix('.md').name})"


def _told(row: dict[str, Any]) -> str:
    return interval(Interval(**row["metrics"][METRIC]))
