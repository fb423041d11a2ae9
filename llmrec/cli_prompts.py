"""``llmrec prompts``: list prompts, show one, check, count and export them."""

import argparse
import json
import sys
from pathlib import Path


def add_verbs(group: argparse.ArgumentParser) -> None:
    """Verbs and flags of ``llmrec prompts``, without torch."""
    verbs = group.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser("list", help="every prompt, and which file it comes from")
    verb.set_defaults(command=list_prompts)

    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--data", required=True, help="data set, such as ml-100k")
    data.add_argument("--data-dir", type=Path, help="folder with its files")
    data.add_argument(
        "--split", default="leave_one_out", help="which interactions are asked for (default: %(default)s)"
    )

    verb = verbs.add_parser("show", parents=[data], help="one prompt as a model would get it for a user")
    verb.add_argument("prompt", metavar="ID", help="such as zeroshot/rank")
    verb.add_argument("--user", help="user id (default: the first one who can be asked about)")
    verb.add_argument("--json", action="store_true", help="print the sections as JSON, unfolded")
    verb.set_defaults(command=show_prompt)

    verb = verbs.add_parser("check", parents=[data], help="look for leaks, missing fields, cut answers and duplicates")
    verb.add_argument(
        "prompts", metavar="ID", nargs="*", help="such as p5/sequential/next_item (default: all that the data can fill)"
    )
    verb.add_argument("--cases", type=int, default=200, help="users to render for (default: %(default)s)")
    verb.add_argument("--seed", type=int, default=0, help="of the users and their candidates (default: %(default)s)")
    verb.set_defaults(command=check_prompts)

    verb = verbs.add_parser("stats", parents=[data], help="examples and lengths that P5's prompts give, by family")
    verb.add_argument("--model", help="whose tokens are counted, such as smollm2-135m (default: words are)")
    verb.add_argument("--json", action="store_true", help="print the figures as JSON")
    verb.set_defaults(command=count_prompts)

    verb = verbs.add_parser(
        "export",
        help="P5's training examples as a data set for other trainers",
        description="Writes the examples that a run would train on (input, target, prompt, user_id, item_id, epoch) "
        "for datasets.load_from_disk. Only those of training: what validation and test ask for is not exported.",
    )
    verb.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="any option of train.py, such as item_ids=sequential"
    )
    verb.add_argument("--config", type=Path, required=True, help="YAML file of options, such as configs/p5.yaml")
    verb.add_argument("--data", help="data set, such as ml-100k (default: the file's)")
    verb.add_argument("--data-dir", type=Path, help="folder with its files")
    verb.add_argument("--seed", type=int, help="of all that is drawn (default: the file's, else 0)")
    verb.add_argument("--epochs", type=int, default=1, help="each draws other examples (default: %(default)s)")
    verb.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a folder that is not there yet")
    verb.set_defaults(command=export_prompts)


def list_prompts(arguments: argparse.Namespace) -> int:
    """Prints every prompt with its kind, its description and its file."""
    from llmrec import prompt_report

    print(prompt_report.listing())
    return 0


def show_prompt(arguments: argparse.Namespace) -> int:
    """Prints one prompt, rendered for a user of the data set."""
    from llmrec import prompt_report
    from llmrec.sources import load_dataset

    dataset = load_dataset(arguments.data, arguments.data_dir)
    shown = prompt_report.rendered(arguments.prompt, dataset, arguments.split, arguments.user)
    print(json.dumps(shown, indent=2, ensure_ascii=False) if arguments.json else prompt_report.folded(shown))
    return 0


def check_prompts(arguments: argparse.Namespace) -> int:
    """Prints one line per fault, and what has none; 1 if there is any fault."""
    from llmrec import prompt_check
    from llmrec.sources import load_dataset

    dataset = load_dataset(arguments.data, arguments.data_dir)
    found = prompt_check.check(arguments.prompts, dataset, arguments.split, cases=arguments.cases, seed=arguments.seed)
    for note in found.notes:
        print(note, file=sys.stderr)
    off = f"; {found.switched_off} switched off" if found.switched_off else ""
    named = f" ({', '.join(found.passed)})" if found.faults and arguments.prompts else ""
    for fault in found.faults:
        print(fault)
    if found.passed or not found.faults:
        print(f"{len(found.passed)} prompts{named} on {arguments.data}: no fault{off}")
    return 1 if found.faults else 0


def count_prompts(arguments: argparse.Namespace) -> int:
    """Prints a row per family of P5's prompts."""
    from llmrec import prompt_families
    from llmrec.sources import load_dataset

    dataset = load_dataset(arguments.data, arguments.data_dir)
    found = prompt_families.facts(dataset, arguments.split, arguments.model)
    print(json.dumps(found, indent=2) if arguments.json else prompt_families.show(found))
    return 0


def export_prompts(arguments: argparse.Namespace) -> int:
    """Writes training examples and prints how many they are."""
    from llmrec import config, prompt_export

    flags = {name: getattr(arguments, name) for name in ("data", "data_dir", "seed")}
    options = config.load(arguments.config, arguments.overrides, flags).resolved()
    number = prompt_export.export(options, arguments.output, arguments.epochs)
    print(f"{arguments.output}: {number:,} examples; datasets.load_from_disk({str(arguments.output)!r}) reads them")
    return 0
