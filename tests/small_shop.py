"""A small shop with titles, and models of one line that are asked about it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tables import PROTOCOL

from llmrec import evaluation
from llmrec.answer_store import AnswerStore
from llmrec.asking import Asker
from llmrec.backends import Backend, Reply, Request
from llmrec.backends.scripted import Scripted
from llmrec.candidates import Candidates, Scores, drawn
from llmrec.interactions import Dataset
from llmrec.prompt_rows import PromptRows
from llmrec.prompting import Prompt
from llmrec.runs import RunTable
from llmrec.scorings import Scoring
from llmrec.splits import Split
from llmrec.splits.leave_one_out import LeaveOneOut
from llmrec.zeroshot import Way

ADJECTIVES = ("Red", "Grand", "Silent", "Broken", "Velvet", "Hollow", "Golden", "Frozen", "Lucky", "Distant")
NOUNS = ("Harbour", "Monkey", "Garden", "Bishop", "Engine", "Lantern", "River", "Castle", "Orchard", "Pilot", "Mirror")


def shop(users: int = 12, items: int = 110, length: int = 6) -> Dataset:
    """Every user has so many different items; all titles are different words."""
    generator = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}", 100 * user + place)
        for user in range(users)
        for place, item in enumerate(generator.choice(items, length, replace=False))
    ]
    titles = [f"{ADJECTIVES[number % 10]} {NOUNS[number // 10]}" for number in range(items)]
    table = pl.DataFrame({"item_id": [f"i{number}" for number in range(items)], "title": titles})
    return Dataset.from_tables("shop", pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row"), table)


def full_shop() -> Dataset:
    """The same with every field that a prompt of P5 can show; of the stars each number is given."""
    plain, stars = shop(), [1.0, 2.0, 3.0, 4.0, 5.0]
    log = plain.interactions.with_row_index("row").select(
        user_id=pl.Series(plain.user_ids)[plain.interactions["user"]],
        item_id=pl.Series(plain.item_ids)[plain.interactions["item"]],
        timestamp="timestamp",
        rating=pl.Series(stars * len(plain.interactions)).head(len(plain.interactions)),
        review=pl.format("The {}th review, long and\nin two lines.", "row"),
        summary=pl.format("Headline {}", "row"),
        feature=pl.Series(["fit", "smell", "price"] * len(plain.interactions)).head(len(plain.interactions)),
        explanation=pl.format("it is reason {}", "row"),
    )
    items = plain.items.with_columns(brand=pl.lit("Acme"), price=pl.lit(12.5))
    names = plain.users.with_columns(name=pl.format("Ann Number{}", pl.int_range(pl.len())))
    return Dataset.from_tables("full", log, items, names)


def asked(number: int, users: int = 12, seed: int = 0, split: Split | None = None) -> tuple[Candidates, PromptRows]:
    """The test cases with so many candidates each, and how they are shown."""
    split = split or LeaveOneOut().split(shop(users))
    return drawn(split.test, split.dataset, number, seed), PromptRows(split.dataset)


def way(scoring: Scoring, prompt: str = "zeroshot/rank", wanted: int = 5, **options: Any) -> Way:
    return Way(Prompt.load(scoring.prompt or prompt), scoring, wanted, **options)


def asker(folder: Path, backend: Backend) -> Asker:
    return Asker(backend, AnswerStore(folder / "answers.sqlite"))


def scripted(candidates: Candidates, rows: PromptRows, script: Any = "oracle") -> Scripted:
    backend = Scripted("", script=script)
    if script == "oracle":
        targets = [rows.items[target] for target in candidates.cases.target]
        backend.tell({case: (row["title"], row["text"]) for case, row in zip(candidates.ids, targets)})
    return backend


def measured(candidates: Candidates, scores: list[Scores], metric: str = "HR@1") -> tuple[float, float]:
    """The metric and its chance."""
    found = evaluation.summary(RunTable(*candidates.ranked(scores), PROTOCOL, {}), (metric,))[metric]
    return found["value"], found["chance"]


class Says:
    """A model that is one function of the request; it remembers what it was asked."""

    scores_whole = True
    trial = None

    def __init__(self, say: Callable[[Request], Reply]) -> None:
        self.say, self.requests = say, []

    def identity(self) -> dict[str, Any]:
        return {"backend": "says"}

    def count_tokens(self, request: Request) -> int:
        return len(request.user.split())

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        for place, request in enumerate(requests):
            self.requests.append(request)
            yield place, self.say(request)
