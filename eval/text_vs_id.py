"""SASRec on frozen text vectors against SASRec on item ids, MovieLens-100K.

Width 64, window 50, 2 blocks, 2 heads, full softmax, history masked, up to 100 epochs chosen on validation, the same
grid of dropout and learning rate for every model, 3 seeds, paired tests over users. What is finished in runs/study/
is used again.
"""

import argparse
import sys
from pathlib import Path

from eval import cells, compare
from llmrec import report
from llmrec.errors import exit_code

MODELS = ("minilm-l6", "smollm2-135m")
OUTPUT = Path("eval/results/text_vs_id")


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.text_vs_id", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cells.add_jobs(parser)
    arguments = parser.parse_args(argv)
    study(arguments.jobs)
    return 0


def study(jobs: int) -> None:
    """Trains what is missing, prints the table and writes eval/results/text_vs_id.*."""
    systems = {f"SASRec {model}": cells.on_ml_100k(model) for model in ("id", *MODELS)}
    chosen = cells.choose(systems, jobs)
    runs: report.Runs = {}
    for model in MODELS:
        runs |= cells.baselines(chosen[f"SASRec {model}"], model)
    runs |= {name: each.tables() for name, each in chosen.items()}
    texts = [f"SASRec {model}" for model in MODELS]
    pairs = [(name, "SASRec id") for name in texts] + [(name, report.REFERENCE) for name in systems]
    compare.save(runs, pairs, OUTPUT, "\n" + cells.tried_table(chosen))
    print(report.show(runs, pairs))


if __name__ == "__main__":
    sys.exit(main())
