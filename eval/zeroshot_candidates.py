"""Which users a zero-shot study asks about, and among which candidates."""

import argparse
from pathlib import Path

import numpy as np

from llmrec import evaluation
from llmrec.candidates import Candidates, drawn, generator, retrieved, stored
from llmrec.errors import ProtocolError
from llmrec.protocol import Protocol
from llmrec.recommender import Recommender
from llmrec.runs import RunFolder, RunTable
from llmrec.splits import Cases, Split

_SAME = ("data_hash", "split", "targets", "filter")
"""Fields of a protocol that say what a run was trained on."""


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
    cases, notes = _drawn_users(split.test, split, arguments.users, arguments.seed)
    source, insert = arguments.candidates_from, arguments.insert_target
    if source is None:
        return drawn(cases, split.dataset, number, arguments.seed), notes
    if not source.is_dir():
        found, left_out = stored(cases, split.dataset, source, number, arguments.seed, insert_target=insert)
        return found, notes + left_out
    saved = require_held_out(source, protocol)
    model, mask = Recommender.load(source), saved.protocol.mask_history
    _, lists = evaluation.rank_cases(model, cases, split.dataset, mask_history=mask, k=number)
    name = f"{source.name} ({saved.provenance.get('finished', '?')})"
    return retrieved(cases, split.dataset, lists, name, number, insert_target=insert), notes


def require_held_out(folder: Path, protocol: Protocol) -> RunTable:
    """The saved test table of a run that was trained without the targets asked about.

    Raises:
        RunError: no finished run.
        ProtocolError: its split is another one, so its training part may hold them.
    """
    RunFolder(folder).require_finished()
    saved = RunTable.load(folder / "test")
    different = {name: pair for name, pair in saved.protocol.difference(protocol).items() if name in _SAME}
    if different:
        pairs = "; ".join(f"{name}: {theirs!r} there, {ours!r} here" for name, (theirs, ours) in different.items())
        raise ProtocolError(
            f"{folder} was trained on other parts of the data ({pairs}), so it may have seen the targets that are "
            "asked about; train it with the split and filter of this study"
        )
    return saved


def _drawn_users(cases: Cases, split: Split, number: int, seed: int) -> tuple[Cases, list[str]]:
    """The cases of so many users, and how many there are."""
    users = np.unique(cases.user)
    if len(users) <= number:
        return cases, []
    ids = split.dataset.user_ids[users]
    chosen = users[np.isin(ids, generator(seed, "users").choice(np.sort(ids), number, replace=False))]
    return cases.take(np.flatnonzero(np.isin(cases.user, chosen))), [f"{number} of {len(users)} users, by seed {seed}"]
