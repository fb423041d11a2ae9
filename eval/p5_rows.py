"""What one run that writes names makes of every prompt of its families, seen in training or not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eval import p5_texts
from eval.p5_answers import Answers
from eval.p5_study import AMONG, Result, Said, Study, options_of
from eval.zeroshot_candidates import scores_of
from llmrec import building, components, id_leak, predictions, runs
from llmrec.config import RunConfig
from llmrec.errors import PromptError
from llmrec.generative.examples import prompts_of, question, some
from llmrec.generative.recommender import GenerativeRecommender
from llmrec.interactions import Dataset
from llmrec.prompt_rows import PromptRows, columns, filled
from llmrec.prompting import Prompt
from llmrec.runs import RunTable
from llmrec.sequences import Sequences

BEAMS = 10


def free(study: Study, prompts: Sequence[Prompt] = ()) -> Result:
    """What needs no training; ``prompts`` are those that will be asked, for the texts that they ask for."""
    texts = p5_texts.without_training(study, prompts)
    result = Result(predictions=[*_ratings_without_training(study), *texts])
    for name in components.names("baselines"):
        specification = components.resolve("baselines", name)
        baseline = components.create("baselines", specification)
        if study.known.has(baseline.needs):
            scorer = baseline.fit(study.known)
            result.add(_all(study, name, scorer, study.candidates.scores(scorer), {"baseline": specification}))
    return result


def of_vectors(study: Study, name: str, folder: Path, saved: RunTable) -> Result:
    """A run that compares vectors."""
    scores = scores_of(folder, study.candidates)
    result = _all(study, name, building.load(folder), scores, saved.provenance)
    result.trained[name] = [saved]
    return result


def _all(study: Study, name: str, scorer: Any, scores: Any, facts: dict[str, Any]) -> Result:
    made = facts if "versions" in facts else runs.provenance(**facts)
    ranked = {**study.full(scorer, made), AMONG: study.among(scores, made)}
    return Result({group: {name: [table]} for group, table in ranked.items()})


def ask(run: str, folder: Path, study: Study) -> Result:
    """Asks one run by every prompt of its families that the data can fill, and by those that it recommends by.

    Args:
        run: its name in the tables; seeds of one model share it.
        folder: of the run.
        study: whom to ask about.
    """
    options = options_of(folder)
    assert options.p5 is not None
    model, saved = building.load(folder), RunTable.load(folder / "test")
    assert isinstance(model, GenerativeRecommender)
    rows = PromptRows(study.split.dataset, ids=model.ids.names)
    asked = Answers(model, rows, study.cases, options.p5.max_target)
    result, used, own = Result(trained={run: [saved]}), saved.provenance["prompts"], folder.absolute().name
    chosen = prompts(options, study.split.dataset, study.only)
    with study.console.counting(f"{own}: prompts") as progress:
        for number, prompt in enumerate(chosen):
            progress(number, len(chosen))
            result.add(_answer(run, prompt, _short(prompt, used), asked, saved.provenance, study))
            if prompt.name == options.p5.prompt:
                result.pairs.append((f"{run} {_short(prompt, used)}", "popularity"))
    for prompt in [each for each in chosen if _asks_for_one(each) and each.name in used][:1]:
        result.notes.append(f"{own}, {_short(prompt, used)}: {_written(asked, prompt)}")
    if leak := id_leak.next_number(study.cases, model.ids.names):
        result.notes.append(f"{own}: {leak.words}")
    return result


def _answer(run: str, prompt: Prompt, short: str, asked: Answers, provenance: dict[str, Any], study: Study) -> Result:
    """What one model says to one prompt."""
    name, facts, kind = f"{run} {short}", {**provenance, "prompt": prompt.name}, question(prompt)
    if kind == "item":
        ranked = study.full(_Kept(asked.model.by(prompt)), facts)
        return Result({group: {name: [table]} for group, table in ranked.items()})
    if kind == "pick" or (kind == "choice" and prompt.anatomy.shows("candidates")):
        scores = (asked.picks if kind == "pick" else asked.by_yes)(prompt, study.candidates)
        return Result({AMONG: {name: [study.among(scores, facts)]}})
    if kind in ("rating", "choice") and study.stars is None:
        return Result(notes=[f"{name}: left out, for the data have no ratings from 1 to 5"])
    if kind == "rating":
        return Result(predictions=_rated(run, short, asked.ratings(prompt), study))
    if kind == "choice":
        return _chosen(run, short, prompt, asked.choices(prompt, study.seed), study)
    return _text(run, short, prompt, asked.texts(prompt), study)


def _text(run: str, short: str, prompt: Prompt, said: pl.DataFrame, study: Study) -> Result:
    """A note where no case has such a text."""
    if not len(said):
        return Result(notes=[f"{run} {short}: left out, for no case has what it asks for and shows"])
    about = p5_texts.kind(prompt, study) or prompt.name
    measured = p5_texts.measured(said, study, about, run=run, prompt=short)
    return Result(predictions=[measured], notes=[f"{run} {short} writes most often {p5_texts.most_often(said)}"])


class _Kept:
    """A scorer that is asked once for what is ranked twice."""

    def __init__(self, scorer: Any) -> None:
        self.scorer, self.known = scorer, dict[tuple[bytes, ...], Any]()

    def score(self, histories: Sequences) -> Any:
        users = histories.user_indices().numpy()
        key = tuple(part.tobytes() for part in (histories.values, histories.offsets, users))
        if key not in self.known:
            self.known[key] = self.scorer.score(histories)
        return self.known[key]


def prompts(options: RunConfig, data: Dataset, only: Sequence[str] = ()) -> list[Prompt]:
    """Those of a run's families and those that it recommends by, as far as the data can fill them.

    Args:
        options: of the run.
        data: to ask about.
        only: names; these and the one that known users are recommended by take the place of all others.

    Raises:
        PromptError: one that cannot be read, is none of P5's or shows a field that no row has, or one of ``only`` that
            the data never fill.
    """
    assert options.p5 is not None
    known, full = columns(data), filled(data)
    families = [family for family, number in options.p5.examples.items() if some(number)]
    named = only or [prompt.name for family in families for prompt in prompts_of(family)]
    own = (options.p5.prompt,) if only else (options.p5.prompt, options.p5.anonymous)
    found = {name: Prompt.load(name) for name in (*named, *own)}
    if other := [name for name, prompt in found.items() if prompt.kind != "p5"]:
        raise PromptError(f"prompt {other[0]!r} is none of prompts/p5/, such as p5/rating/by_title")
    for prompt in found.values():
        prompt.check_fields(known)
    empty = {name: uses for name, prompt in found.items() if (uses := prompt.anatomy.never_filled(known, full))}
    if named_alone := [name for name in only if name in empty]:
        fields = ", ".join(f"{use.variable}.{use.field}" for use in empty[named_alone[0]])
        raise PromptError(f"{named_alone[0]} shows {fields}, which {data.name} never fills; take another prompt")
    return [prompt for name, prompt in found.items() if name not in empty]


def _short(prompt: Prompt, used: dict[str, str]) -> str:
    """Its name, and whether training used it in these words."""
    told = {None: " (unseen)", prompt.hash: ""}.get(used.get(prompt.name), " (edited since)")
    return prompt.name.removeprefix("p5/") + told


def _asks_for_one(prompt: Prompt) -> bool:
    return question(prompt) == "item" and not prompt.anatomy.shows("following")


def _written(asked: Answers, prompt: Prompt) -> str:
    found = asked.free(prompt, BEAMS)
    return (
        f"without the trie {found['valid']:.2%} of the {found['texts']:,} texts of {BEAMS} beams name an item, and "
        f"{found['duplicates']:.2%} are said twice"
    )


def _rated(run: str, prompt: str, tables: dict[str, pl.DataFrame], study: Study) -> list[Said]:
    """Nothing where no case has stars."""
    found = []
    for way, table in tables.items() if len(tables["written"]) else ():
        metrics = predictions.ratings(table, study.users_of(table), _mean(study))
        unread = table["score"].null_count()
        told = f"{unread} no number from 1 to 5" if unread else ""
        found.append(Said(run, prompt, way, len(table), metrics, told))
    return found


def _chosen(run: str, name: str, prompt: Prompt, table: pl.DataFrame, study: Study) -> Result:
    """A note where all answers are the same, as of very few cases: they have no order to measure."""
    if table["target"].n_unique() < 2:
        return Result(notes=[f"{run} {name}: left out, for all {len(table)} answers are the same"])
    word, most = prompt.head.words[0], table["target"].value_counts(sort=True)
    metrics = predictions.choices(table, study.users_of(table), word)
    told = f"always {most['target'][0]}: {most['count'][0] / len(table):.4f}"
    return Result(predictions=[Said(run, name, f"({word}?)", len(table), metrics, told)])


def _mean(study: Study) -> float:
    assert study.stars is not None
    return float(study.stars["rating"].to_numpy().mean())


def _ratings_without_training(study: Study) -> list[Said]:
    """The mean of the training ratings, and the same with what item and user add to it (shrunk by ten ratings)."""
    if study.stars is None:
        return []
    mean, rows = _mean(study), PromptRows(study.split.dataset)
    item, user, over = (study.stars[name].to_numpy() for name in ("item", "user", "rating"))
    of_item = _adds(item, over - mean, len(rows.items))
    of_user = _adds(user, over - mean - of_item[item], len(rows.users))
    cases, found = study.cases, []
    places = (each.tolist() for each in (cases.user, cases.target, cases.histories.lengths))
    events = [rows.interaction(*each) for each in zip(*places, strict=True)]
    table = pl.DataFrame(
        {
            "case_id": cases.case_ids(study.split.dataset.user_ids),
            "target": [None if event["rating"] is None else str(event["rating"]) for event in events],
            "mean": mean,
            "mean, item and user": np.clip(mean + of_item[cases.target] + of_user[cases.user], 1, 5),
        }
    ).drop_nulls()
    for way in table.columns[2:] if len(table) else ():
        metrics = predictions.ratings(table.rename({way: "score"}), study.users_of(table), mean)
        found.append(Said("", "", f"{way} of the training part", len(table), metrics))
    return found


def _adds(places: np.ndarray, over: np.ndarray, number: int) -> np.ndarray:
    """By index, what ratings are above the rest on average, drawn to nothing where there are few."""
    added: np.ndarray = np.bincount(places, over, number) / (np.bincount(places, minlength=number) + 10)
    return added
