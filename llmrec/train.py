"""Trains a recommender, measures it and saves the run: ``accelerate launch llmrec/train.py --model opt-125m``."""

import argparse
import sys
import time
from dataclasses import replace
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec import components, config, preparation
from llmrec.config import RunConfig
from llmrec.errors import INTERRUPTED, exit_code

if TYPE_CHECKING:
    from llmrec.course import Course

EXAMPLES = """examples:
  accelerate launch llmrec/train.py --model id                    the ID baseline on MovieLens-100K
  accelerate launch llmrec/train.py --model minilm-l6 --seed 1    SASRec on frozen text vectors
  accelerate launch llmrec/train.py --config configs/tcf.yaml head.num_layers=3 protocol.mask_history=false
  torchrun --nproc_per_node 2 llmrec/train.py --model id          two processes
  accelerate launch llmrec/train.py --images vit-base --data shop --data-dir DIR images.folder=DIR/covers
  python llmrec/train.py --help sasrec                            the options of a component
"""


def parser() -> argparse.ArgumentParser:
    """Flags of the command, without torch."""
    listed = "\n".join(f"  {kind + ':':12} {', '.join(components.names(kind))}" for kind in components.KINDS)
    result = argparse.ArgumentParser(
        "train.py",
        description=__doc__,
        epilog=f"components:\n{listed}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="any option, such as training.batch_size=64"
    )
    result.add_argument(
        "--model", help="id, or a language model: short name, hub id, folder or .gguf file (default: id)"
    )
    result.add_argument(
        "--loading", help="how it gets into memory: resident, sharded, 8bit, 4bit or streamed (default: auto)"
    )
    result.add_argument(
        "--images", help="vision model that reads the items' images, alone or beside --model: resnet-18, vit-base ..."
    )
    result.add_argument("--data", help="name of a data set (default: ml-100k)")
    result.add_argument("--data-dir", type=Path, help="its folder, if it is not to be fetched")
    result.add_argument("--head", help="user encoder (default: sasrec)")
    result.add_argument("--tuning", help="which parameters of the language model learn (default: frozen)")
    result.add_argument("--loss", help="training loss (default: softmax)")
    result.add_argument("--epochs", type=int, help="the most epochs")
    result.add_argument(
        "--init",
        type=Path,
        help="finished run that training begins with, also one of other data; what is not said is as there",
    )
    result.add_argument("--seed", type=int, help="of weights, order and dropout (default: 0)")
    result.add_argument("--config", type=Path, help="YAML file of options")
    result.add_argument(
        "--output", type=Path, help="run folder (default: runs/<data>-<head>-<model>-<tuning>-<loss>-s<seed>)"
    )
    result.add_argument("--resume", action="store_true", help="go on with an unfinished run")
    result.add_argument("--overwrite", action="store_true", help="delete the run in the folder and begin again")
    result.add_argument("--json", action="store_true", help="print metrics.json instead of the table")
    return result


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns 0, 2 for what the user can mend, 3 for a loss that diverged, 130 for Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["--help"] and len(argv) > 1:
        print(components.describe(argv[1]))
        return 0
    options, modes = options_of(argv)
    try:
        run(options, **modes)
    except KeyboardInterrupt:
        goes_on = f"; --resume goes on in {options.folder}" if (options.folder / "config.json").is_file() else ""
        print(f"interrupted{goes_on}", file=sys.stderr)
        return INTERRUPTED
    return 0


def options_of(argv: list[str]) -> tuple[RunConfig, dict[str, Any]]:
    """What a command line says of the run, and of how it is done; what it leaves open is as the run has it that
    training begins with.

    Raises:
        ConfigError: an option that does not exist or a value out of range.
        RunError: the options of that run are damaged.
    """
    arguments = vars(parser().parse_intermixed_args(argv))
    from llmrec import inherited  # --help has ended by now, without tables

    modes = {name: arguments.pop(name) for name in ("resume", "overwrite")}
    modes["show"] = "json" if arguments.pop("json") else "table"
    overrides, file = arguments.pop("overrides"), arguments.pop("config")
    return config.parse(inherited.completed(config.layered(file, overrides, arguments))), modes


