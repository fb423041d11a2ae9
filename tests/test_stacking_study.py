"""The study of stacking: curves over stages, when what is wanted is reached, the command on a tiny log."""

import json
from pathlib import Path

import pytest

from eval import stacking
from eval.stacking import Curve
from llmrec.runs import write_json


def finish(folder: Path, begun: Path | None, *epochs: tuple[float, float]) -> Path:
    """A run's folder: seconds and validation nDCG@10 of each epoch, between steps."""
    folder.mkdir()
    write_json(folder / "config.json", {"training": {"init_from": begun and str(begun)}})
    rows = [{"event": "epoch", "seconds": seconds, "validation": {"nDCG@10": value}} for seconds, value in epochs]
    lines = [json.dumps(row) for row in [{"event": "step", "step": 1, "loss": 2.0}, *rows]]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_the_seconds_of_a_stacked_model_hold_those_of_all_stages(tmp_path: Path) -> None:
    first = finish(tmp_path / "first", None, (1, 0.1), (2, 0.2))
    second = finish(tmp_path / "second", first, (3, 0.25))
    found = stacking.curve(finish(tmp_path / "third", second, (4, 0.3), (8, 0.28)))
    assert found == Curve([2 + 3 + 4, 2 + 3 + 8], [0.3, 0.28])
    assert (found.best, found.until(0.28), found.until(0.4)) == (0.3, 9, None)


def test_times_are_those_until_the_first_system_s_best_of_the_same_seed() -> None:
    deep = [Curve([10, 20], [0.1, 0.2]), Curve([10, 30], [0.3, 0.2])]
    stacked = [Curve([5, 15], [0.2, 0.3]), Curve([8, 16], [0.1, 0.2])]
    lines = stacking.times({"deep": deep, "stacked": stacked}).splitlines()
    assert lines[2:] == ["| deep | 0.2500 | 25 | 15 | 2 of 2 |", "| stacked | 0.2500 | 16 | 5 | 1 of 2 |"]


def test_depths_that_doubling_does_not_reach_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        stacking.main(["--blocks", "3", "--deep", "8"])
    assert ended.value.code == 2
    assert "--deep must be --blocks doubled once or more, came 3 and 8" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_trains_all_stages_and_saves_what_it_prints(
    toy_folder, tmp_path, monkeypatch, capsys, cells_here
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--data", "toy", "--data-dir", str(toy_folder), "--blocks", "1", "--deep", "2", "--stage", "1"]
    assert stacking.main([*flags, "--seeds", "1", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    saved = (tmp_path / "eval/results/stacking.md").read_text(encoding="utf-8")
    table = saved[saved.index("| system | best validation") :].strip()
    assert printed.strip().endswith(table)
    assert "NextItNet 2 adjacent" in table and "NextItNet 2 cross" in table
    stage = tmp_path / "runs/study/stacking-toy-1-blocks-1-epochs-s0"
    (row,) = [row for row in stacking._log(stage) if row["event"] == "epoch"]
    deep = tmp_path / "runs/study/stacking-toy-1-cross-2-1-epochs-s0"
    assert stacking.curve(deep).seconds[0] > row["seconds"], "its own and those of its stage"
    assert (tmp_path / "eval/results/stacking.png").read_bytes().startswith(b"\x89PNG")
