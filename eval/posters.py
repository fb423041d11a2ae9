"""Ids, texts, images and mixtures of them on films with posters: ``python -m eval.posters --data-dir FOLDER``.

MovieLens latest-small, a quarter of whose ratings are of films with a poster. SASRec with one recipe over item ids,
frozen text vectors, a small vision model from nothing that learns on the posters (no pre-trained one is at hand here:
its figures are those of a network that has seen some thousand images), and text and image together; on the films with a
poster alone, where all compare, and on all films, by whether the target has one. Finished cells are kept in
eval/results/posters, so the same command goes on where it stopped.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from eval import cells, compare
from eval.kept import Kept
from llmrec import report, slices, train
from llmrec.errors import exit_code
from llmrec.recommender import read_items
from llmrec.runs import RunTable, write_text

DATA = Path("configs/data/ml-latest-small.yaml")
RESULTS = Path("eval/results")
KEPT = RESULTS / "posters"
PICTURED, ALL = "pictured", "all"
SETS = {PICTURED: ("filter.with_image=true", "filter.min_history=5"), ALL: ("filter.min_history=5",)}
RECIPE = ("--loss", "in_batch_softmax", "loss.uniform_share=0.5", "training.batch_size=64", "training.patience=5")
CHEAP, DEAR = ("--epochs", "60"), ("--epochs", "20")
"""An epoch over frozen vectors takes a second, over images that are read anew half a minute."""
TEXT = ("--model", "minilm-l6")


def eye(name: str) -> tuple[str, ...]:
    """Flags of a vision model from nothing, all of which learns."""
    return ("--images", name, "images.size=32", "images.tuning={name: full, learning_rate: 0.001}")


IDS, TEXTS = "SASRec id", "SASRec minilm-l6"
RESNET, VIT = "SASRec resnet-mini (from nothing)", "SASRec vit-mini (from nothing)"
MIXTURE = "SASRec minilm-l6 + resnet-mini (from nothing)"
SYSTEMS = {
    IDS: ("--model", "id", *CHEAP),
    TEXTS: (*TEXT, *CHEAP),
    RESNET: (*eye("resnet-mini"), *DEAR),
    VIT: (*eye("vit-mini"), *DEAR),
    MIXTURE: (*TEXT, *eye("resnet-mini"), *DEAR),
}
ASKED = {PICTURED: tuple(SYSTEMS), ALL: (IDS, TEXTS, MIXTURE)}
RIVALS = {IDS: (TEXTS, RESNET, VIT, MIXTURE), TEXTS: (RESNET, VIT, MIXTURE), RESNET: (VIT, MIXTURE)}
"""Who is tested against each."""


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.posters", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cells.add_data_dir(parser)
    cells.add_seeds(parser)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after so many no other cell is begun")
    arguments = parser.parse_args(argv)
    study(arguments.data_dir, arguments.seeds, arguments.minutes)
    return 0


def study(data_dir: list[str], seeds: int, minutes: float) -> None:
    """Trains what is missing, prints the tables and writes eval/results/posters-*."""
    stop, missing = time.monotonic() + 60 * minutes, dict[str, list[int]]()
    for films, system, seed in _order(seeds):
        name, flags = _cell(films, system, seed), _flags(films, system, data_dir)
        asked = train.options_of([*flags, "--seed", str(seed)])[0].resolved().model_dump(mode="json")
        kept = Kept(KEPT / films)
        if kept.has(name, asked):
            continue
        if time.monotonic() > stop:
            missing.setdefault(f"{system} on {films} films", []).append(seed)
            continue
        trained = cells.trained(f"posters-{films}-{_short(system)}", *flags)({}, seed)
        assert trained.folder is not None
        kept.begin(trained.table)
        if system == TEXTS and not seed:
            for label, table in cells.baselines(cells.Chosen([trained], [trained]), "minilm-l6").items():
                kept.save(label.replace(" ", "-"), table[0], seed=0)
        kept.save(name, trained.table, options=asked, seed=seed, validation=trained.validation)
        if films == ALL and system == MIXTURE:
            shown = slices.shown(read_items(trained.folder))
            assert shown is not None
            write_text(KEPT / "shown.txt", "\n".join(shown) + "\n")
    _report(seeds, missing)


def _report(seeds: int, missing: dict[str, list[int]]) -> None:
    note = "".join(f"- Missing: {words}, seed {', '.join(map(str, lacking))}.\n" for words, lacking in missing.items())
    for films, systems in ASKED.items():
        groups = {f"{films} films": _runs(films, seeds)}
        if films == ALL and (KEPT / "shown.txt").is_file():
            groups |= _by_poster(groups[f"{films} films"])
        found = [system for system in systems if system in groups[f"{films} films"]]
        pairs = [
            (each, rival) for rival, others in RIVALS.items() for each in found if each in others and rival in found
        ]
        if found:
            compare.save_groups(groups, pairs, RESULTS / f"posters-{films}", note + _cut(films, seeds))
            for words, part in groups.items():
                print(f"{words}\n{report.show(part, pairs)}")


def _cut(films: str, seeds: int) -> str:
    """Systems that were best at the last epoch allowed, as a note; nothing if there are none."""
    kept, found = Kept(KEPT / films), dict[str, None]()
    for system, seed in product(ASKED[films], range(seeds)):
        if (name := _cell(films, system, seed)) in kept.names():
            cell, options = kept.load(name)
            if cell.table.provenance["best_epoch"] == options["training"]["epochs"]:
                found[system] = None
    return (
        f"- Still rising when training ended (best at the last epoch allowed): {', '.join(found)}.\n" if found else ""
    )


def _by_poster(runs: report.Runs) -> dict[str, report.Runs]:
    """The cases whose target has a poster, and the others."""
    ids = (KEPT / "shown.txt").read_text(encoding="utf-8").split()
    targets = next(iter(runs.values()))[0].cases["target"].unique()
    found = {}
    for words, keep in (("target with a poster", targets.is_in(ids)), ("target without", ~targets.is_in(ids))):
        some = targets.filter(keep)
        found[words] = {
            name: [slices.only(table, some, words, "target") for table in tables] for name, tables in runs.items()
        }
    return found


def _runs(films: str, seeds: int) -> dict[str, list[RunTable]]:
    kept = Kept(KEPT / films)
    ours = {_cell(films, system, seed): system for system in ASKED[films] for seed in range(seeds)}
    tables = {name: kept.load(name)[0].table for name in kept.names()}
    runs = {name: [table] for name, table in tables.items() if "baseline" in table.provenance}
    for cell, system in ours.items():
        if cell in tables:
            runs.setdefault(system, []).append(tables[cell])
    return runs


def _order(seeds: int) -> Iterator[tuple[str, str, int]]:
    """One seed of everything before the next."""
    for seed in range(seeds):
        for films, systems in ASKED.items():
            for system in systems:
                yield films, system, seed


def _flags(films: str, system: str, data_dir: list[str]) -> list[str]:
    return ["--data", str(DATA), *data_dir, *RECIPE, *SETS[films], *SYSTEMS[system]]


def _cell(films: str, system: str, seed: int) -> str:
    return f"{_short(system)}-s{seed}"


def _short(system: str) -> str:
    return system.removeprefix("SASRec ").removesuffix(" (from nothing)").replace(" + ", "-")


if __name__ == "__main__":
    sys.exit(main())
