"""The scaling study: cells kept in the repository, what the report says of them, and the whole command on toy data."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny_models
from small_runs import QUICK
from tables import PROTOCOL, counted

from eval import encoders, scaling, scaling_plot, scaling_report
from eval.kept import Kept
from eval.scaling import System
from llmrec.errors import ProtocolError, RunError

ROWS = [("ann", 0, 0), ("ann", 12, 0), ("bob", 3, 1), ("cid", 100, 0)]


def test_a_kept_cell_comes_back_with_its_counts_and_its_options(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    table = counted(ROWS, seed=1)
    backwards = replace(table, cases=table.cases.reverse())
    kept.save("first", table, options={"a": 1}, seed=1, validation=0.5)
    kept.save("second", backwards, seed=2)
    cell, config = kept.load("first")
    assert cell.table.cases.equals(table.cases) and config == {"a": 1}
    assert (cell.seed, cell.validation, cell.table.provenance) == (1, 0.5, {"seed": 1})
    assert kept.load("second")[0].table.cases.equals(table.cases), "in the order of the cases"
    assert kept.names() == ["first", "second"]


def test_cells_that_end_at_the_same_time_may_bring_the_same_baselines(tmp_path: Path) -> None:
    table = counted([(f"u{number}", number % 7, 0) for number in range(500)])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: Kept(tmp_path / "data").save(name, table, seed=0), ["popularity"] * 40))
    assert Kept(tmp_path / "data").load("popularity")[0].table.cases.equals(table.cases)


def test_a_cell_of_another_protocol_is_refused(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.save("first", counted(ROWS), seed=0)
    other = counted(ROWS, protocol=PROTOCOL.model_copy(update={"mask_history": False}))
    with pytest.raises(ProtocolError, match="mask_history"):
        kept.save("second", other, seed=0)
    assert kept.names() == ["first"]


def test_rows_count_alike_where_users_do_not() -> None:
    """HR@10: ann .5 over two rows, bob 1, cid 0: .5 over users and over rows; nDCG of ann 1 and 0."""
    found = scaling_report.over_rows([counted(ROWS)], "HR@10")
    assert found.value == pytest.approx(2 / 4)
    gains = scaling_report.over_rows([counted(ROWS), counted([*ROWS[:3], ("cid", 0, 0)])], "nDCG@10")
    bob = (1 / np.log2(5) + 1 / np.log2(6)) / 2
    assert gains.value == pytest.approx((1 + bob + 0 + 1 + bob + 1) / 8)
    assert gains.low < gains.value < gains.high


def test_a_line_in_the_logarithm_foretells_the_largest() -> None:
    assert scaling_report.held_out({10: 0.1, 100: 0.2, 1000: 0.3, 10_000: 0.35}) == pytest.approx((0.4, 0.3, 0.35))


def test_parameters_are_those_that_a_text_passes() -> None:
    whole = scaling_plot.parameters(System("smollm2-135m"))
    half, none = (scaling_plot.parameters(System("smollm2-135m", blocks=number)) for number in (15, 30))
    assert whole == none == 134_515_008
    assert whole - half == 15 * 3_540_096


def test_every_system_has_a_name_of_its_own() -> None:
    systems = [each for stage in scaling.STAGES.values() for each in stage(scaling.MODELS)]
    assert len({each.name for each in systems}) == len(systems) == 8 + 5 + 2 + 6 + 8


def test_models_of_ones_own_are_tuned_and_cut_too() -> None:
    model = str(tiny_models.folder("llama"))
    assert {system.tuning for system in scaling.tuned([model])} == {"frozen", "top_blocks"}
    found = [(system.blocks, system.twin) for system in scaling.depth([model])]
    assert found == [(1, False), (1, True), (2, True)], "it has two blocks"
    assert scaling._twin(model) != Path(model), "a model is not its own control"
    assert scaling.depth(["owner/name-that-is-not-here"]) == [], "the report is made without the model"
    assert scaling.depth(["minilm-l6"]) == [] and len(scaling.tuned(["gemma-3-270m"])) == 0


def test_the_first_seed_of_all_comes_before_the_second() -> None:
    order = list(scaling._order({"frozen": scaling.frozen(["minilm-l6"])}, 2))
    assert [seed for _, seed in order] == [0] * 4 + [1] * 4


@pytest.mark.parametrize("name", scaling.SETS)
def test_every_choice_of_the_ablation_differs_from_the_default(name: str) -> None:
    axes = encoders.choices(name, 6)
    assert all([not options for options in values.values()].count(True) == 1 for values in axes.values())
    assert axes["depth"].keys() == {"6 blocks", "3 blocks", "4 blocks"}
    assert "depth" not in encoders.choices(name, 0)


@pytest.mark.slow
def test_the_study_trains_keeps_and_reports(toy_folder: Path, tmp_path: Path, monkeypatch, capsys, cells_here) -> None:
    """Cut off after the first seed, it goes on with the second; other options are refused."""
    monkeypatch.setattr(scaling, "RESULTS", tmp_path / "results" / "scaling")
    monkeypatch.setattr("eval.cells.STUDY", tmp_path / "study")
    model = str(tiny_models.folder("llama"))
    few = [scaling.System("id", "dssm_id"), scaling.System(model)]
    monkeypatch.setitem(scaling.STAGES, "frozen", lambda models: few)
    quick = [*QUICK, "training.epochs=2"]
    words = ["toy", "--data-dir", str(toy_folder), "--models", model, "--stages", "frozen", *quick]
    assert scaling.main([*words, "--seeds", "1"]) == 0
    first = capsys.readouterr()
    assert "sasrec-llama" in first.out and "dssm_id-id" in first.out and "(iv)" in first.out
    assert first.err.count("its log") == 2
    assert scaling.main([*words, "--seeds", "2", "--report"]) == 0
    said = capsys.readouterr().out
    assert "Missing: 18 cells: dssm_id-id seed 1; sasrec-llama seed 1; " in said
    assert "sasrec-id-softmax seeds 0, 1; dssm-llama seeds 0, 1; sasrec-llama-1-blocks seeds 0, 1; " in said, (
        "of every stage"
    )
    assert scaling.main([*words, "--seeds", "2"]) == 0
    assert capsys.readouterr().err.count("its log") == 2, "the first seed is not trained again"
    assert (tmp_path / "results" / "scaling-toy.png").stat().st_size > 10_000
    counts = pl.read_parquet(tmp_path / "results" / "scaling" / "toy" / "cases.parquet")["target_count"]
    assert counts.null_count() == 0
    assert scaling.main([*words, "training.learning_rate=0.5"]) == 2
    assert "was trained with other options (training" in capsys.readouterr().err


def test_a_study_without_a_cell_says_so(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(scaling, "RESULTS", tmp_path / "scaling")
    assert scaling.main(["ml-100k", "--report"]) == 0
    assert "No cell of ml-100k is finished" in capsys.readouterr().out


def test_options_that_no_cell_has_are_refused_before_anything_is_trained(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(scaling, "RESULTS", tmp_path / "scaling")
    assert scaling.main(["ml-100k", "--stages", "frozen", "training.epoch=3"]) == 2
    assert "no option 'training.epoch'" in capsys.readouterr().err


def test_a_cell_with_lost_rows_is_refused(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.save("first", counted(ROWS), seed=0)
    pl.read_parquet(tmp_path / "first.parquet")[:2].write_parquet(tmp_path / "first.parquet")
    with pytest.raises(RunError, match="has 2 rows for 4 cases"):
        kept.load("first")
