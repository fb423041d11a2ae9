"""LLMRank's protocol (arXiv:2305.08845) on its published candidates: is a prompted giant better than honest scoring?

200 users of Amazon Games or MovieLens-1M, the target among 19 drawn from the hundred random items published for each,
ten draws. Likelihoods, cosines and counts do not depend on which candidates stand beside, so every user's hundred are
scored once. Combinations are chosen on other users, whose candidates are drawn the same way. Figures that were
published for this protocol (other draws, one order each) stand below.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from eval import zeroshot_candidates
from llmrec import assets, components, config, evaluation, metrics, preparation, prompt_statistics, zeroshot
from llmrec.answer_store import AnswerStore
from llmrec.asking import Asker
from llmrec.candidates import Candidates, Scores, drawn, generator, stored
from llmrec.config import RunConfig
from llmrec.console import Console
from llmrec.errors import DataError, exit_code
from llmrec.item_text import ItemText
from llmrec.prompt_rows import PromptRows
from llmrec.prompting import Prompt
from llmrec.protocol import Protocol
from llmrec.report import interval
from llmrec.runs import provenance, write_json, write_text
from llmrec.splits import Cases, Split

RESULTS = Path("eval/results")
SHOWN = ("nDCG@1", "nDCG@5", "nDCG@10", "nDCG@20")
DRAWS, OTHERS, DRAWN = 10, 19, 100
CHOSEN_ON = 300
"""Other users on whom combinations are chosen."""
STEPS = 4
"""Weights of a combination are multiples of one over this."""
LLM = "smollm2-135m"
PROMPTED = f"{LLM} likelihood lift"
SITES_LOG = "popularity"
"""What reads the interactions of other users; everything else reads texts and the user's own history."""
_PUBLISHED = {
    "games": {
        "GPT-4 (published)": (39.50, 58.22, 62.88, 65.25), "GPT-3.5 (published)": (23.83, 45.69, 50.31, 55.45),
        "Llama-2-70B (published)": (21.50, 32.30, 37.83, 41.97),
        "UniSRec zero-shot (published)": (18.95, 33.99, 40.71, 48.42),
        "BM25 (published)": (13.92, 28.81, 34.61, 44.35), "popularity (published)": (28.35, 47.42, 52.96, 57.45),
        "SASRec (published)": (56.90, 73.19, 75.92, 77.14),
    },
    "ml-1m": {
        "GPT-4 (published)": (15.50, 40.65, 46.74, 48.42), "GPT-3.5 (published)": (23.33, 42.07, 48.80, 53.73),
        "Llama-2-70B (published)": (8.00, 25.42, 31.19, 34.52),
        "UniSRec zero-shot (published)": (7.37, 18.80, 26.67, 37.93),
        "BM25 (published)": (4.70, 12.68, 17.88, 33.19), "popularity (published)": (22.91, 45.16, 52.33, 55.36),
        "SASRec (published)": (61.39, 76.39, 78.89, 79.79),
    },
}  # fmt: skip
_SETS = {
    "games": ("llmrank-games", "Games.random", "items/title"),
    "ml-1m": ("configs/data/ml-1m-llmrank.yaml", "candidates/ml-1m.random", "items/title_genres"),
}


Pool = dict[str, list[Scores]]
"""What each system gives the candidates of every case."""


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.llmrank", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=_SETS, help="which data set")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of its files and the published candidates")
    parser.add_argument("--against", nargs="*", type=Path, default=[], help="trained runs to measure too")
    parser.add_argument("--answers", type=Path, help="file of the answers (default: answers.sqlite in the cache)")
    arguments = parser.parse_args(argv)
    print(study(arguments.name, arguments.data_dir, arguments.against, arguments.answers))
    return 0


def study(name: str, folder: Path, against: Sequence[Path], answers: Path | None = None) -> str:
    """Scores, chooses, measures and writes eval/results/llmrank-NAME.md and .json; returns the report."""
    from llmrec.sources import load_dataset

    data, file, prompt = _SETS[name]
    flags = {"data": data, "data_dir": folder, "model": LLM}
    options = config.load(None, [f"features.prompt={prompt}"], flags).resolved()
    console = Console()
    split = preparation.cut(options, load_dataset(data, folder), console)
    published, _ = stored(split.test, split.dataset, _own_ids(folder, file), DRAWN, 0, insert_target=False)
    asker = Asker(
        components.create("backends", components.resolve("backends", "transformers"), LLM),
        AnswerStore(answers or assets.cache_folder() / "answers.sqlite"),
    )
    systems = Systems(split, options, asker, console)
    others = drawn(_others(split, published), split.dataset, OTHERS + 1, seed=0)
    chosen = choose(others, systems.scores(others))
    test = _with_target(published)
    pool = systems.scores(test)
    trained = zeroshot_candidates.trained_runs(against, evaluation.protocol_of(split, options))
    mixed = {label: _weighted(pool, weights) for label, weights in chosen.items()}
    found = {system: measure(test, scores) for system, scores in pool.items()}
    for run, folders in trained.items():
        seeds = [measure(test, zeroshot_candidates.scores_of(folder, test)) for folder in folders]
        found[_trained(run, len(seeds))] = {name: np.mean([each[name] for each in seeds], axis=0) for name in SHOWN}
    found |= {label: measure(test, scores) for label, scores in mixed.items()}
    facts = systems.facts() | {"protocol": _protocol(split, options, test)}
    text = report(name, found, chosen, facts, len(others.items))
    write_text(RESULTS / f"llmrank-{name}.md", text)
    plain = facts | {"protocol": facts["protocol"].model_dump()}
    write_json(RESULTS / f"llmrank-{name}.json", {"rows": _rows(found), "weights": chosen, **plain})
    return text