def run(options: RunConfig, *, resume: bool = False, overwrite: bool = False, show: str = "table") -> Path:
    """Builds, trains, measures and saves one run; returns its folder.

    Args:
        options: of the run.
        resume: go on with an unfinished run.
        overwrite: begin again, whatever the folder holds.
        show: what goes to stdout at the end: ``table``, ``json`` or ``nothing``.
    """
    from llmrec import runs

    preparation.require_origin(options)
    options = options.resolved()
    preparation.check(options)
    begin = run_log if options.transfer is None else run_tasks
    try:
        return begin(options, resume=resume, overwrite=overwrite, show=show)
    finally:
        runs.RunFolder(options.folder).release()


def run_log(options: RunConfig, *, resume: bool, overwrite: bool, show: str) -> Path:
    """The same for a run over one log, its options resolved and checked."""
    from llmrec import building, evaluation, held_out, runs, slices, starting
    from llmrec.console import Console
    from llmrec.processes import Processes
    from llmrec.sources import load_dataset

    folder = runs.RunFolder(options.folder)
    processes = Processes(folder.path)
    console = Console(quiet=not processes.is_main)
    console.say(f"{folder.path}: {processes}")
    with processes.main_first():
        options = starting.over_learned_model(options)
        building.find_model(options)
        ready = runs.Ready(options.model_dump(mode="json"), resume, overwrite, config.completed)
        if processes.is_main:
            folder.check(ready)
        data = load_dataset(options.data, options.data_dir)
    split = preparation.cut(options, data, console)
    dataset = split.dataset
    protocol = evaluation.protocol_of(split, options)

    if options.training.init_from is not None:
        for line in held_out.may_have_met(options.training.init_from, protocol):
            console.say(f"warning: {line}; what this run begins with may know its targets")
    started = time.perf_counter()
    built = building.build(options, split, processes, console)
    model, encoded = built.model, time.perf_counter() - started
    with processes.main_first():  # only now: what fails before leaves the run that is there
        if processes.is_main:
            folder.open(ready)
    processes.start_trackers()

    folder = replace(folder, basis=basis(built, protocol, processes))
    position = learn(options, split, built, folder, processes, console)
    provenance = provenance_of(options, built, position, encoded, processes)
    rank = partial(processes.rank_cases, model, dataset=dataset, options=options.protocol)
    tables = measure(rank, split, protocol, provenance)
    model.save(folder.path, writes=processes.is_main)
    if processes.is_main:
        baselines = evaluation.baseline_tables(built.known, split.test, dataset, protocol)
        saved = save(folder, built.items, tables, baselines)
        present(folder.path.name, saved, tables, baselines, show, slices.shown(built.items))
    processes.close()
    return folder.path


def basis(built: Any, protocol: Any, processes: Any) -> dict[str, Any]:
    """What has to be the same when an unfinished run goes on."""
    same = {"model revision": "revision", "item ids": "item_ids_hash", "prompts": "prompts_hash"}
    same |= {"item prompt": "item_prompt_hash"}
    found = {"data": protocol.data_hash, "cases": protocol.cases, "processes": processes.count}
    found |= {"images": built.facts["images"]} if "images" in built.facts else {}
    return found | {words: built.facts.get(fact) for words, fact in same.items()}


def provenance_of(options: RunConfig, built: Any, position: Any, encoded: float, processes: Any) -> dict[str, Any]:
    """Where the numbers of a run come from; ``encoded`` are the seconds until its model stood."""
    from llmrec import runs

    return runs.provenance(
        seed=options.seed,
        **built.facts,
        **built.counted(),
        best_epoch=position.best_epoch + 1,
        epochs=position.epoch,
        trainable_parameters=sum(each.numel() for each in built.model.parameters() if each.requires_grad),
        seconds={"encode": encoded, "train": position.seconds},
        peak_memory_bytes=processes.peak_memory(),
        processes=processes.count,
        threads=processes.threads,
        load_average=processes.load_average,
    )


