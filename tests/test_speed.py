"""The speed command: what it prints and saves, on a small ranking; peers are timed by hand."""

import json
from pathlib import Path

import pytest
import torch

from eval import speed
from eval.benchmarks import encode
from eval.speed import Timing


@pytest.fixture
def timing() -> Timing:
    return Timing("a task", "rows", 600, {"ours": [2.0, 1.0, 3.0], "theirs": [8.0, 5.0]}, [("ours", "theirs", "2x")])


def test_a_ratio_is_that_of_the_median_seconds(timing):
    assert timing.ratio("ours", "theirs") == 6.5 / 2.0
    text = speed.markdown(timing, 0.1)
    assert "| ours | 300 | 2 (1 to 3) | 3 |" in text
    assert "| ours to theirs | 3.25x | 2x |" in text
    assert "Load average before: 0.10." in text


@pytest.mark.parametrize(("load", "marked"), [(0.29, False), (0.31, True)])
def test_figures_of_a_busy_machine_are_marked(timing, load, marked):
    assert ("The machine was busy" in speed.markdown(timing, load)) is marked


def test_systems_take_turns_and_the_first_turn_does_not_count():
    calls = []
    seconds = speed.alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert {name: len(runs) for name, runs in seconds.items()} == {"a": 2, "b": 2}


@pytest.mark.slow
def test_the_ranking_benchmark_runs_saves_and_names_its_conditions(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["rank", "--users", "300", "--items", "700", "--repeats", "1", "--threads", "1", "--save"]
    threads = torch.get_num_threads()
    assert speed.main(words) == 0
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert printed.strip() == (tmp_path / "eval/results/speed-rank.md").read_text("utf-8").strip()
    saved = json.loads((tmp_path / "eval/results/speed-rank.json").read_text("utf-8"))
    assert saved["facts"]["peak_rss_anon_bytes"] > 10_000_000
    assert set(saved["seconds"]) == {"llmrec ranking", "bare products"}
    assert f"Load average before: {saved['load_average']:.2f}" in printed


@pytest.mark.slow
def test_the_benchmark_of_images_runs_and_leaves_nothing_behind(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    assert speed.main(["images", "--images", "3", "--batch", "2", "--catalogue", "5", "--repeats", "1"]) == 0
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert "| llmrec, from the store to PIL and NumPy, anew each epoch |" in printed
    assert "over 5 images (0.0 GB on disk)" in printed
    assert list((tmp_path / "runs" / "speed").iterdir()) == []


def test_a_missing_peer_is_named(tmp_path: Path, capsys):
    assert speed.main(["train", "--rectools-python", str(tmp_path / "python")]) == 2
    assert f"{tmp_path / 'python'} is missing; make peers" in capsys.readouterr().err


def test_likeness_of_equal_and_of_other_vectors():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(200, 16, generator=generator) + 5
    assert encode.likeness(vectors, vectors) == pytest.approx((1.0, 1.0))
    cosine, overlap = encode.likeness(vectors, torch.randn(200, 16, generator=generator) + 5)
    assert abs(cosine) < 0.1
    assert overlap == pytest.approx(10 / 199, abs=0.03)
