"""The study of posters: the order of its cells, whether films have a poster, and the tables of made cells."""

from pathlib import Path

import pytest
from tables import PROTOCOL, counted

from eval import posters
from eval.kept import Kept
from llmrec.runs import write_text

USERS = tuple(f"u{number}" for number in range(40))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where made cells are kept and tables go."""
    monkeypatch.setattr(posters, "KEPT", tmp_path / "posters")
    monkeypatch.setattr(posters, "RESULTS", tmp_path)
    return tmp_path


def keep(films: str, system: str, seed: int, places: list[int], best: int = 3) -> None:
    """A finished cell of 20 epochs: how many films stand above each user's target."""
    rows = [(user, place, 0) for user, place in zip(USERS, places, strict=True)]
    table = counted(rows, protocol=PROTOCOL, best_epoch=best, seed=seed)
    options = {"training": {"epochs": 20}}
    Kept(posters.KEPT / films).save(posters._cell(films, system, seed), table, seed=seed, options=options)


def test_one_seed_of_everything_comes_before_the_next():
    order = list(posters._order(2))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    assert {seed for *_, seed in first} == {0} and [cell[:2] for cell in first] == [cell[:2] for cell in second]
    assert len({posters._cell(*cell) for cell in order if cell[0] == posters.PICTURED}) == 2 * len(posters.SYSTEMS)


def test_what_is_there_is_tested_and_what_still_rose_or_is_missing_told(kept: Path):
    keep(posters.PICTURED, posters.IDS, 0, [1] * 40)
    keep(posters.PICTURED, posters.RESNET, 0, [0] * 40, best=20)
    keep(posters.PICTURED, posters.VIT, 0, [2] * 40)
    posters._report(1, {f"{posters.TEXTS} on pictured films": [0, 2]})
    text = (kept / "posters-pictured.md").read_text(encoding="utf-8")
    assert f"| {posters.RESNET} - {posters.IDS} | nDCG@10 | +.3691 [+.3691, +.3691] | beats |" in text
    assert f"| {posters.VIT} - {posters.RESNET} | nDCG@10 | -.5000 [-.5000, -.5000] | worse |" in text
    assert f"{posters.IDS} - " not in text and f"- {posters.TEXTS} |" not in text
    assert f"(best at the last epoch allowed): {posters.RESNET}.\n" in text
    assert f"- Missing: {posters.TEXTS} on pictured films, seed 0, 2.\n" in text
    assert not (kept / "posters-all.md").exists(), "there is no cell"


def test_targets_with_a_poster_stand_apart_from_those_without(kept: Path):
    """Every third target has one, and only there the mixture is right."""
    for seed in (0, 1):
        keep(posters.ALL, posters.TEXTS, seed, [1] * 40)
        keep(posters.ALL, posters.MIXTURE, seed, [0 if number % 3 == 0 else 1 for number in range(40)])
    shown = [f"target-{number}" for number in range(0, 40, 3)]
    write_text(posters.KEPT / "shown.txt", "\n".join([*shown, "of no case"]) + "\n")
    posters._report(2, {})
    text = (kept / "posters-all.md").read_text(encoding="utf-8")
    every, with_poster, without = text.split("**")[2::2]
    row = f"| {posters.MIXTURE} | 2 | 1.0000 [1.0000, 1.0000] | "
    assert f"{row}1.0000 [1.0000, 1.0000] | 14 |" in with_poster
    assert f"{row}.6309 [.6309, .6309] | 26 |" in without
    assert f"{row}.7601" in every and "| 40 |" in every