def run_tasks(options: RunConfig, *, resume: bool, overwrite: bool, show: str) -> Path:
    """The same for a run that learns one task after the other.

    Raises:
        ConfigError: several processes.
    """
    from llmrec import lifelong, runs, task_report
    from llmrec.console import Console
    from llmrec.errors import ConfigError
    from llmrec.phases import Trainer
    from llmrec.processes import Processes

    folder, console = runs.RunFolder(options.folder), Console()
    processes = Processes(folder.path)
    if processes.count > 1:
        raise ConfigError(f"a run of tasks (transfer) takes one process, came {processes.count}; start it with one")
    console.say(f"{folder.path}: {processes}")
    ready = runs.Ready(options.model_dump(mode="json"), resume, overwrite, config.completed)
    folder.check(ready)
    learned = course(options)
    trainer = Trainer(processes.accelerator, options.seed, console.training, {"tasks": learned.hash})
    life = lifelong.Lifelong(options, learned, folder.path, trainer)
    folder.open(ready)  # only now: what fails before leaves the run that is there
    for line in learned.lines:
        console.say(line)
    results = life.run()
    if show != "nothing":
        print(dumps(results, indent=2) if show == "json" else task_report.show(results))
    return folder.path


def course(options: RunConfig) -> "Course":
    """What a run that learns tasks is to learn; the same for all seeds of training."""
    from llmrec import filtering
    from llmrec.course import Course
    from llmrec.sources import load_dataset
    from llmrec.tasks import files

    assert options.transfer is not None
    data = filtering.apply(load_dataset(options.data, options.data_dir), options.filter).dataset
    folder, seed = options.transfer.tasks, options.transfer.split_seed
    tasks = files.load(folder, data, seed, options.max_seq_len, options.data_dir)
    return Course.of(tasks)


def learn(options: RunConfig, split: Any, built: Any, folder: Any, processes: Any, console: Any) -> Any:
    """Trains the recommender in place; returns where training ended."""
    from llmrec import evaluation, training

    counts = split.train.counts(split.dataset.num_items)

    def validate(trained: Any) -> dict[str, float]:
        tables = processes.rank_cases(trained, split.validation, split.dataset, options.protocol)
        return evaluation.means(tables) | evaluation.spread(tables[1], counts, split.dataset.item_ids)

    with console.training(options.training.epochs) as watch:
        position = training.fit(
            built.model,
            built.step,
            built.batches,
            options.training,
            seed=options.seed,
            validate=validate,
            folder=folder,
            accelerator=processes.accelerator,
            report=watch,
        )
    console.say(f"{folder.path}: {position.epoch} epochs, weights of epoch {position.best_epoch + 1}")
    console.say_counted(built.counted())
    return position


def measure(rank: Any, split: Any, protocol: Any, provenance: dict[str, Any]) -> dict[str, Any]:
    """Run tables of validation and test, and of the test part with its histories shuffled."""
    from llmrec import runs, slices

    mixed = protocol.model_copy(update={"test_history": f"{protocol.test_history}, in random order (seed 0)"})
    parts = {"validation": split.validation, "test": split.test, "shuffled": slices.shuffled(split.test, seed=0)}
    tables = {}
    for part, cases in parts.items():
        ranked, lists = rank(cases)
        measured = mixed if part == "shuffled" else protocol
        tables[part] = runs.RunTable(slices.with_counts(ranked, split), lists, measured, provenance)
    return tables


def present(
    name: str, metrics: dict[str, Any], tables: dict[str, Any], baselines: dict[str, Any], show: str, shown: Any
) -> None:
    """Prints the table with its paired tests and the groups of cases, ``metrics.json``, or nothing."""
    from llmrec import report

    if show == "json":
        print(dumps(metrics, indent=2))
    elif show == "table":
        compared = {label: [table] for label, table in {**baselines, name: tables["test"]}.items()}
        print(report.show(compared, [(name, baseline) for baseline in baselines]))
        print(report.show_slices(name, tables["test"], tables["shuffled"], shown=shown))


def save(folder: Any, items: Any, tables: dict[str, Any], baselines: dict[str, Any]) -> dict[str, Any]:
    """Writes all that a finished run holds besides the model, ``metrics.json`` last."""
    from llmrec import evaluation, runs

    runs.write_atomically(folder.path / "items.parquet", items.write_parquet)
    for part, table in tables.items():
        table.save(folder.path / part)
    for name, table in baselines.items():
        table.save(folder.path / "baselines" / name)
    metrics = evaluation.run_metrics(tables)
    runs.write_json(folder.path / "metrics.json", metrics)
    folder.checkpoint.unlink(missing_ok=True)
    return metrics


if __name__ == "__main__":
    sys.exit(main())
