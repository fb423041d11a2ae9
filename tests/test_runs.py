"""Run tables and run folders on disk."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tables import PROTOCOL, counted

from llmrec import train
from llmrec.errors import RunError, exit_code
from llmrec.runs import (
    CASES,
    PREDICTIONS,
    RANKINGS,
    Ready,
    RunFolder,
    RunTable,
    provenance,
    read_json,
    write_atomically,
    write_json,
    write_text,
)

CONFIG = {"data": "ml-100k", "seed": 0, "head": {"name": "sasrec"}, "training": {"epochs": 3}}


@pytest.fixture
def table() -> RunTable:
    """Every column and table filled, ids that look like numbers, a null count and a score that needs 64 bits."""
    cases = [
        ("next_item/0/007", "007", "next_item", 0, "0001388703", 3, 1, 1681, 12, 0),
        ("next_item/0/Ä|\t", "Ä|\t", "next_item", 0, "b", None, None, 1680, None, None),
    ]
    rankings = [("next_item/0/007", "007", "0001388703", 0.1 + 0.2, 1), ("next_item/0/007", "007", "b", None, 2)]
    predictions = [("next_item/0/007", "5", "four stars", 4.0)]
    return RunTable(
        pl.DataFrame(cases, schema=CASES, orient="row"),
        pl.DataFrame(rankings, schema=RANKINGS, orient="row"),
        PROTOCOL,
        {"seed": 3, "seconds": {"train": 1.5}, "input_changes": ["2 titles cut"], "baseline": None},
        pl.DataFrame(predictions, schema=PREDICTIONS, orient="row"),
    )


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".lock")


def test_a_run_table_comes_back_as_it_was_saved(table: RunTable, tmp_path: Path):
    """F17: original ids back, not internal ints; and every value and type with them."""
    table.save(tmp_path / "run" / "test")
    again = RunTable.load(tmp_path / "run" / "test")
    for saved, loaded in ((table.cases, again.cases), (table.rankings, again.rankings)):
        assert_frame_equal(saved, loaded, check_exact=True)
        assert saved.schema == loaded.schema
    assert_frame_equal(table.predictions, again.predictions, check_exact=True)
    assert again.protocol == table.protocol
    assert again.provenance == table.provenance
    assert again.cases["target"][0] == "0001388703"
    assert files(tmp_path / "run" / "test") == [
        "cases.parquet",
        "predictions.parquet",
        "protocol.json",
        "provenance.json",
        "rankings.parquet",
    ]


def test_a_table_without_predictions_comes_back_without(tmp_path: Path):
    counted([("ann", 0, 0)]).save(tmp_path)
    assert RunTable.load(tmp_path).predictions is None


def test_narrower_numbers_and_further_columns_are_brought_to_the_schema(table: RunTable, tmp_path: Path):
    narrow = table.cases.with_columns(pl.col("target_above").cast(pl.Int16), extra=pl.lit("x"))
    RunTable(narrow.select(reversed(narrow.columns)), table.rankings, PROTOCOL, {}).save(tmp_path)
    assert_frame_equal(RunTable.load(tmp_path).cases, table.cases, check_exact=True)


@pytest.mark.parametrize("name", ["cases", "rankings", "predictions"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_a_damaged_table_is_named(table: RunTable, tmp_path: Path, name: str, damage: str):
    table.save(tmp_path)
    path = tmp_path / f"{name}.parquet"
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"case_id,user_id\n" * 20}[damage])
    with pytest.raises(RunError, match=f"{name}.parquet is missing or damaged"):
        RunTable.load(tmp_path)


@pytest.mark.parametrize("name", ["cases.parquet", "rankings.parquet", "protocol.json", "provenance.json"])
def test_a_missing_file_is_named(table: RunTable, tmp_path: Path, name: str):
    table.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match=f"{name} is missing"):
        RunTable.load(tmp_path)


@pytest.mark.parametrize("column", ["target_tied", "user_id"])
def test_a_missing_column_is_named_on_reading_and_on_writing(table: RunTable, tmp_path: Path, column: str):
    lacking = RunTable(table.cases.drop(column), table.rankings, PROTOCOL, {})
    with pytest.raises(RunError, match=rf"cases.parquet lacks the columns \['{column}'\]; it has \['case_id'"):
        lacking.save(tmp_path / "new")
    assert files(tmp_path / "new") == []
    table.save(tmp_path)
    lacking.cases.write_parquet(tmp_path / "cases.parquet")
    with pytest.raises(RunError, match=rf"cases.parquet lacks the columns \['{column}'\]"):
        RunTable.load(tmp_path)


def test_a_column_of_the_wrong_type_is_named(table: RunTable, tmp_path: Path):
    table.save(tmp_path)
    table.cases.with_columns(target_above=pl.lit("third")).write_parquet(tmp_path / "cases.parquet")
    with pytest.raises(RunError, match=r"cases.parquet holds values of the wrong type.*'target_above'"):
        RunTable.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": "toy"', "protocol.json is damaged"),
        ("\N{NO-BREAK SPACE}", "protocol.json is damaged"),
        ("[1]", "protocol.json is damaged: it must hold an object, holds a list"),
        (json.dumps({**PROTOCOL.model_dump(), "mask_history": "perhaps"}), "holds no protocol: mask_history"),
        (json.dumps({**PROTOCOL.model_dump(), "tied": "best"}), "holds no protocol: tied"),
    ],
)
def test_a_protocol_that_is_none_is_named(table: RunTable, tmp_path: Path, text: str, message: str):
    table.save(tmp_path)
    (tmp_path / "protocol.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=message):
        RunTable.load(tmp_path)


def test_a_writer_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path):
    path = tmp_path / "metrics.json"
    write_text(path, "old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert files(tmp_path) == ["metrics.json"]


def test_a_write_is_never_seen_half_done(tmp_path: Path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})

    def look(part: Path) -> None:
        part.write_text('{"a": 2}')
        assert part.parent == path.parent
        assert read_json(path) == {"a": 1}

    write_atomically(path, look)
    assert read_json(path) == {"a": 2}
    assert path.stat().st_mode & 0o777 == 0o644
    assert files(tmp_path) == ["metrics.json"]


def test_a_folder_in_the_place_of_a_file_is_no_run(tmp_path: Path):
    (tmp_path / "run" / "config.json").mkdir(parents=True)
    with pytest.raises(RunError, match="is not empty and holds no run"):
        RunFolder(tmp_path / "run").open(Ready(CONFIG, resume=True, overwrite=True))


def test_a_new_run_writes_its_configuration(tmp_path: Path):
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.open(Ready(CONFIG))
    assert read_json(folder.path / "config.json") == CONFIG
    assert not folder.finished
    assert files(folder.path) == ["config.json"]


HOLDER = """
import json, sys, time
from pathlib import Path
from llmrec.runs import Ready, RunFolder
RunFolder(Path(sys.argv[1])).open(Ready(json.loads(sys.argv[2]), resume=True))
print("in", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_two_processes_never_train_in_one_folder(tmp_path: Path):
    """Not even where the one before is still alive behind a wrapper that was killed; its end frees the folder."""
    folder = begun(tmp_path / "run")
    folder.open(Ready(CONFIG, resume=True))  # again in this process, as tests and notebooks do
    folder.release()
    command = [sys.executable, "-c", HOLDER, str(folder.path), json.dumps(CONFIG)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        for modes in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(RunError, match=rf"process {other.pid} trains in .*run; wait for its end"):
                folder.check(Ready(CONFIG, **modes))
        assert folder.checkpoint.is_file(), "nothing was deleted"
        other.kill()
    folder.open(Ready(CONFIG, overwrite=True))
    assert not folder.checkpoint.is_file()


def test_ctrl_c_ends_a_command_in_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    def stopped(*args: object, **kwargs: object) -> int:
        raise KeyboardInterrupt

    assert exit_code(stopped)() == 130 and capsys.readouterr().err == "interrupted\n"
    monkeypatch.setattr(train, "run", stopped)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert train.main(["--output", str(tmp_path)]) == 130
    assert capsys.readouterr().err == f"interrupted; --resume goes on in {tmp_path}\n"


@pytest.mark.parametrize("modes", [{"resume": True, "overwrite": False}, {"resume": False, "overwrite": True}])
def test_where_nothing_is_there_resume_and_overwrite_begin(tmp_path: Path, modes: dict):
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").open(Ready(CONFIG, **modes))
    assert files(tmp_path / "run") == ["config.json"]


def begun(path: Path, finished: bool = False) -> RunFolder:
    folder = RunFolder(path)
    folder.open(Ready(CONFIG))
    write_text(folder.checkpoint, "weights")
    if finished:
        write_json(path / "metrics.json", {})
    return folder


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_run_is_refused_without_overwrite(tmp_path: Path, resume: bool):
    folder = begun(tmp_path / "run", finished=True)
    with pytest.raises(RunError, match="holds a finished run; --overwrite does it again"):
        folder.open(Ready(CONFIG, resume=resume))
    assert files(folder.path) == ["checkpoint.safetensors", "config.json", "metrics.json"]


def test_an_unfinished_run_is_refused_without_resume_and_kept_with_it(tmp_path: Path):
    folder = begun(tmp_path / "run")
    with pytest.raises(RunError, match="holds an unfinished run; --resume goes on, --overwrite begins again"):
        folder.open(Ready(CONFIG))
    folder.open(Ready(CONFIG, resume=True))
    assert folder.checkpoint.read_text() == "weights"


def test_a_run_that_failed_before_its_first_step_may_simply_be_started_again(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    folder.open(Ready(CONFIG))
    folder.open(Ready({**CONFIG, "seed": 9}))
    assert read_json(folder.path / "config.json")["seed"] == 9
    (folder.path / "metrics.jsonl").write_text('{"event": "step", "step": 1, "loss": 7.4}\n')
    with pytest.raises(RunError, match="holds an unfinished run"):
        folder.open(Ready(CONFIG))


def test_a_place_that_takes_no_folder_is_refused_before_anything_is_made(tmp_path: Path):
    (tmp_path / "file").write_text("years of work")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match=r"nothing can be written to .*file; --output names another folder"):
            RunFolder(path).check(Ready(CONFIG, overwrite=True))


@pytest.mark.parametrize("finished", [False, True])
def test_overwrite_begins_again_with_nothing_left_and_any_options(tmp_path: Path, finished: bool):
    folder = begun(tmp_path / "run", finished)
    folder.open(Ready({**CONFIG, "seed": 9}, overwrite=True))
    assert files(folder.path) == ["config.json"]
    assert read_json(folder.path / "config.json")["seed"] == 9


def test_a_run_folder_may_be_a_link_and_stays_one(tmp_path: Path):
    link = tmp_path / "run"
    link.symlink_to(tmp_path / "large-disk")
    begun(link, finished=True)
    RunFolder(link).open(Ready(CONFIG, overwrite=True))
    assert link.is_symlink()
    assert files(tmp_path / "large-disk") == ["config.json"]


def test_what_an_interrupted_overwrite_leaves_is_an_unfinished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = begun(tmp_path / "run", finished=True)
    (folder.path / "baselines").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            folder.open(Ready(CONFIG, overwrite=True))
    assert not folder.finished
    folder.open(Ready(CONFIG, overwrite=True))
    assert files(folder.path) == ["config.json"]


def test_other_options_on_resume_are_refused_with_both_values(tmp_path: Path):
    folder = begun(tmp_path / "run")
    other = {"data": "ml-100k", "seed": 0, "training": {"epochs": 4}, "windows": "all"}
    with pytest.raises(RunError) as caught:
        folder.open(Ready(other, resume=True))
    assert "training: {'epochs': 3} saved, {'epochs': 4} asked for" in str(caught.value)
    assert "windows: None saved, 'all' asked for" in str(caught.value)
    assert "head: {'name': 'sasrec'} saved, None asked for" in str(caught.value)
    assert "seed" not in str(caught.value)
    assert read_json(folder.path / "config.json") == CONFIG


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        {"thesis.txt": "years of work"},
        {"metrics.json": "{}"},
        {"config.json": '{"model_type": "opt", "hidden_size": 768}', "model.safetensors": "weights"},
        {"config.json": "[]"},
    ],
)
def test_a_folder_that_holds_something_else_is_refused_and_never_touched(
    tmp_path: Path, content: dict[str, str], resume: bool, overwrite: bool
):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match="is not empty and holds no run; --output names another folder"):
        RunFolder(tmp_path).open(Ready(CONFIG, resume=resume, overwrite=overwrite))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == content


