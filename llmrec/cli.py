"""The ``llmrec`` command: recommend from a run, measure its tables again, look at prompts, data and models."""

import argparse
import json
import math
import re
import shutil
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec import cli_prompts
from llmrec.errors import ConfigError, DataError, RunError, exit_code

if TYPE_CHECKING:
    import polars as pl

PARTS = ("validation", "test", "shuffled")
EXAMPLES = """examples:
  llmrec recommend --run runs/ml-100k-sasrec-id-softmax-s0 --history "Toy Story (1995)|Heat (1995)" -k 10
  llmrec recommend --run runs/NAME --history "1|50|181" --json
  llmrec evaluate runs/NAME
  llmrec data check ml-100k
  llmrec data check shop.yaml --k-core 5 --json
  llmrec fetch gemma-3-270m --accept-terms
  llmrec plan opt-13b --items 80000 --tokens 30 --memory 24GB
  llmrec prompts list
  llmrec prompts show zeroshot/rank --data ml-100k --user 196
  llmrec prompts check items/title_genres p5/sequential/next_item zeroshot/rank --data ml-100k
  llmrec prompts stats --data ml-100k --model smollm2-135m
  llmrec prompts export --config configs/p5.yaml --data ml-100k --output p5-examples
"""


def parser() -> argparse.ArgumentParser:
    """Verbs and flags, without torch."""
    result = argparse.ArgumentParser(
        "llmrec", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = result.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("recommend", help="the best items for a history, from a finished run")
    verb.add_argument("--run", type=Path, required=True, help="run folder")
    verb.add_argument("--history", required=True, help="titles, item ids or [ID], oldest first, separated by |")
    verb.add_argument("--user", help="whose history it is, for a run that knows users by name")
    verb.add_argument("-k", type=int, default=10, help="how many items (default: 10)")
    verb.add_argument("--candidates", help="titles or ids to choose from, separated by | (default: every item)")
    verb.add_argument("--include-seen", action="store_true", help="items of the history may come back")
    verb.add_argument("--json", action="store_true", help="print the rankings table as JSON")
    verb.set_defaults(command=recommend)

    verb = verbs.add_parser("evaluate", help="compute metrics.json again from the saved run tables alone")
    verb.add_argument("run", type=Path, help="run folder")
    verb.add_argument("--json", action="store_true", help="print the metrics as JSON")
    verb.set_defaults(command=evaluate)

    verb = verbs.add_parser("fetch", help="bring a small data set or model into the cache")
    verb.add_argument("asset", metavar="NAME", help="such as ml-100k or gemma-3-270m")
    verb.add_argument("--accept-terms", action="store_true", help="the asset's terms are accepted (Gemma has some)")
    verb.set_defaults(command=fetch)

    verb = verbs.add_parser("plan", help="what it takes to encode items with a model, told without any download")
    verb.add_argument("model", metavar="MODEL", help="as --model of train.py, such as opt-13b")
    verb.add_argument("--items", type=int, default=10_000, help="texts to encode (default: %(default)s)")
    verb.add_argument("--tokens", type=int, default=30, help="tokens of a text on average (default: %(default)s)")
    verb.add_argument("--memory", help="such as 24GB (default: what is free now)")
    verb.add_argument("--json", action="store_true", help="print the figures as JSON")
    verb.set_defaults(command=plan)

    _add_data(verbs.add_parser("data", help="count what a data set holds, and what is odd in it"))
    cli_prompts.add_verbs(verbs.add_parser("prompts", help="list prompts, show one, check or count them on real data"))
    return result


def _add_data(group: argparse.ArgumentParser) -> None:
    verbs = group.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser("check", help="counts, repeats, ties in time, missing texts, cold items, telling ids")
    verb.add_argument("data", metavar="NAME", help="data set, such as ml-100k, or a YAML file that describes one")
    verb.add_argument("--data-dir", type=Path, help="folder with its files")
    verb.add_argument("--dedupe", help="first or last: which of a user's repeats of one item stays (default: all)")
    verb.add_argument("--k-core", type=int, help="users and items with fewer interactions leave, until none has fewer")
    verb.add_argument("--min-history", type=int, help="users with fewer interactions leave")
    verb.add_argument("--max-history", type=int, help="only so many of a user's most recent interactions stay")
    verb.add_argument("--json", action="store_true", help="print everything as JSON")
    verb.set_defaults(command=check_data)


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 1 if a saved number does not hold, 2 for what the user can mend."""
    arguments = parser().parse_args(argv)
    code: int = arguments.command(arguments)
    return code


def fetch(arguments: argparse.Namespace) -> int:
    """Prints where an asset lies."""
    from llmrec import assets

    print(assets.fetch(arguments.asset, arguments.accept_terms))
    return 0


def recommend(arguments: argparse.Namespace) -> int:
    """Prints the best items for one history."""
    from llmrec import building
    from llmrec.recommender import read_items
    from llmrec.runs import RunFolder

    RunFolder(arguments.run).require_finished()
    items = read_items(arguments.run)
    history = find_items(items, arguments.history.split("|"))
    chosen = None if arguments.candidates is None else find_items(items, arguments.candidates.split("|"))
    for flag, named in (("--history", history), ("--candidates", chosen)):
        if named is not None and not named:
            raise DataError(f"{flag} names no item; give titles or ids with | between them")
    model = building.load(arguments.run)
    if arguments.user is not None and not model.knows_users:
        raise DataError(
            f"--user {arguments.user}: {arguments.run} knows nobody by name, and one history gets one answer whoever "
            "asks; leave it out, or ask a run whose head has a table of users, such as dssm_id"
        )
    users = None if arguments.user is None else [arguments.user]
    table = model.recommend(
        [history], users=users, k=arguments.k, candidates=chosen, exclude_seen=not arguments.include_seen
    )
    if table.is_empty():
        raise DataError("every candidate stands in the history; --include-seen ranks these too")
    if arguments.json:
        print(json.dumps(table.to_dicts(), indent=2))
        return 0
    titles = dict(zip(items["item_id"], items["title"] if "title" in items.columns else items["item_id"], strict=True))
    after = "after " + " | ".join(f"{titles[item] or item}" for item in history)
    print(textwrap.fill(after, shutil.get_terminal_size().columns, subsequent_indent="      "))
    for row in table.iter_rows(named=True):
        print(f"{row['rank']:4}  {row['score']:8.3f}  {titles[row['item_id']] or ''}  [{row['item_id']}]")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Recomputes every number of ``metrics.json`` and compares."""
    from llmrec import evaluation, report, slices
    from llmrec.recommender import read_items
    from llmrec.runs import RunFolder, RunTable, read_json

    run = RunFolder(arguments.run)
    run.require_finished()
    saved = read_json(run.path / "metrics.json")
    tables = {part: RunTable.load(run.path / part) for part in PARTS}
    again = evaluation.run_metrics(tables)
    worst = _largest_difference(saved, again)
    if arguments.json:
        print(json.dumps(again, indent=2))
    else:
        for metric, fields in again["test"].items():
            print(f"{metric:10} {fields['value']:.4f} [{fields['low']:.4f}, {fields['high']:.4f}]  n {fields['n']}")
        shown = slices.shown(read_items(run.path))
        print(report.show_slices(run.path.name, tables["test"], tables["shuffled"], shown=shown))
    print(f"largest difference from metrics.json: {worst:.1e}", file=sys.stderr)
    return 0 if worst <= 1e-9 else 1


def plan(arguments: argparse.Namespace) -> int:
    """Prints the cost of every way to load a model."""
    from llmrec import plan_report
    from llmrec.loading import plan as planning

    memory = None if arguments.memory is None else planning.parse_bytes(arguments.memory)
    for flag in ("items", "tokens"):
        if getattr(arguments, flag) < 1:
            raise ConfigError(f"--{flag} must be at least 1, came {getattr(arguments, flag)}")
    shape, rates = planning.shape_of(arguments.model), planning.measure()
    found = plan_report.facts(arguments.model, shape, rates, arguments.items, arguments.tokens, memory)
    print(json.dumps(found, indent=2) if arguments.json else plan_report.show(found))
    return 0


def check_data(arguments: argparse.Namespace) -> int:
    """Prints what a data set holds."""
    from llmrec import config, covers, data_report, filtering
    from llmrec.sources import load_dataset
    from llmrec.splits.leave_one_out import LeaveOneOut

    said = {name: getattr(arguments, name) for name in ("dedupe", "k_core", "min_history", "max_history")}
    options = config.parse({"filter": {name: value for name, value in said.items() if value is not None}})
    data = load_dataset(arguments.data, arguments.data_dir)
    if data.images is not None:
        try:
            told = covers.find(data.item_ids.tolist(), data.images).doubt
        except DataError as error:  # the log may be used all the same
            told = str(error)
        data = replace(data, notes=(*data.notes, *filter(None, [told])))
    filtered = filtering.apply(data, options.filter)
    try:
        split = LeaveOneOut().split(filtered.dataset)
    except DataError as error:  # nothing to test on is a finding like any other
        print(f"note: {error}", file=sys.stderr)
        split = None
    found = data_report.facts(filtered, split)
    print(json.dumps(found, indent=2, ensure_ascii=False) if arguments.json else data_report.show(found))
    return 0


def _largest_difference(saved: dict[str, Any], again: dict[str, Any]) -> float:
    """Over every number of both parts; infinite where one is missing or is none, or where the protocols differ."""
    try:
        first, second = (
            {
                (part, name, key): math.nan if isinstance(value, str) else float(value)
                for part in PARTS
                for name, row in each.get(part, {}).items()
                for key, value in row.items()
            }
            for each in (saved, again)
        )
    except (AttributeError, TypeError, ValueError, OverflowError):
        return math.inf
    if first.keys() != second.keys() or saved.get("protocol") != again["protocol"]:
        return math.inf
    return max(abs(first[key] - second[key]) if math.isfinite(first[key]) else math.inf for key in first)


def find_items(items: "pl.DataFrame", wanted: list[str]) -> list[str]:
    """Item ids for titles or ids; a year may be left out, and where a name is not clear the user is asked.

    A name that is the id of one item and the title of another is not clear; an id in brackets, as lists print it, is.

    Raises:
        DataError: nothing alike, or nobody there to ask; the message lists what is near.
    """
    ids = set(items["item_id"])
    titles = dict(zip(items["item_id"], items["title"].fill_null(""), strict=True)) if "title" in items.columns else {}
    called: dict[str, list[str]] = {}
    for item, title in titles.items():
        for name in {title.casefold(), _without_year(title)}:
            called.setdefault(name, []).append(item)
    return [_find_item(ids, titles, called, name.strip()) for name in wanted if name.strip()]


def _find_item(ids: set[str], titles: dict[str, str], called: dict[str, list[str]], name: str) -> str:
    """One item; ``called`` are those that have a title or the same without its year, in small letters."""
    bare = name.removeprefix("[").removesuffix("]")
    if bare in ids and (name == f"[{bare}]" or titles.get(name) == name):
        return bare
    exact = list(dict.fromkeys([name] * (name in ids) + called.get(name.casefold(), [])))
    if len(exact) == 1:
        return exact[0]
    if not titles:
        raise DataError(f"no item with id {name!r}, and this data set has no titles")
    near = exact or _near(titles, name)
    if not near:
        raise DataError(f"no item is called anything like {name!r}; give a title or an item id")
    if not sys.stdin.isatty():
        listed = "; ".join(f"{titles[item]} [{item}]" for item in near)
        raise DataError(f"{name!r} is not clear; near are: {listed}. An id in brackets, such as [{near[0]}], is clear")
    return _ask(titles, name, near)


def _without_year(title: str) -> str:
    return re.sub(r" *\(\d{4}\)$", "", title).casefold()


def _near(titles: dict[str, str], name: str) -> list[str]:
    from difflib import SequenceMatcher

    def likeness(title: str) -> float:
        inside = 1.0 if name.casefold() in title.casefold() else 0.0
        return inside + SequenceMatcher(None, name.casefold(), title.casefold()).ratio()

    scored = sorted(((likeness(title), item) for item, title in titles.items()), reverse=True)
    return [item for score, item in scored[:5] if score > 0.5]


def _ask(titles: dict[str, str], name: str, near: list[str]) -> str:
    print(f"{name!r}: which one?", file=sys.stderr)
    for number, item in enumerate(near, 1):
        print(f"  {number}  {titles[item]} [{item}]", file=sys.stderr)
    print("number: ", end="", file=sys.stderr, flush=True)  # input() would print it among the results
    answer = sys.stdin.readline().strip()
    if not answer.isdigit() or not 1 <= int(answer) <= len(near):
        raise RunError(f"{answer!r} is not a number from 1 to {len(near)}")
    return near[int(answer) - 1]


if __name__ == "__main__":
    sys.exit(main())
