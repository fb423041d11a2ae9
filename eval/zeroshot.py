"""Can a prompted language model challenge a trained one? Both rank the same candidates for the same users.

Prints one table: chance, what needs no training, the statistics of the prompt alone, the prompted model, the same with
its history shuffled, and every trained run named by --against, each with its interval and a paired test against the
prompted model. Every answer is kept, so the same command asks nothing twice.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from eval import cells
from eval.flags import at_least
from eval.zeroshot_tasks import TASKS, Task, model_of
from llmrec import components, config
from llmrec.config import RunConfig
from llmrec.errors import ConfigError, exit_code, nearest

RESULTS = Path("eval/results")
EXAMPLES = """examples:
  python -m eval.zeroshot --task hr@1
  python -m eval.zeroshot --task hr@1 --scoring generate --against runs/ml-100k-sasrec-id-softmax-s0
  python -m eval.zeroshot --task ndcg@10 --scoring likelihood scoring.norm=mean --users 200
  python -m eval.zeroshot --task rerank --candidates-from runs/ml-100k-sasrec-id-softmax-s0 --depth 20 --rounds 3
  python -m eval.zeroshot --task ndcg@10 --data games --data-dir /where/it/lies/llmrank-games \\
      --candidates-from /where/it/lies/llmrank-games/Games-6k.random --insert-target
  python -m eval.zeroshot --backend openai --model gpt-4o-mini backend.url=https://api.openai.com/v1 \\
      --prices prices.yaml --max-cost 2 --dry-run
  python -m eval.zeroshot --help letters                       the options of a scoring or a backend
