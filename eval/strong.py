"""Trained rows that are hard to beat: ``python -m eval.strong beauty`` trains ``configs/strong/beauty.yaml``.

The file and the settings it was chosen from are trained on the first seed, the best on validation on the others too.
What is finished in runs/study/ is used again, so a study cut off goes on where it stopped. Beside the table stand
published figures on the same users and items; they were measured by others.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from eval import cells, compare
from llmrec import report, slices
from llmrec.errors import exit_code
from llmrec.runs import RunTable

CONFIGS = Path(__file__).parent.parent / "configs" / "strong"
RESULTS = Path("eval/results")
EXAMPLES = """examples:
  python -m eval.strong ml-100k --jobs 2
  python -m eval.strong beauty --data-dir /where/it/lies/amazon-beauty --jobs 2
  python -m eval.strong ml-1m --data-dir /where/it/lies/ml-1m --seeds 1
"""


@dataclass(frozen=True)
class Study:
    """What else was tried than the file says, and what others report: HR@10 and nDCG@10."""

    system: str
    others: list[cells.Setting] = field(default_factory=list)
    published: dict[str, tuple[float | None, float]] = field(default_factory=dict)


STUDIES = {
    "ml-100k": Study(
        "eSASRec",
        [
            {"head.dropout": 0.4},
            {"head.name": "sasrec", "head.dropout": 0.4, "training.learning_rate": 0.002},
            {"head.name": "sasrec", "head.dropout": 0.5, "training.learning_rate": 0.002},
        ],
    ),
    "beauty": Study(
        "SASRec",
        [{"head.dropout": 0.6, "head.num_heads": 1}],
        {
            "SASRec, sampled softmax (repository of eSASRec)": (0.0921, 0.0531),
            "eSASRec (its repository)": (0.0928, 0.0523),
            "SASRec, softmax (logs of Xu et al., arXiv:2402.06216, 5 seeds)": (0.0986, 0.0597),
        },
    ),
    "ml-1m": Study(
        "eSASRec",
        [],
        {"gSASRec (RecSys 2023)": (0.3003, 0.1726), "eSASRec (arXiv:2508.06450)": (None, 0.1772)},
    ),
}


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.strong", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=STUDIES)
    cells.add_data_dir(parser)
    cells.add_seeds(parser)
    cells.add_jobs(parser)
    arguments = parser.parse_args(argv)
    study(arguments.name, arguments.data_dir, arguments.jobs, arguments.seeds)
    return 0


def study(name: str, data_dir: list[str], jobs: int, seeds: int) -> None:
    """Trains what is missing, prints the table and writes eval/results/strong-NAME.*."""
    asked = STUDIES[name]
    flags = ["--config", str(CONFIGS / f"{name}.yaml"), *data_dir]
    systems = {asked.system: cells.System(cells.trained(f"strong-{name}", *flags), [{}, *asked.others])}
    chosen = cells.choose(systems, jobs, range(seeds))
    best = chosen[asked.system]
    runs = {**cells.baselines(best), asked.system: best.tables()}
    pairs = [(asked.system, label) for label in runs if label not in (asked.system, "random")]
    more = f"\n{cells.tried_table(chosen)}{published(asked.published)}"
    groups = {"all users": runs}
    validating = with_validation(best)
    if len(validating) < runs[asked.system][0].cases["user_id"].n_unique():
        words = "users with a validation target"
        groups[words] = {label: [slices.only(each, validating, words) for each in runs[label]] for label in runs}
        compare.save_groups(groups, pairs, RESULTS / f"strong-{name}", more)
    else:
        compare.save(runs, pairs, RESULTS / f"strong-{name}", more)
    for part in groups.values():
        print(report.show(part, pairs))
    if best.setting:
        print(f"note: {best.setting} is better on validation than configs/strong/{name}.yaml", file=sys.stderr)


def with_validation(chosen: cells.Chosen) -> pl.Series:
    """Ids of the users with a validation target. Of the others a publisher may hold the item back."""
    folder = chosen.runs[0].folder
    assert folder is not None
    return RunTable.load(folder / "validation").cases["user_id"].unique()


def published(figures: dict[str, tuple[float | None, float]]) -> str:
    """What others report, as Markdown; nothing where nobody does."""
    if not figures:
        return ""
    lines = ["", "| published, not measured here | HR@10 | nDCG@10 |", "|---|---|---|"]
    for label, (hit, gain) in figures.items():
        lines.append(f"| {label} | {'-' if hit is None else f'{hit:.4f}'} | {gain:.4f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
