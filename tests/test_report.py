"""Tables and plots of run tables, and ``python -m eval.compare`` over run folders."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from math import log2
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import ROOT
from matplotlib import image
from tables import PROTOCOL, counted

from eval import compare
from llmrec import evaluation, plots, report, slices
from llmrec.errors import ProtocolError
from llmrec.protocol import Protocol
from llmrec.runs import RunTable, read_json, write_json

END = ["csv", "json", "md", "png"]
LONG = "ml-1m-sasrec-smollm2-135m-frozen-softmax"
OTHER_MASK = PROTOCOL.model_copy(update={"mask_history": False})


def model(seed: int = 0, rank: int = 4, users: int = 30, protocol: Protocol = PROTOCOL, **provenance) -> RunTable:
    """A model's run in which user i has rank ``rank + i % 10``."""
    rows = [(f"user-{number}", rank - 1 + number % 10, 0) for number in range(users)]
    facts = {"seed": seed, "model": "toy-lm", "trainable_parameters": 123_456, "seconds": {"encode": 1, "train": 41.4}}
    return counted(rows, protocol=protocol, **{**facts, **provenance})


def popularity(protocol: Protocol = PROTOCOL) -> RunTable:
    rows = [(f"user-{number}", 20, 0) for number in range(30)]
    return counted(rows, protocol=protocol, baseline={"name": "popularity"})


def save_run(path: Path, table: RunTable, prompt: str = "items/title", **baselines: RunTable) -> str:
    """A finished run folder."""
    table.save(path / "test")
    write_json(path / "config.json", {"features": {"prompt": prompt}})
    for name, baseline in baselines.items():
        baseline.save(path / "baselines" / name)
    write_json(path / "metrics.json", {})
    return str(path)


@pytest.fixture
def runs() -> report.Runs:
    return {"popularity": [popularity()], LONG: [model(0), model(1, rank=2)], "x[b]": [model(0, rank=15)]}


def pairs() -> list[tuple[str, str]]:
    return [(LONG, "popularity"), ("x[b]", LONG)]


def test_a_row_holds_metrics_intervals_chance_and_costs_averaged_over_seeds(runs: report.Runs):
    _, averaged, _ = report.rows(runs)
    assert (averaged.name, averaged.seeds, averaged.n) == (LONG, 2, 30)
    assert (averaged.trainable_parameters, averaged.seconds) == (123_456, pytest.approx(42.4))
    hits = [sum(rank + number % 10 <= 10 for number in range(30)) / 30 for rank in (4, 2)]
    assert averaged.metrics["HR@10"].value == pytest.approx(sum(hits) / 2)
    assert averaged.metrics["HR@10"].low < averaged.metrics["HR@10"].value < averaged.metrics["HR@10"].high
    assert averaged.chance["HR@10"] == pytest.approx(10 / 101)
    assert averaged.chance["nDCG@10"] == pytest.approx(sum(1 / log2(r + 1) for r in range(1, 11)) / 101)
    assert report.rows(runs)[0].seconds is None


@pytest.mark.parametrize("make", [report.rows, report.frame, lambda runs: report.show(runs, [])])
def test_sampled_and_full_rankings_never_stand_in_one_table(make):
    """B8: same checkpoint, uni100 vs full."""
    sampled = PROTOCOL.model_copy(update={"candidates": "100 uniform", "candidate_seed": 0})
    full_table, sampled_table = counted([("ann", 30, 0)], candidates=1000), counted([("ann", 3, 0)], protocol=sampled)
    hit = [evaluation.summary(table, ("HR@10",))["HR@10"]["value"] for table in (full_table, sampled_table)]
    assert hit == [0, 1]
    with pytest.raises(ProtocolError, match="candidates: 'catalogue' against '100 uniform'"):
        make({"full": [full_table], "uni100": [sampled_table]})
    with pytest.raises(ProtocolError, match="candidates"):
        make({"one": [full_table, sampled_table]})


def test_runs_that_differ_in_provenance_alone_stand_in_one_table():
    runs = {
        "a": [model(0, versions={"torch": "2.6"})],
        "b": [model(7, versions={"torch": "2.13"}, transform={"name": "pca"})],
    }
    assert [row.name for row in report.rows(runs)] == ["a", "b"]
    assert [each[0]["seed"] for each in report.as_json(runs, [])["provenance"].values()] == [0, 7]


