"""Puts finished runs into one table with paired tests: ``python -m eval.compare runs/a runs/b``."""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.errors import ProtocolError, exit_code

if TYPE_CHECKING:
    from llmrec.runs import RunTable

_OF_SEEDS = ("seed", "output", "data_dir", "training.init_from", "training.checkpoint_steps")

EXAMPLES = """examples:
  python -m eval.compare runs/ml-100k-sasrec-id-softmax-s0 runs/ml-100k-sasrec-minilm-l6-frozen-softmax-s0
  python -m eval.compare runs/ml-100k-sasrec-*-s? --output eval/results/mine

Runs whose names differ only in the seed (-s0, -s1 ...) are averaged user by user. Each model is tested against
popularity and against the first run. Runs measured under different protocols are refused (exit code 2).
"""


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.compare", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="finished run folders")
    parser.add_argument("--output", type=Path, help="path without ending: writes .md, .csv, .json and .png there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    arguments = parser.parse_args(argv)
    compare(arguments.runs, arguments.output, arguments.json)
    return 0


def compare(paths: Iterable[Path], output: Path | None = None, as_json: bool = False) -> None:
    """Prints and, if asked, saves the comparison."""
    from llmrec import report

    runs = load(paths)
    pairs = default_pairs(runs)
    if output is not None:
        save(runs, pairs, output)
    print(json.dumps(report.as_json(runs, pairs), indent=2) if as_json else report.show(runs, pairs))


def load(paths: Iterable[Path]) -> "dict[str, list[RunTable]]":
    """Run tables of the runs, grouped over seeds, with the baselines of the first run that has each.

    A baseline that compares texts is one for each prompt that the runs read them by, and one of vectors for each model.

    Raises:
        RunError: a folder without a finished run.
        ProtocolError: baselines or runs measured differently, or runs of one name that are no seeds of one model.
        ConfigError: a run's options that this version does not have, or a baseline that it lacks.
    """
    from llmrec import config
    from llmrec.runs import RunFolder, RunTable, read_json

    models: dict[str, list[RunTable]] = {}
    baselines: dict[str, list[RunTable]] = {}
    prompts, options = {}, dict[str, tuple[Path, dict[str, Any]]]()
    for path in paths:
        RunFolder(path).require_finished()
        saved = read_json(path / "config.json")
        prompts[path] = config.parse(saved).features.prompt
        _require_one_model(*options.setdefault(name_of(path), (path, saved)), path, saved)
    for path, prompt in prompts.items():
        name = name_of(path)
        models.setdefault(name, []).append(RunTable.load(path / "test"))
        for folder in sorted((path / "baselines").glob("*")):
            table = RunTable.load(folder)
            needs = _needs(folder.name, table)
            label = folder.name
            label += f" {models[name][0].provenance['model']}" if "vectors" in needs else ""
            label += f" {prompt}" if needs & {"texts", "vectors"} and len(set(prompts.values())) > 1 else ""
            baselines.setdefault(label, [table])
    _require_own_seeds(models)
    return {**baselines, **models}


def name_of(path: Path) -> str:
    """What seeds of one model are called alike."""
    return re.sub(r"-s\d+$", "", path.absolute().name)


def seeds_differ_in(saved: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Options, as saved, in which two runs differ that should differ in their seeds alone.

    Where they lie and what they begin with, which is the run of their own seed, is no difference.
    """
    from llmrec import config

    first, second = (dict(_flat(config.completed(each))) for each in (saved, other))
    names = [name for name in dict.fromkeys([*first, *second]) if name not in _OF_SEEDS]
    return {name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}


def default_pairs(runs: "dict[str, list[RunTable]]") -> list[tuple[str, str]]:
    """Each model against popularity, and every later model against the first."""
    from llmrec.report import REFERENCE

    models = [name for name, tables in runs.items() if "baseline" not in tables[0].provenance]
    pairs = [(name, REFERENCE) for name in models if REFERENCE in runs]
    return pairs + [(name, models[0]) for name in models[1:]]


def save(runs: "dict[str, list[RunTable]]", pairs: list[tuple[str, str]], output: Path, more: str = "") -> None:
    """Writes Markdown, CSV, JSON and PNG beside each other; ``more`` ends the Markdown."""
    from llmrec import plots, report
    from llmrec.runs import write_json, write_text

    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output.with_name(output.name + ".md"), report.markdown(runs, pairs) + more)
    write_text(output.with_name(output.name + ".csv"), report.frame(runs).write_csv())
    write_json(output.with_name(output.name + ".json"), report.as_json(runs, pairs))
    plots.of_runs(runs, output.with_name(output.name + ".png"))


def save_groups(
    groups: "dict[str, dict[str, list[RunTable]]]", pairs: list[tuple[str, str]], output: Path, more: str = ""
) -> None:
    """The same with a section for each group of cases; every group holds the same runs."""
    import polars as pl

    from llmrec import plots, report
    from llmrec.runs import write_json, write_text

    output.parent.mkdir(parents=True, exist_ok=True)
    sections = [f"**{group}**\n\n{report.measured(runs, pairs)}" for group, runs in groups.items()]
    facts = [f"- {line}" for line in report.provenance_lines(next(iter(groups.values())))]
    write_text(output.with_name(output.name + ".md"), "\n".join([*sections, *facts, more]))
    frames = [report.frame(runs).select(pl.lit(group).alias("group"), pl.all()) for group, runs in groups.items()]
    write_text(output.with_name(output.name + ".csv"), pl.concat(frames).write_csv())
    tables = {group: report.as_json(runs, pairs) for group, runs in groups.items()}
    write_json(output.with_name(output.name + ".json"), {"groups": tables})
    plots.of_groups(groups, output.with_name(output.name + ".png"))


def _needs(name: str, table: "RunTable") -> set[str]:
    """What a baseline looked at, a mix through the parts that have a weight."""
    from llmrec import components

    weights = table.provenance.get("chosen", {}).get("weights", {})
    parts = [name, *(part for part, weight in weights.items() if weight)]
    return {components.create("baselines", {"name": part}).needs for part in parts}


def _flat(options: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _require_one_model(first: Path, saved: dict[str, Any], path: Path, other: dict[str, Any]) -> None:
    if different := seeds_differ_in(saved, other):
        told = "; ".join(f"{name}: {one} and {two}" for name, (one, two) in different.items())
        raise ProtocolError(
            f"{first} and {path} have the name of one model and would be averaged as its seeds, but they differ "
            f"({told}); rename a folder"
        )


def _require_own_seeds(models: "dict[str, list[RunTable]]") -> None:
    for name, tables in models.items():
        seeds = [table.provenance["seed"] for table in tables]
        if len(set(seeds)) < len(seeds):
            raise ProtocolError(f"two runs of {name} have the same seed ({seeds}); leave one out or rename its folder")


if __name__ == "__main__":
    sys.exit(main())
