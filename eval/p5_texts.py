"""Texts that P5's prompts ask for, explanations and headlines: how they are measured, and what needs no training."""

from collections import Counter
from collections.abc import Sequence

import polars as pl

from eval.p5_answers import predicted
from eval.p5_study import Said, Study
from llmrec import predictions
from llmrec.generative.examples import question
from llmrec.prompt_rows import PromptRows, tables
from llmrec.prompting import Prompt

SHOWN = 60
"""Characters of a text in a note."""


def kind(prompt: Prompt, study: Study) -> str | None:
    """What its targets look like, such as ``explanation`` or ``5.0: explanation``: what prompts share a table by.

    None if a target is made of more than the interaction.
    """
    if any(use.variable != "interaction" for use in prompt.anatomy.uses if use.section == prompt.answer):
        return None
    fields = tables(study.split.dataset)["interaction"].schema
    return prompt.render("target", interaction={n: 5.0 if kind.is_numeric() else n for n, kind in fields.items()})


def measured(said: pl.DataFrame, study: Study, about: str, *, run: str = "", prompt: str = "", way: str = "") -> Said:
    """One row of the tables of texts; a model that always writes the same has one unique text."""
    written, metrics = said["prediction"], predictions.texts(said, study.users_of(said))
    counts = {"empty": int((written == "").sum()), "unique": written.n_unique()}
    told = f"{counts['empty']} empty" if counts["empty"] else ""
    return Said(run, prompt, way, len(said), metrics, told, about, counts)


def most_often(said: pl.DataFrame) -> str:
    """What is written most often, and how often, in words."""
    ((text, times),) = Counter(said["prediction"]).most_common(1)
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
    return f"{shown!r} ({times:,} of {len(said):,})"


def without_training(study: Study, prompts: Sequence[Prompt]) -> list[Said]:
    """Of each kind of text that is asked for, what the training part says most often, and last about the same item.

    About an item that it says nothing of, the latter says what is said most often.
    """
    asked = [prompt for prompt in prompts if question(prompt) == "text"]
    kinds = {about: prompt for prompt in reversed(asked) if (about := kind(prompt, study)) is not None}
    rows, found = PromptRows(study.split.dataset), []
    for about, prompt in reversed(kinds.items()):
        table = _simple_texts(prompt, study, rows)
        for way in table.columns[2:] if len(table) else ():
            said = predicted(*(table[column].to_list() for column in ("case_id", "target", way)))
            found.append(measured(said, study, about, way=way))
    return found


def _simple_texts(prompt: Prompt, study: Study, rows: PromptRows) -> pl.DataFrame:
    """Case, target and one text of each way that needs no training; no row where the training part has no text."""
    numbers, cases = study.split.log_rows, study.cases
    log = study.split.dataset.interactions.select("item", "timestamp")[numbers]
    texts = [prompt.render("target", interaction=event) for event in rows.events(numbers)]
    known = log.with_columns(text=pl.Series(texts, dtype=pl.String)).filter(pl.col("text") != "")
    often = Counter(known["text"]).most_common(1)
    latest = dict(known.sort("timestamp", maintain_order=True).select("item", "text").iter_rows())
    events = zip(cases.user.tolist(), cases.target.tolist(), cases.histories.lengths.tolist(), strict=True)
    table = pl.DataFrame(
        {
            "case_id": cases.case_ids(study.split.dataset.user_ids),
            "target": [prompt.render("target", interaction=rows.interaction(*event)) for event in events],
            "most frequent text of the training part": often[0][0] if often else None,
            "latest of the item in the training part": [latest.get(item) for item in cases.target.tolist()],
        }
    )
    usual, latest_of_item = table.columns[2:]
    return table.with_columns(pl.col(latest_of_item).fill_null(pl.col(usual))).filter(
        pl.col("target") != "", pl.col(usual).is_not_null()
    )
