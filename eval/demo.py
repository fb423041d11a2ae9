"""The demo: item ids against two language models on MovieLens-100K, in one table and one plot.

``python -m eval.demo`` trains what is not in ``runs/`` yet and goes on with what was interrupted.
"""

import argparse
import sys
import time
from pathlib import Path

from eval import compare
from llmrec import config, train
from llmrec.errors import exit_code
from llmrec.runs import RunFolder, read_json

MODELS = ("id", "minilm-l6", "smollm2-135m")
QUICK = ["training.learning_rate=0.002", "training.epochs=25"]
PLOT = Path("runs/demo.png")


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Trains the three models, prints the table, saves the plot; returns the exit code."""
    argparse.ArgumentParser(
        "eval.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(argv)
    started = time.perf_counter()
    folders = [ready(model) for model in MODELS]
    runs = compare.load(folders)
    from llmrec import plots, report

    print(report.show(runs, compare.default_pairs(runs)))
    plots.of_runs(runs, PLOT)
    print(f"plot: {PLOT}; {time.perf_counter() - started:.0f} s in all. Now ask one of the models:")
    print(f'  .venv/bin/llmrec recommend --run {folders[-1]} --history "Toy Story (1995)|Heat (1995)"')
    return 0


def ready(model: str) -> Path:
    """The finished run of a model, from before or trained now."""
    options = config.load(None, QUICK, {"model": model, "output": Path("runs") / f"demo-{model}"})
    if RunFolder(options.folder).finished and is_of(options):
        print(f"{options.folder}: finished before, used as it is (delete it to train again)", file=sys.stderr)
        return options.folder
    return train.run(options, resume=True, overwrite=not is_of(options), show="nothing")


def is_of(options: config.RunConfig) -> bool:
    """Whether the folder, if there is one, was begun with these very options."""
    saved = options.folder / "config.json"
    return not saved.is_file() or read_json(saved) == options.resolved().model_dump(mode="json")


if __name__ == "__main__":
    sys.exit(main())
