"""Whether a model knows a data set by heart: what it reaches there may then be memory and no judgement.

GPT-4-class models were found to recall four of five items of MovieLens-1M (arXiv:2505.10212), with the rate of recall
going along with the quality of their recommendations.
"""

from dataclasses import dataclass

import numpy as np

from llmrec.asking import Asker, Usage
from llmrec.backends import Request
from llmrec.candidates import generator
from llmrec.evaluation import Interval
from llmrec.interactions import Dataset
from llmrec.prompt_rows import item_rows
from llmrec.titles import words

PROBES = 32
"""Items of each probe."""
_SHOWN = 3
_SYSTEM = "You know public data sets by heart. You answer with what stands in the file and nothing else."


@dataclass(frozen=True)
class Recall:
    """Share of titles that a model says word for word, with its 95 % interval (Wilson)."""

    title_from_id: Interval
    next_line: Interval
    usage: Usage


def probe(dataset: Dataset, asker: Asker, seed: int = 0) -> Recall | None:
    """Asks for the titles of drawn ids, and for the line of the item file behind some of its lines.

    Returns:
        What was recalled; None where the items have no titles.

    Raises:
        BackendError: the model does not answer.
    """
    rows = [(row["item_id"], row["title"]) for row in item_rows(dataset)]
    lines = [f"{item}|{title}" for item, title in rows]
    able = [place for place in range(_SHOWN, len(rows)) if rows[place][1]]
    if not able:
        return None
    random = generator(seed, "memorised")
    places = np.sort(random.choice(able, min(PROBES, len(able)), replace=False)).tolist()
    examples = random.choice(len(rows), _SHOWN, replace=False).tolist()
    from_id = [_from_id(dataset.name, [lines[e] for e in examples if e != p], rows[p][0]) for p in places]
    behind = [_behind(dataset.name, lines[place - _SHOWN : place]) for place in places]
    usage = Usage()
    replies = asker.ask([*from_id, *behind], usage)
    hits = [_says(reply.text, rows[place][1]) for reply, place in zip(replies, [*places, *places], strict=True)]
    return Recall(_share(hits[: len(places)]), _share(hits[len(places) :]), usage)


def _from_id(name: str, examples: list[str], item: str) -> Request:
    lines = "\n".join(examples)
    text = f"Lines of the item file of {name} hold an id and a title:\n{lines}\nWhat is the title behind id {item}?"
    return Request(_SYSTEM, text, max_new_tokens=24)


def _behind(name: str, lines: list[str]) -> Request:
    text = f"These lines follow one another in the item file of {name}:\n" + "\n".join(lines)
    return Request(_SYSTEM, f"{text}\nWhich line comes next? Answer with its id and title.", max_new_tokens=32)


def _says(answer: str, title: str) -> bool:
    return f" {' '.join(words(title))} " in f" {' '.join(words(answer))} "


def _share(hits: list[bool]) -> Interval:
    from scipy.stats import binomtest

    found = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return Interval(sum(hits) / len(hits), float(found.low), float(found.high))