def test_what_is_no_finished_run_is_refused_with_the_finished_ones_beside_it(tmp_path: Path):
    begun(tmp_path / "done", finished=True).require_finished()
    with pytest.raises(RunError, match=f"half holds an unfinished run; finished runs beside it: {tmp_path / 'done'}$"):
        begun(tmp_path / "half").require_finished()
    with pytest.raises(RunError, match="nothing holds no run"):
        RunFolder(tmp_path / "nothing").require_finished()
    for number in range(9):
        begun(tmp_path / f"more{number}", finished=True)
    with pytest.raises(RunError, match=r"more6 and 2 more$"):
        RunFolder(tmp_path / "nothing").require_finished()


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"zeroshot": {"task": "hr@1"}}, "a study of eval.zeroshot, a table of many rankers without a model"),
        ({"transfer": {"tasks": "tasks"}}, "a run of tasks, or the network that one begins with"),
    ],
)
def test_finished_folders_of_other_commands_are_named_and_not_offered(tmp_path: Path, own: dict, said: str):
    other = begun(tmp_path / "other", finished=True)
    write_json(other.path / "config.json", {**CONFIG, **own})
    with pytest.raises(RunError, match=f"other holds {said}.*; finished runs beside it: none$"):
        other.require_finished()
    begun(tmp_path / "done", finished=True)
    with pytest.raises(RunError, match=f"half holds an unfinished run; finished runs beside it: {tmp_path / 'done'}$"):
        begun(tmp_path / "half").require_finished()


def test_provenance_holds_the_facts_the_versions_and_the_time():
    facts = provenance(seed=4, input_changes=["1 text cut"])
    assert (facts["seed"], facts["input_changes"]) == (4, ["1 text cut"])
    assert set(facts["versions"]) >= {"llmrec", "torch", "numpy", "polars"}
    assert facts["finished"][:2] == "20" and facts["finished"].endswith("+00:00")
    assert provenance()["input_changes"] == []


def test_the_temporary_name_is_each_thread_s_own(tmp_path: Path):
    seen = []
    write_atomically(tmp_path / "a.json", lambda part: (seen.append(part.name), part.write_text("1")))
    assert seen == [f".a.json.{os.getpid()}-{threading.get_ident()}.part"]
