"""Text against ids, by how often training shows the target: ``python -m eval.cold_items office``.

MiniOneRec's Amazon sets with their own parts, every item ranked and nothing masked, as its authors score; models read
the last ten items. SASRec over item ids, over frozen text vectors, and over ids that begin as the text vectors; the
same settings for all, the best on validation, 3 seeds, paired tests. As everywhere here, a number is the mean over
users of the mean over a user's cases, while the authors average over cases. What is finished in runs/study/ is used
again.
"""

import argparse
import sys
from pathlib import Path

import polars as pl

from eval import cells, compare
from llmrec import report, slices
from llmrec.errors import exit_code
from llmrec.slices import COLD

SETS = ("office", "industrial")
MODEL = "minilm-l6"
RESULTS = Path("eval/results")
COMMON = ("protocol.mask_history=false", "max_seq_len=10", "features.prompt=items/title_brand", "training.patience=10")
SETTINGS: list[cells.Setting] = [{"head.dropout": 0.2}, {"head.dropout": 0.5}]
IDS, TEXT, FROM_TEXT = "SASRec id", f"SASRec {MODEL}", f"SASRec id from {MODEL}"
FLAGS = {
    IDS: ("--model", "id"),
    TEXT: ("--model", MODEL),
    FROM_TEXT: ("--model", MODEL, "encoder.name=id_from_text"),
}
GROUPS = {
    "no training row": pl.col("target_count") == 0,
    f"1 to {COLD} training rows": pl.col("target_count").is_between(1, COLD),
    "more training rows": pl.col("target_count") > COLD,
}
EXAMPLES = """examples:
  python -m eval.cold_items office --data-dir /where/it/lies/amazon-office-industrial --jobs 2
"""


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.cold_items", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=SETS)
    cells.add_data_dir(parser)
    cells.add_jobs(parser)
    arguments = parser.parse_args(argv)
    study(arguments.name, arguments.data_dir, arguments.jobs)
    return 0


def study(name: str, data_dir: list[str], jobs: int) -> None:
    """Trains what is missing, prints the tables and writes eval/results/cold_items-NAME.*."""
    data = ("--data", f"amazon-{name}", "split=given", *data_dir)
    systems = {
        system: cells.System(
            cells.trained(f"cold-{name}-{system.lower().replace(' ', '-')}", *data, *COMMON, *flags), SETTINGS
        )
        for system, flags in FLAGS.items()
    }
    chosen = cells.choose(systems, jobs)
    runs = cells.baselines(chosen[TEXT], MODEL) | {system: each.tables() for system, each in chosen.items()}
    pairs = [(TEXT, IDS), (FROM_TEXT, IDS), (TEXT, FROM_TEXT), (IDS, "co_occurrence"), (TEXT, f"mix {MODEL}")]
    groups = {"all cases": runs} | {words: group(runs, words) for words in GROUPS}
    compare.save_groups(groups, pairs, RESULTS / f"cold_items-{name}", "\n" + cells.tried_table(chosen))
    for words, part in groups.items():
        print(f"{words}\n{report.show(part, pairs)}")


def group(runs: report.Runs, words: str) -> report.Runs:
    """The cases of one group in every run; the counts are those of the trained runs, as baselines save none."""
    cases = runs[IDS][0].cases.filter(GROUPS[words])["case_id"]
    return {name: [slices.only(table, cases, words, "case_id") for table in tables] for name, tables in runs.items()}


if __name__ == "__main__":
    sys.exit(main())
