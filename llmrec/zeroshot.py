"""A prompted language model as a recommender: cases and candidates in, scores out, whoever answers.

Candidates are shown in an order that seed, case and round alone determine, another one for every case and round, so
that no retriever's order and no liking of a model for a place reaches the result (what LLMRank's released shuffle does
not do: it gives every case the same order).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import polars as pl

from llmrec import merging
from llmrec.asking import Asker, Usage
from llmrec.backends import Reply, Request
from llmrec.candidates import Candidates, Scores, drawn, generator
from llmrec.errors import ConfigError
from llmrec.prompt_rows import HISTORY, PromptRows
from llmrec.prompting import Prompt
from llmrec.questions import Judged, Question
from llmrec.scorings import Scoring
from llmrec.splits import Split

Merge = Literal["borda", "kemeny"]
MERGES: dict[str, Callable[[merging.Rounds], Scores]] = {"borda": merging.borda, "kemeny": merging.kemeny}
RECORDS: Any = {
    "case_id": pl.String,
    "round": pl.Int64,
    "place_of_target": pl.Int64,
    "picked": pl.Int64,
    "status": pl.String,
    "named": pl.Int64,
    "invented": pl.List(pl.String),
    "duplicates": pl.Int64,
    "text": pl.String,
}
"""One row for each case and round: what was seen of the answer, places counted from 0 as shown. ``picked`` is null
where several candidates are best, ``named`` and what follows where options were scored."""


@dataclass(frozen=True)
class Example:
    """A user's question with its right answer."""

    user: int
    question: str
    answer: str


@dataclass(frozen=True)
class Way:
    """How cases are asked about.

    ``wanted``: candidates to be named; ``last``: recent items that are shown; ``rounds``: the most orders in which the
    candidates of a case are shown; ``shots``: how many of the ``examples`` stand before a question, never its own
    user's.
    """

    prompt: Prompt
    scoring: Scoring
    wanted: int
    last: int = HISTORY
    rounds: int = 1
    merge: Merge = "borda"
    seed: int = 0
    shots: int = 0
    examples: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        if self.last < 0 or self.rounds < 1:
            raise ConfigError(f"history must be at least 0 and rounds at least 1, came {self.last} and {self.rounds}")


@dataclass
class Outcome:
    """What a model made of the candidates: scores in their order, a record of each answer, and what it took.

    ``taus``: of each case with several rounds, Kendall's tau between one round and the next, on average.
    """

    scores: list[Scores]
    records: pl.DataFrame
    usage: Usage
    taus: list[float] = field(default_factory=list)


def rank(candidates: Candidates, rows: PromptRows, way: Way, asker: Asker, repeat: int = 0) -> Outcome:
    """Asks about every case until its order is settled or the rounds are over.

    Args:
        candidates: with their cases.
        rows: of the cases' data.
        way: how to ask.
        asker: whom.
        repeat: for the how-manieth time, of a model that may answer otherwise.

    Raises:
        ConfigError: more candidates than the rounds can be merged of.
        BackendError: the model does not answer.
    """
    longest = max(map(len, candidates.items), default=0)
    if way.merge == "kemeny" and way.rounds > 1 and longest > merging.SHORT:
        raise ConfigError(f"kemeny is for at most {merging.SHORT} candidates, came {longest}; take borda")
    rounds: list[list[Scores]] = [[] for _ in candidates.items]
    merged: list[Scores] = [np.zeros(len(items)) for items in candidates.items]
    records, usage, open_cases = [], Usage(), list(range(len(candidates.items)))
    for number in range(way.rounds):
        orders = {row: _order(candidates, row, way.seed, number) for row in open_cases}
        questions = [question(candidates, rows, way, row, orders[row]) for row in open_cases]
        for row, (judged, replies) in zip(open_cases, _judge(questions, way, asker, usage, repeat), strict=True):
            scores = np.empty(len(orders[row]))
            scores[orders[row]] = judged.scores
            rounds[row].append(scores)
            records.append(_record(candidates, row, number, orders[row], judged, replies))
        before, merged = merged, [_merge(each, way.merge) for each in rounds]
        if number:
            open_cases = [row for row in open_cases if not merging.settled(before[row], merged[row])]
    taus = [float(np.mean([merging.kendall(*pair) for pair in pairwise(each)])) for each in rounds if each[1:]]
    return Outcome(merged, pl.DataFrame(records, RECORDS), usage, taus)