"""


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["--help"] and len(argv) > 1:
        print(components.describe(argv[1]))
        return 0
    run(cells.parsed(parser(), argv))
    return 0


def parser() -> argparse.ArgumentParser:
    """Flags of the command, without torch."""
    tasks = "\n".join(f"  {name:8} {task.says}" for name, task in TASKS.items())
    result = argparse.ArgumentParser(
        "eval.zeroshot",
        description=__doc__,
        epilog=f"tasks:\n{tasks}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "overrides",
        nargs="*",
        metavar="key.path=value",
        help="options of the data (split=temporal, features.prompt=items/title), of the scoring or of the backend",
    )
    result.add_argument("--task", default="hr@1", help=f"{', '.join(TASKS)} (default: %(default)s)")
    result.add_argument(
        "--model", help="as --model of train.py, what a server calls it, or a server's address (default: smollm2-135m)"
    )
    result.add_argument(
        "--backend", default="transformers", help=f"{', '.join(components.names('backends'))} (default: %(default)s)"
    )
    result.add_argument("--data", default="ml-100k", help="name of a data set (default: %(default)s)")
    cells.add_data_dir(result)
    result.add_argument("--users", type=at_least(1), default=1024, help="drawn from all, at most (default: 1024)")
    _add_question(result)
    _add_candidates(result)
    result.add_argument(
        "--against", nargs="+", type=Path, default=[], metavar="RUN", help="trained runs to measure too"
    )
    result.add_argument("--vectors", help="model whose vectors the row cosine compares (default: the prompted one)")
    result.add_argument("--seed", type=int, default=0, help="of users, candidates and orders (default: 0)")
    _add_asking(result)
    result.add_argument("--output", type=Path, help="folder (default: runs/zeroshot-<data>-<task>-<model>-...)")
    result.add_argument("--overwrite", action="store_true", help="write over a folder of other options")
    result.add_argument("--save", action="store_true", help="also write the table to eval/results/")
    result.add_argument("--json", action="store_true", help="print the figures as JSON instead of the table")
    return result


def _add_question(result: argparse.ArgumentParser) -> None:
    result.add_argument("--prompt", help="file below prompts/ (default: the task's or the scoring's own)")
    result.add_argument(
        "--scoring", default="letters", help=f"{', '.join(components.names('scorings'))} (default: %(default)s)"
    )
    result.add_argument("--history", type=int, default=10, help="recent items that are shown (default: %(default)s)")
    result.add_argument(
        "--shots", type=at_least(0), default=0, help="answered questions of other users shown before (0)"
    )
    result.add_argument("--rounds", type=int, default=1, help="orders of the candidates, at most (default: 1)")
    result.add_argument("--merge", default="borda", help="borda, or kemeny for up to 8 candidates (default: borda)")
    result.add_argument("--curve", default="", help="more history lengths to ask with, such as 1,5,20")
    result.add_argument("--repeats", type=at_least(1), default=1, help="times each question is asked (default: 1)")


def _add_candidates(result: argparse.ArgumentParser) -> None:
    result.add_argument("--candidates", type=at_least(1), help="of each case (default: the task's)")
    result.add_argument(
        "--candidates-from", type=Path, help="a run that retrieves them, or a file of one user and his item ids a line"
    )
    result.add_argument("--depth", type=at_least(1), help="how many of them (default: the task's)")
    result.add_argument("--insert-target", action="store_true", help="put the target in where it is missing")


def _add_asking(result: argparse.ArgumentParser) -> None:
    result.add_argument("--answers", type=Path, help="file of the answers (default: answers.sqlite in the cache)")
    result.add_argument("--prices", type=Path, help="YAML file, model: {input: ..., output: ...} per million tokens")
    result.add_argument("--max-cost", type=float, help="no request is sent that could pass this sum")
    result.add_argument("--dry-run", action="store_true", help="say what would be asked and what it costs; ask nothing")


def run(arguments: argparse.Namespace) -> None:
    """Settles users and candidates, asks, measures all others on the same, prints and saves."""
    from eval import zeroshot_report, zeroshot_rows
    from llmrec import preparation
    from llmrec.console import Console
    from llmrec.sources import load_dataset

    task = _task(arguments)
    own = [each for each in arguments.overrides if each.startswith(("scoring.", "backend."))]
    if str(arguments.model).lower().startswith(("http://", "https://")):
        _take_server(arguments, own)
    options = data_options(arguments, [each for each in arguments.overrides if each not in own])
    scoring, backend = (_component(kind, getattr(arguments, kind), own) for kind in ("scoring", "backend"))
    console = Console()
    split = preparation.cut(options, load_dataset(options.data, options.data_dir), console)
    study = zeroshot_rows.Study.of(arguments, task, options, split, scoring, backend, console)
    if arguments.dry_run:
        print(study.estimate())
        return
    folder = arguments.output or Path("runs") / study.name
    zeroshot_report.check_folder(folder, study.facts(), overwrite=arguments.overwrite)
    result = study.measure()
    zeroshot_report.save(folder, study, result)
    if arguments.save:
        zeroshot_report.save_table(RESULTS / study.name, result)
    print(json.dumps(zeroshot_report.as_json(result), indent=2) if arguments.json else zeroshot_report.show(result))
    console.say(f"{folder}: tables, answers and candidates")


def data_options(arguments: argparse.Namespace, overrides: list[str]) -> RunConfig:
    """What the data are, how they are cut, and whose vectors are compared."""
    local = arguments.backend in ("transformers", "vllm")
    model = arguments.vectors or (
        model_of(arguments) if local else "id" if arguments.backend == "scripted" else "minilm-l6"
    )
    folder = Path(arguments.data_dir[1]) if arguments.data_dir else None
    flags = {"data": arguments.data, "data_dir": folder, "model": model, "seed": arguments.seed}
    return config.load(None, overrides, flags).resolved()


def _take_server(arguments: argparse.Namespace, own: list[str]) -> None:
    """An address in the place of a model: the one that a compatible server has there."""
    own.append(f"backend.url={arguments.model}")
    arguments.backend = "openai"
    server = components.create("backends", _component("backend", "openai", own), "unknown")
    arguments.model = server.served()


def _task(arguments: argparse.Namespace) -> Task:
    if arguments.task not in TASKS:
        raise ConfigError(f"no task {arguments.task!r}{nearest(arguments.task, TASKS)}")
    if arguments.task == "rerank" and not arguments.candidates_from:
        raise ConfigError("--task rerank needs --candidates-from, a run that retrieves candidates or a file of them")
    if arguments.insert_target and not arguments.candidates_from:
        raise ConfigError("--insert-target goes with --candidates-from; drawn candidates always hold the target")
    if arguments.depth and (arguments.candidates or not arguments.candidates_from):
        raise ConfigError("--depth goes with --candidates-from and in the place of --candidates")
    if arguments.max_cost is not None and not (arguments.prices and arguments.max_cost >= 0):
        raise ConfigError(f"--max-cost must be at least 0 and needs --prices, came {arguments.max_cost:g}")
    return TASKS[arguments.task]


def _component(kind: str, name: str, overrides: list[str]) -> dict[str, Any]:
    """A scoring or a backend with its options, checked."""
    mine = config.read_overrides([each for each in overrides if each.startswith(f"{kind}.")]).get(kind, {})
    return components.resolve(f"{kind}s", {**mine, "name": name})


if __name__ == "__main__":
    sys.exit(main())