def _trained(run: str, seeds: int) -> str:
    """A row's name."""
    return f"{run} (trained{f', {seeds} seeds' if seeds > 1 else ''})"


def _rows(found: Mapping[str, dict[str, Float[np.ndarray, " users"]]]) -> list[dict[str, Any]]:
    return [
        {
            "name": system,
            "n": len(values[SHOWN[0]]),
            "metrics": {name: evaluation.bootstrap(each)._asdict() for name, each in values.items()},
        }
        for system, values in found.items()
    ]


def _protocol(split: Split, options: RunConfig, test: Candidates) -> Protocol:
    words = f"target and {OTHERS} of {test.words} ({test.hash}), mean of {DRAWS} draws"
    changed = {"candidates": words, "candidate_seed": 0, "k": OTHERS + 1, "cases": evaluation.cases_hash(test.ids)}
    return evaluation.protocol_of(split, options).model_copy(update=changed)


@dataclass
class Systems:
    """Everything that scores candidates without being trained on them."""

    split: Split
    options: RunConfig
    asker: Asker
    console: Console

    def scores(self, candidates: Candidates) -> Pool:
        """Texts alone, the prompted model, and what reads the site's log."""
        pool: Pool = {}
        for model in ("minilm-l6", LLM):
            text = ItemText.of(self.options.model_copy(update={"model": model}), self.split.dataset, _unseen)
            with self.console.counting(f"vectors of {model}") as text.progress:
                known = text.known(self.split)
            baselines = ["cosine"] if model == LLM else ["popularity", "tfidf", "bm25", "cosine"]
            for name in baselines:
                made = components.create("baselines", components.resolve("baselines", name)).fit(known)
                pool[f"{name} {model}" if name == "cosine" else name] = candidates.scores(made)
        assert text.texts is not None
        rows = PromptRows(self.split.dataset, text.texts)
        pool["prompt statistics"] = prompt_statistics.overlap(candidates, rows, 10)
        for norm in ("lift", "sum", "mean"):
            scoring = components.create(
                "scorings", components.resolve("scorings", {"name": "likelihood", "norm": norm})
            )
            way = zeroshot.Way(Prompt.load(str(scoring.prompt)), scoring, wanted=1)
            with self.console.counting(f"{LLM} likelihood {norm}") as self.asker.progress:
                pool[f"{LLM} likelihood {norm}"] = zeroshot.rank(candidates, rows, way, self.asker).scores
        return pool

    def facts(self) -> dict[str, Any]:
        """For the foot of the report."""
        return {"backend": self.asker.backend.identity(), "prompt": "zeroshot/next_title", **provenance()}


def choose(candidates: Candidates, pool: Pool) -> dict[str, dict[str, float]]:
    """The weights with the highest nDCG@10, without the site's log and with it; the most even ones among equals."""
    texts = [name for name in pool if name != SITES_LOG]
    found = {}
    for label, names in (("best of texts", texts), ("best with the site's log", [*texts, SITES_LOG])):
        grid = [
            dict(zip(names, point, strict=True))
            for point in itertools.product(range(STEPS + 1), repeat=len(names))
            if sum(point) == STEPS
        ]
        grid.sort(key=lambda weights: sum(weight**2 for weight in weights.values()))
        values = [_ndcg(candidates, _weighted(pool, weights), "nDCG@10").mean() for weights in grid]
        best = grid[int(np.argmax(values))]
        found[label] = {name: weight / STEPS for name, weight in best.items() if weight}
    return found


def measure(candidates: Candidates, scores: list[Scores]) -> dict[str, Float[np.ndarray, " users"]]:
    """Each metric of each user, the mean over draws of the others that stand beside the target."""
    values: dict[str, list[np.ndarray]] = {name: [] for name in SHOWN}
    for draw in range(DRAWS):
        some, own = [], []
        for row, case in enumerate(candidates.ids):
            target = candidates.cases.target[row]
            others = np.flatnonzero(candidates.items[row] != target)
            places = generator("draw", draw, case).choice(others, OTHERS, replace=False)
            places = np.append(places, np.flatnonzero(candidates.items[row] == target))
            some.append(candidates.items[row][places])
            own.append(scores[row][places])
        drawn_ones = replace(candidates, items=some)
        for name in SHOWN:
            values[name].append(_ndcg(drawn_ones, own, name))
    return {name: np.mean(each, axis=0) for name, each in values.items()}


