"""Which users a zero-shot study asks about, among which candidates, and which trained runs may rank them too."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval import compare
from llmrec import building, components, config, evaluation, held_out
from llmrec.candidates import Candidates, Scores, drawn, generator, retrieved, stored
from llmrec.errors import ConfigError, DataError, ProtocolError
from llmrec.generative.origins import SHAPES
from llmrec.protocol import Protocol
from llmrec.runs import RunFolder, RunTable, read_json
from llmrec.splits import Cases, Split


def settle(
    arguments: argparse.Namespace, split: Split, protocol: Protocol, number: int
) -> tuple[Candidates, list[str]]:
    """Draws users and makes their candidates.

    Args:
        arguments: of the command.
        split: whose test part is asked about.
        protocol: of the split, to tell whether a retriever may have seen the targets.
        number: candidates of a case.

    Returns:
        The candidates, and a line for whatever was left out.

    Raises:
        ConfigError: too few items to draw from.
        DataError: a file of candidates that cannot be used.
        ProtocolError: a retriever that may have seen the targets.
    """
    source, insert = arguments.candidates_from, arguments.insert_target
    if source is not None and not source.is_dir():
        found, left_out = stored(split.test, split.dataset, source, number, arguments.seed, insert_target=insert)
        rows, notes = _of_drawn_users(found.cases, split, arguments.users, arguments.seed)
        return found.take(rows), left_out + notes
    rows, notes = _of_drawn_users(split.test, split, arguments.users, arguments.seed)
    cases = split.test.take(rows)
    if source is None:
        return drawn(cases, split.dataset, number, arguments.seed), notes
    saved = require_held_out(source, protocol)
    model, mask = building.load(source), saved.protocol.mask_history
    _, lists = evaluation.rank_cases(model, cases, split.dataset, mask_history=mask, k=number)
    name = f"{source.name} ({saved.provenance.get('finished', '?')})"
    return retrieved(cases, split.dataset, lists, name, number, insert_target=insert), notes


def trained_runs(folders: Sequence[Path], protocol: Protocol) -> dict[str, dict[Path, RunTable]]:
    """Runs to measure beside the prompted model, by name; seeds of one model together.

    Raises:
        RunError: no finished run.
        ProtocolError: one that may have seen the targets.
        ConfigError: a folder named twice, or two models of one name.
    """
    found: dict[str, dict[Path, RunTable]] = {}
    options: dict[str, dict[str, Any]] = {}
    for folder in folders:
        name = compare.name_of(folder)
        saved, written = require_held_out(folder, protocol), read_json(folder / "config.json")
        if folder.absolute() in found.setdefault(name, {}):
            raise ConfigError(f"{folder} is named twice")
        if name in components.names("baselines") or compare.seeds_differ_in(options.setdefault(name, written), written):
            raise ConfigError(f"{folder} has the name of another row, {name!r}; rename its folder")
        found[name][folder.absolute()] = saved
    return found


def kind_of(folder: Path) -> str:
    """What a trained run is made of, in a word or two."""
    options = config.parse(read_json(folder / "config.json"))
    if options.p5 is not None:
        return "P5 from nothing" if options.model in SHAPES else "LLM tuned"
    if not options.uses_text:
        return "ID"
    return "frozen encoder" if options.tuning["name"] == "frozen" else "tuned encoder"


def scores_of(folder: Path, candidates: Candidates) -> list[Scores]:
    """What a trained run gives the candidates.

    Raises:
        DataError: it was trained on another catalogue.
    """
    model = building.load(folder)
    if model.item_ids.tolist() != candidates.dataset.item_ids.tolist():
        raise DataError(f"{folder} has another catalogue than {candidates.dataset.name}")
    return candidates.scores(model)


def require_held_out(folder: Path, protocol: Protocol) -> RunTable:
    """The saved test table of a run that was trained without the targets asked about.

    Raises:
        RunError: no finished run.
        ProtocolError: its split, or that of a run that it began with, is another one, so its training part may hold
            them.
    """
    RunFolder(folder).require_finished()
    saved, words = RunTable.load(folder / "test"), held_out.cut_otherwise(folder, protocol)
    met = [f"{folder} was trained on other parts of the data ({words})"] if words else []
    if found := met or held_out.may_have_met(folder, protocol):
        begun = "" if met else f"; {folder} began with it"
        raise ProtocolError(
            f"{found[0]}, so it may have seen the targets that are asked about{begun}; train with the split and filter "
            "of this study"
        )
    return saved


def _of_drawn_users(cases: Cases, split: Split, number: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Which cases are of so many users, and how many there are."""
    users = np.unique(cases.user)
    if len(users) <= number:
        return np.arange(len(cases)), []
    ids = split.dataset.user_ids[users]
    chosen = users[np.isin(ids, generator(seed, "users").choice(np.sort(ids), number, replace=False))]
    return np.flatnonzero(np.isin(cases.user, chosen)), [f"{number} of {len(users)} users, by seed {seed}"]