def test_provenance_tells_what_differs_between_seeds():
    runs = {"a": [model(0, commit="abc", versions={"torch": "2.6"}), model(1, commit="def", versions={"torch": "2.6"})]}
    (line,) = report.provenance_lines(runs)
    assert "commit abc, def" in line and line.count("2.6") == 1


@pytest.mark.parametrize(("pieces", "named"), [((1, 1), True), ((3, 1), True), ((3, 2), False), ((None,), False)])
def test_a_run_whose_items_are_pieces_is_named_an_id_token_model(pieces: tuple[int | None, ...], named: bool):
    facts = [{} if number is None else {"pieces_per_id": number} for number in pieces]
    runs = {"p5": [model(seed, **fact) for seed, fact in enumerate(facts)], "other": [model(0)]}
    first, other = report.provenance_lines(runs)
    assert first.startswith("p5: an ID-token model: ") == named
    assert ("p5: an ID-token model" in report.show(runs, [], width=200)) == named
    assert ("- p5: an ID-token model" in report.markdown(runs, [])) == named
    assert "ID-token" not in other


def numbers(row: report.Row) -> str:
    """The figures of a row as they are to be read."""
    shown = [f"{v.value:.4f} [{v.low:.4f}, {v.high:.4f}]" for v in (row.metrics[name] for name in report.SHOWN)]
    return " ".join([*shown, str(row.n), f"{row.chance['nDCG@10']:.4f}"]).replace("0.", ".")