def report(
    name: str,
    found: Mapping[str, dict[str, Float[np.ndarray, " users"]]],
    chosen: Mapping[str, dict[str, float]],
    facts: dict[str, Any],
    others: int,
) -> str:
    """The table, paired tests of the best of texts, and the published figures."""
    users = len(next(iter(found.values()))[SHOWN[0]])
    lines = [f"| {name}, {users} users | " + " | ".join(SHOWN) + " |", "|---" * 5 + "|"]
    for system, values in sorted(found.items(), key=lambda pair: pair[1]["nDCG@10"].mean()):
        cells = [f"{100 * values[each].mean():.2f}" for each in SHOWN]
        low, high = (100 * end for end in evaluation.bootstrap(values["nDCG@10"])[1:])
        cells[2] += f" [{low:.1f}, {high:.1f}]"
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    for system, figures in _PUBLISHED[name].items():
        lines.append(f"| {system} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    lines += ["", "| paired test, nDCG@10 | difference |", "|---|---|"]
    for first, second in _pairs(found):
        difference = evaluation.bootstrap(found[first]["nDCG@10"] - found[second]["nDCG@10"])
        lines.append(f"| {first} - {second} | {interval(difference, sign='+')} |")
    weights = [
        f"- {label}: "
        + ", ".join(f"{weight:g} {part}" for part, weight in each.items())
        + f" (chosen on {others} others)"
        for label, each in chosen.items()
    ]
    told = [
        f"- The target and {OTHERS} of the {DRAWN} published random items, mean of {DRAWS} draws.",
        f"- Chance: nDCG@10 {100 * _chance():.2f}. Published figures: one draw, LLMRank's tables 2 to 4.",
        f"- {SITES_LOG} and what is trained read the site's log; all others read texts and the user's own history.",
        f"- {facts['protocol'].line()}.",
        f"- {facts['backend']}; prompt {facts['prompt']}; commit {facts['commit']}.",
    ]
    return "\n".join([*lines, "", *weights, *told, ""])


def _pairs(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    best = "best of texts"
    for other in (PROMPTED, "tfidf", f"cosine {LLM}", "cosine minilm-l6", SITES_LOG):
        yield best, other
    yield PROMPTED, "prompt statistics"
    yield PROMPTED, f"cosine {LLM}"
    yield from ((best, system) for system in found if system.endswith("(trained)"))


def _chance() -> float:
    value: float = float(metrics.parse("nDCG@10")(np.zeros(1, dtype=int), np.full(1, OTHERS))[0])
    return value


def _ndcg(candidates: Candidates, scores: list[Scores], name: str) -> Float[np.ndarray, " cases"]:
    cases = candidates.ranked(scores)[0]
    values: Float[np.ndarray, " cases"] = metrics.parse(name)(
        cases["target_above"].to_numpy(), cases["target_tied"].to_numpy()
    )
    return values


def _weighted(pool: Pool, weights: Mapping[str, float]) -> list[Scores]:
    """Sums of scores that have mean 0 and standard deviation 1 over the candidates of each case."""
    parts = [(weight, pool[name]) for name, weight in weights.items() if weight]
    rows = range(len(parts[0][1]))
    return [np.sum([weight * _standard(scores[row]) for weight, scores in parts], axis=0) for row in rows]


def _standard(scores: Scores) -> Scores:
    spread = scores.std()
    return (scores - scores.mean()) / spread if spread else np.zeros_like(scores)


def _with_target(candidates: Candidates) -> Candidates:
    items = [np.unique(np.append(items, candidates.cases.target[row])) for row, items in enumerate(candidates.items)]
    return replace(candidates, items=items, words=f"{candidates.words} and the target")


def _others(split: Split, published: Candidates) -> Cases:
    """As many cases of users that are not asked about, to choose by."""
    free = np.flatnonzero(~np.isin(split.test.user, published.cases.user))
    return split.test.take(np.sort(generator("others").choice(free, min(CHOSEN_ON, len(free)), replace=False)))


def _own_ids(folder: Path, file: str) -> Path:
    """The published file with users called as the data call them: gSASRec's files number them anew."""
    renamed = folder / "sas_to_original_users.txt"
    if not renamed.is_file():
        return folder / file
    try:
        pairs = (line.split() for line in renamed.read_text(encoding="utf-8").splitlines())
        own = {original: number for number, original in pairs}
        lines = [line.partition("\t") for line in (folder / file).read_text(encoding="utf-8").splitlines()]
        text = "".join(f"{own[user]}\t{items}\n" for user, _, items in lines)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{folder / file} and {renamed.name} do not fit together: {error!r}") from None
    path = Path("runs") / f"{Path(file).name}.renamed"
    path.parent.mkdir(exist_ok=True)
    write_text(path, text)
    return path


def _unseen(done: int, total: int) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
