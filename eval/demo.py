"""The demo: item IDs against two language models on MovieLens-100K, in one table and one plot.

``python -m eval.demo`` trains what is not in ``runs/`` yet and goes on with what was interrupted.
"""

import argparse
import sys
import time
from pathlib import Path

from eval import compare
from llmrec import config, train
from llmrec.errors import LlmrecError
from llmrec.runs import RunFolder

MODELS = ("id", "minilm-l6", "smollm2-135m")
PLOT = Path("runs/demo.png")


def main(argv: list[str] | None = None) -> int:
    """Trains the three models, prints the table, saves the plot; returns the exit code."""
    argparse.ArgumentParser(
        "eval.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(argv)
    started = time.perf_counter()
    try:
        folders = [ready(model) for model in MODELS]
        runs = compare.load(folders)
        from llmrec import report

        print(report.show(runs, compare.default_pairs(runs)))
        report.plot(runs, PLOT)
    except LlmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"plot: {PLOT}; {time.perf_counter() - started:.0f} s in all. Ask one of the models:")
    print(f'  .venv/bin/llmrec recommend --run {folders[-1]} --history "Toy Story (1995)|Heat (1995)"')
    return 0


def ready(model: str) -> Path:
    """The finished run of a model, from before or trained now."""
    options = config.load(None, [], {"model": model})
    if RunFolder(options.folder).finished:
        print(f"{options.folder}: finished before, used as it is (delete it to train again)", file=sys.stderr)
        return options.folder
    return train.run(options, resume=True, show="nothing")


if __name__ == "__main__":
    sys.exit(main())