@pytest.mark.slow
@pytest.mark.parametrize("users", [30, 6040])
def test_the_text_fits_eighty_columns_and_nothing_is_cut(users: int):
    """B10: n stands in every row; B8: the protocol under every table."""
    facts = {"trainable_parameters": 123_456_789, "seconds": {"train": 98_765.4}}
    runs = {"id": [model(users=users)], LONG: [model(seed, users=users, rank=9, **facts) for seed in (0, 1)]}
    text = report.show(runs, [(LONG, "id")], width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    results, tests = text.split("paired test")
    lines = [" ".join(line.split()) for line in results.splitlines()]
    first, second = report.rows(runs)
    assert f"id {numbers(first)} 123k 42" in lines
    assert sum(line.endswith(f" {numbers(second)} 123.5M 98765") for line in lines) == 1
    names = "".join(re.sub(r" [.\d].*", "", line) for line in lines[2:])
    assert names.replace(" ", "") == f"id{LONG}(2seeds)"
    assert "worse" in tests and PROTOCOL.hash in tests


def test_names_with_brackets_are_printed_as_they_are(runs: report.Runs):
    text = report.show(runs, pairs(), width=120)
    assert any(line.startswith("x[b] ") for line in text.splitlines())
    assert f"x[b] - {LONG}" in text


def test_markdown_has_a_line_per_row_and_per_test_and_the_protocol(runs: report.Runs):
    lines = report.markdown(runs, pairs()).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|") == 9
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| popularity", f"| {LONG}", "| x[b]"]
    assert lines[3].split(" | ")[1] == "2"
    assert [line.split(" | ")[-1] for line in lines[8:12]] == ["beats |", "beats |", "worse |", "worse |"]
    assert f"Protocol: {PROTOCOL.line()}." in lines
    assert [line.split(";")[0] for line in lines if line.startswith("- ")] == [
        f"- {LONG}: seeds 0, 1",
        "- x[b]: seeds 0",
    ]


def test_csv_holds_every_metric_with_its_ends_and_chance(runs: report.Runs):
    table = pl.read_csv(report.frame(runs).write_csv().encode())
    assert table["model"].to_list() == ["popularity", LONG, "x[b]"]
    for row, line in zip(report.rows(runs), table.iter_rows(named=True)):
        for name in evaluation.METRICS:
            found = [line[name], line[f"{name}_low"], line[f"{name}_high"], line[f"{name}_chance"]]
            assert found == pytest.approx([*row.metrics[name], row.chance[name]])
    assert table["seconds"].to_list() == [None, pytest.approx(42.4), pytest.approx(42.4)]


def test_json_holds_rows_tests_protocol_and_provenance(runs: report.Runs):
    result = json.loads(json.dumps(report.as_json(runs, pairs())))
    assert [row["name"] for row in result["rows"]] == list(runs)
    assert set(result["rows"][0]["metrics"]["nDCG@10"]) == {"value", "low", "high"}
    assert [(test["first"], test["metric"], test["verdict"]) for test in result["paired_tests"]] == [
        (LONG, "HR@10", "beats"),
        (LONG, "nDCG@10", "beats"),
        ("x[b]", "HR@10", "worse"),
        ("x[b]", "nDCG@10", "worse"),
    ]
    assert Protocol(**result["protocol"]) == PROTOCOL
    assert [each["seed"] for each in result["provenance"][LONG]] == [0, 1]


def test_compare_averages_seeds_by_name_and_takes_baselines_once(tmp_path: Path):
    paths = [
        save_run(tmp_path / f"sasrec-id-s{seed}", model(seed, rank=2 + seed), popularity=popularity())
        for seed in (0, 1, 12)
    ]
    paths.append(save_run(tmp_path / "sasrec-text", model(0), popularity=popularity(), cosine=popularity()))
    runs = compare.load(map(Path, paths))
    assert {name: len(tables) for name, tables in runs.items()} == {
        "popularity": 1,
        "cosine toy-lm": 1,
        "sasrec-id": 3,
        "sasrec-text": 1,
    }
    assert compare.default_pairs(runs) == [
        ("sasrec-id", "popularity"),
        ("sasrec-text", "popularity"),
        ("sasrec-text", "sasrec-id"),
    ]
    averaged = report.rows(runs)[2]
    hits = [sum(rank + number % 10 <= 10 for number in range(30)) / 30 for rank in (2, 3, 14)]
    assert averaged.metrics["HR@10"].value == pytest.approx(sum(hits) / 3)


def test_a_baseline_that_reads_texts_is_a_row_for_each_prompt(tmp_path: Path):
    blind, looks = ({"chosen": {"weights": {"popularity": 1, "tfidf": weight, "cosine": weight}}} for weight in (0, 1))
    paths = [
        save_run(tmp_path / "id-s0", model(), "items/title", popularity=popularity(), tfidf=popularity()),
        save_run(tmp_path / "text-s0", model(), "items/all", tfidf=popularity(), cosine=popularity(),
                 mix=replace(popularity(), provenance=looks)),
        save_run(tmp_path / "other-s0", model(), "items/all", tfidf=popularity(),
                 mix=replace(popularity(), provenance=blind)),
    ]  # fmt: skip
    assert list(compare.load(map(Path, paths))) == [
        "popularity", "tfidf items/title", "cosine toy-lm items/all", "mix toy-lm items/all", "tfidf items/all", "mix",
        "id", "text", "other",
    ]  # fmt: skip


def test_compare_refuses_equal_seeds(tmp_path: Path, capsys: pytest.CaptureFixture):
    paths = [save_run(tmp_path / place / "sasrec-s0", model(0)) for place in ("a", "b")]
    assert compare.main(paths) == 2
    assert "two runs of sasrec have the same seed ([0, 0])" in capsys.readouterr().err


def test_compare_takes_no_other_model_for_a_seed(tmp_path: Path, capsys: pytest.CaptureFixture):
    paths = [save_run(tmp_path / f"m-s{seed}", model(seed=seed)) for seed in (0, 1)]
    for path, own in zip(paths, ({"seed": 0, "embedding_dim": 8}, {"seed": 1, "embedding_dim": 16}), strict=True):
        saved = read_json(Path(path) / "config.json")
        begun = {"training": {"init_from": f"runs/source-s{own['seed']}"}}
        write_json(Path(path) / "config.json", {**saved, **begun, **own})
    assert compare.main(paths) == 2
    told = capsys.readouterr().err
    assert "would be averaged as its seeds, but they differ (embedding_dim: 8 and 16); rename a folder" in told


def test_compare_refuses_other_protocols_names_the_field_and_writes_nothing(tmp_path: Path, capsys):
    """B7: runs that differ in mask_history."""
    masked = save_run(tmp_path / "masked", model())
    bare = save_run(tmp_path / "bare", model(protocol=OTHER_MASK))
    assert compare.main([masked, bare, "--output", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert "mask_history: True against False" in captured.err
    assert "test_history" not in captured.err
    assert captured.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "masked"]


def test_compare_refuses_a_baseline_of_another_protocol(tmp_path: Path, capsys):
    """B8: a baseline in the folder of a run is held to the run's protocol too."""
    assert compare.main([save_run(tmp_path / "run", model(), popularity=popularity(OTHER_MASK))]) == 2
    assert "mask_history" in capsys.readouterr().err


def test_compare_refuses_unfinished_runs_and_names_finished_ones(tmp_path: Path, capsys):
    done = save_run(tmp_path / "done", model())
    (tmp_path / "half").mkdir()
    write_json(tmp_path / "half" / "config.json", {})
    assert compare.main([done, str(tmp_path / "half")]) == 2
    assert f"half holds an unfinished run; finished runs beside it: {done}" in capsys.readouterr().err


@pytest.mark.slow
def test_compare_writes_markdown_csv_json_and_a_plot(tmp_path: Path, capsys):
    paths = [save_run(tmp_path / "id-s0", model(), popularity=popularity()), save_run(tmp_path / "v1.5-s0", model())]
    assert compare.main([*paths, "--output", str(tmp_path / "deep" / "v1.5"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [f"v1.5.{end}" for end in END]
    assert json.loads((tmp_path / "deep" / "v1.5.json").read_text()) == printed
    assert [row["name"] for row in printed["rows"]] == ["popularity", "id", "v1.5"]
    runs = compare.load(map(Path, paths))
    assert (tmp_path / "deep" / "v1.5.md").read_text() == report.markdown(runs, compare.default_pairs(runs))
    assert (tmp_path / "deep" / "v1.5.csv").read_text() == report.frame(runs).write_csv()
    plot = tmp_path / "deep" / "v1.5.png"
    assert plot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = image.imread(plot)[..., :3]
    assert pixels.shape[0] > 100 and pixels.shape[1] > 1000
    assert np.ptp(pixels) > 0.9  # something dark is drawn on white


@pytest.mark.slow
def test_groups_of_cases_stand_in_one_file_with_one_provenance(tmp_path: Path, runs: report.Runs):
    users = runs["popularity"][0].cases["user_id"].sort()[:20]
    part = {name: [slices.only(each, users, "twenty of them") for each in tables] for name, tables in runs.items()}
    compare.save_groups({"all": runs, "some": part}, pairs(), tmp_path / "cold", "the end\n")
    text = (tmp_path / "cold.md").read_text()
    assert text.index("**all**") < text.index("**some**") < text.index("seeds 0, 1") < text.index("the end")
    assert text.count("seeds 0, 1") == 1 and text.count("Protocol: ") == 2 and "; twenty of them;" in text
    saved = json.loads((tmp_path / "cold.json").read_text())["groups"]
    assert [{row["n"] for row in saved[group]["rows"]} for group in ("all", "some")] == [{30}, {20}]
    assert saved["all"]["protocol"]["cases"] != saved["some"]["protocol"]["cases"]
    assert pl.read_csv(tmp_path / "cold.csv")["group"].to_list() == ["all"] * 3 + ["some"] * 3
    assert image.imread(tmp_path / "cold.png").shape[1] > 1000


@pytest.mark.slow
def test_the_command_compares_in_a_process_of_its_own(tmp_path: Path):
    """B7: exit code 2 and the differing field for two runs differing in mask_history."""
    masked, bare = (
        save_run(tmp_path / name, model(protocol=protocol), popularity=popularity(protocol))
        for name, protocol in (("masked-s0", PROTOCOL), ("bare-s0", OTHER_MASK))
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}

    def command(*runs: str) -> subprocess.CompletedProcess:
        arguments = [sys.executable, "-m", "eval.compare", *runs]
        return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    refused, shown = command(masked, bare), command(masked)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: ") and "mask_history: True against False" in refused.stderr
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "masked - popularity" in shown.stdout and PROTOCOL.hash in shown.stdout


def test_one_group_alone_is_plotted_too(tmp_path: Path):
    plots.of_groups({"all": {"toy": [model()], "popularity": [popularity()]}}, tmp_path / "one.png")
    assert image.imread(tmp_path / "one.png").shape[0] > 100
