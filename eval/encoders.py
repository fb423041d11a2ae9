"""The ablation behind the defaults of text encoders and of the scaling study: ``python -m eval.encoders``.

SASRec over frozen text vectors with the recipe of the scaling study, one choice changed at a time. All numbers are of
the validation part; the test part is not looked at. Finished cells are kept in eval/results/encoders/.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from eval import cells, scaling
from eval.kept import Kept
from llmrec import loading, report, train
from llmrec.errors import exit_code
from llmrec.runs import RunTable, write_json, write_text

RESULTS = Path("eval/results/encoders")
DEFAULT = "default"
PROMPTS = {"ml-100k": ("items/title", "items/title_genres"), "office": ("items/title", "items/title_brand")}
PROMPTS["industrial"] = PROMPTS["office"]
EXAMPLES = """examples:
  python -m eval.encoders office --data-dir /where/it/lies/amazon-office-industrial --jobs 2
  python -m eval.encoders ml-100k --model id --seeds 1
"""


def choices(name: str, blocks: int, own: loading.Pooling = "mean") -> dict[str, dict[str, list[str]]]:
    """Options of every choice by axis and value; what is the default already stands there without options.

    Args:
        name: of the data set.
        blocks: of the language model; 0 for ids, which have fewer choices.
        own: its pooling.
    """
    given = next(
        option for option in [*scaling.SETS[name], "features.prompt=items/title_genres"] if "prompt=" in option
    )
    prompts = {prompt: [f"features.prompt={prompt}"] for prompt in PROMPTS[name] if not given.endswith(f"={prompt}")}
    training: dict[str, dict[str, list[str]]] = {
        "negatives": {
            "128 windows, half uniform": [],
            "128 windows": ["loss.uniform_share=0"],
            "32 windows, half uniform": ["training.batch_size=32"],
            "32 windows": ["training.batch_size=32", "loss.uniform_share=0"],
        },
        "width": {"64": [], "128": ["embedding_dim=128"], "256": ["embedding_dim=256"]},
        "dropout": {"0.2": [], "0.5": ["head.dropout=0.5"]},
        "rate": {"0.001": [], "0.003": ["training.learning_rate=0.003"]},
    }
    if not blocks:
        return training
    fewer = {f"{number} blocks": [f"features.blocks={number}"] for number in (blocks // 2, 3 * blocks // 4)}
    layers = {f"{number} layer{'s' * (number > 1)}": [f"encoder.projection_layers={number}"] for number in (1, 3)}
    return training | {
        "template": {given.partition("=")[2]: [], **prompts},
        "pooling": {own: [], **{each: [f"features.pooling={each}"] for each in ("mean", "last", "cls") if each != own}},
        "depth": {f"{blocks} blocks": [], **fewer},
        "transform": {"standardise": [], **{each: [f"transform={each}"] for each in ("none", "whitening", "pca")}},
        "projection": {"2 layers": [], **layers},
    }


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.encoders", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=scaling.SETS)
    cells.add_data_dir(parser)
    parser.add_argument("--model", default="minilm-l6", help="language model, or id (default: %(default)s)")
    cells.add_seeds(parser)
    cells.add_jobs(parser)
    arguments = parser.parse_args(argv)
    study(arguments)
    return 0


def study(arguments: argparse.Namespace) -> None:
    """Trains what is missing, prints the table and writes eval/results/encoders-NAME-MODEL.*."""
    from llmrec.loading import plan

    name, seeds, model = arguments.name, range(arguments.seeds), arguments.model
    output = f"encoders-{name}-{Path(model).name}"
    axes = choices(name, 0 if model == "id" else plan.shape_of(model).blocks, loading.pooling_of(model, "auto"))
    flags = [*scaling.SETS[name], *arguments.data_dir, *scaling.RECIPE, *scaling.System(model).flags()]
    kept = Kept(RESULTS / f"{name}-{Path(model).name}")
    wanted = {DEFAULT: list[str]()}
    for axis, values in axes.items():
        wanted |= {f"{axis} {value}": options for value, options in values.items() if options}
    order = [(label, seed) for seed in seeds for label in wanted]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda cell: _keep(kept, [*flags, *wanted[cell[0]]], *cell), order))
    runs = {label: [kept.load(_cell(label, seed))[0].table for seed in seeds] for label in wanted}
    text = table(axes, runs, model, name)
    write_text(RESULTS.with_name(f"{output}.md"), text)
    pairs = [(label, DEFAULT) for label in runs if label != DEFAULT]
    write_json(RESULTS.with_name(f"{output}.json"), report.as_json(runs, pairs))
    print(text)


def table(axes: dict[str, dict[str, list[str]]], runs: report.Runs, model: str, name: str) -> str:
    """Validation nDCG@10 of every choice, and the paired difference to the default."""
    lines = [f"| {model} on {name} | | validation nDCG@10 | to the default | |", "|---|---|---|---|---|"]
    found = {row.name: row.metrics[report.TESTED] for row in report.rows(runs)}
    for axis, values in axes.items():
        for value, options in values.items():
            label = f"{axis} {value}" if options else DEFAULT
            difference = verdict = ""
            if options:
                test = report.paired_tests(runs, [(label, DEFAULT)])[0]
                difference, verdict = report.interval(test.difference, "+"), test.verdict
            lines.append(f"| {axis} | {value} | {report.interval(found[label])} | {difference} | {verdict} |")
    protocol = runs[DEFAULT][0].protocol.line()
    seeds = len(runs[DEFAULT])
    facts = [f"- {line}" for line in report.provenance_lines(runs)]
    return "\n".join([*lines, "", f"{seeds} seeds; validation part of: {protocol}.", "", *facts, ""])


def _cell(label: str, seed: int) -> str:
    return f"{label.replace(' ', '_').replace('/', '-').replace(',', '')}-s{seed}"


def _keep(kept: Kept, flags: list[str], label: str, seed: int) -> None:
    cell = _cell(label, seed)
    asked: dict[str, Any] = train.options_of([*flags, "--seed", str(seed)])[0].resolved().model_dump(mode="json")
    if kept.has(cell, asked):
        return
    trained = cells.trained(f"encoders-{kept.folder.name}-{cell}", *flags)({}, seed)
    assert trained.folder is not None
    validation = RunTable.load(trained.folder / "validation")
    kept.save(cell, validation, options=asked, seed=seed, validation=trained.validation)


if __name__ == "__main__":
    sys.exit(main())