def estimate(candidates: Candidates, rows: PromptRows, way: Way, asker: Asker) -> Usage:
    """What :func:`rank` would take at most: every round of every case, less the answers that are known."""
    requests: list[Request] = []
    for number in range(way.rounds):
        for row in range(len(candidates.items)):
            asked = question(candidates, rows, way, row, _order(candidates, row, way.seed, number))
            requests += way.scoring.requests(asked)
    return asker.estimate(requests)


def question(candidates: Candidates, rows: PromptRows, way: Way, row: int, order: np.ndarray) -> Question:
    """One case with its candidates in this order."""
    variables = rows.variables(candidates.cases, row, candidates.items[row][order].tolist(), way.last)
    # What became of the target is nobody's business here, whatever a prompt of the user's own may say.
    variables = {name: value for name, value in variables.items() if name not in ("item", "interaction")}
    user = int(candidates.cases.user[row])
    others = [(each.question, each.answer) for each in way.examples if each.user != user]
    return Question(way.prompt, variables, way.wanted, candidates.ids[row], tuple(others[: way.shots]))


def examples(split: Split, rows: PromptRows, way: Way, number: int, size: int) -> tuple[Example, ...]:
    """Questions with their right answers, to be shown before the one that is asked: validation cases.

    They are of one user each and one more than are shown, for whoever is among them is not shown his own. No test
    target of their users stands among the wrong candidates.

    Args:
        split: of the data.
        rows: of the same.
        way: the prompt and the seed.
        number: how many are shown.
        size: candidates of each.

    Raises:
        ConfigError: more examples than users, or more candidates than there are items to draw from.
    """
    _, firsts = np.unique(split.validation.user, return_index=True)
    if number >= len(firsts):
        raise ConfigError(
            f"{number} examples were asked for of users other than the one that is asked about, and there are "
            f"{len(firsts)} users with validation cases"
        )
    places = generator(way.seed, "examples").choice(firsts, number + 1, replace=False)
    chosen = split.validation.take(np.sort(places))
    barred = [split.test.target[split.test.user == user] for user in chosen.user]
    shown = drawn(chosen, split.dataset, size, way.seed, barred)
    found = []
    for row, user in enumerate(chosen.user):
        variables = rows.variables(chosen, row, shown.items[row].tolist(), way.last)
        asked, answer = (way.prompt.render(section, **variables) for section in ("user", "answer"))
        found.append(Example(int(user), asked, answer))
    return tuple(found)


def _order(candidates: Candidates, row: int, seed: int, number: int) -> np.ndarray:
    """Places of the candidates in the order in which a round shows them."""
    order: np.ndarray = generator(seed, candidates.ids[row], "round", number).permutation(len(candidates.items[row]))
    return order


def _judge(
    questions: Sequence[Question], way: Way, asker: Asker, usage: Usage, repeat: int
) -> list[tuple[Judged, list[Reply]]]:
    requests = [way.scoring.requests(each) for each in questions]
    replies = iter(asker.ask([each for some in requests for each in some], usage, repeat))
    own = [[next(replies) for _ in some] for some in requests]
    return [(way.scoring.judge(each, some), some) for each, some in zip(questions, own, strict=True)]


def _merge(rounds: list[Scores], merge: Merge) -> Scores:
    return rounds[0] if len(rounds) == 1 else MERGES[merge](np.stack(rounds))


def _record(
    candidates: Candidates, row: int, number: int, order: np.ndarray, judged: Judged, replies: list[Reply]
) -> dict[str, Any]:
    target, answer = candidates.place_of_target(row), judged.answer
    return {
        "case_id": candidates.ids[row],
        "round": number,
        "place_of_target": None if target is None else int(np.flatnonzero(order == target)[0]),
        "picked": judged.picked,
        "status": answer.status if answer else "ok",
        "named": len(answer.ranking) if answer else None,
        "invented": list(answer.invented) if answer else None,
        "duplicates": answer.duplicates if answer else None,
        "text": "\n".join(reply.text for reply in replies) if answer else None,
    }
