"""A run that was cut off and goes on ends where an uninterrupted one ends, to the bit."""

import json
from pathlib import Path

import forked
import pytest
from conftest import toy_tables, write_recbole
from safetensors.torch import load_file, save_file
from small_runs import Job, arguments, digests, kill_when, last_step, metrics, numbers, rows, same

from llmrec import train, training
from llmrec.errors import RunError
from llmrec.evaluation import METRICS
from llmrec.runs import read_json, write_json

SCORES = [0.1, 0.4, 0.2, 0.3]
EPOCHS = "training.epochs=4"
STEPS_PER_EPOCH = 6  # 96 windows of 16 a step


class Crash(Exception):
    """Ends a training from inside, as a signal would from outside."""


def crash_after(job: Job, event: str, number: int, scores: list[float] = SCORES) -> None:
    """Trains until the row of that step or epoch is written."""

    def report(row: dict) -> None:
        job.rows.append(row)
        if row["event"] == event and row[event] == number:
            raise Crash

    with pytest.raises(Crash):
        job.fit(scores, report=report)


def timeless(found: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found]


def outcome(position: training.Progress) -> tuple:
    return position.step, position.epoch, position.best_epoch, position.best, position.misses


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, training.Progress]:
    """Four epochs without a break."""
    job = Job(tmp_path_factory.mktemp("whole"), EPOCHS)
    position = job.fit(SCORES)
    assert position.step == 4 * STEPS_PER_EPOCH
    return job, position


@pytest.mark.slow
@pytest.mark.parametrize(
    ("every", "event", "number", "saved"),
    [
        (5, "step", 3, 0),  # before there is any checkpoint
        (5, "step", 5, 0),  # a checkpoint is due, but the row comes before it
        (5, "step", 6, 5),  # the last step of an epoch
        (5, "step", 13, 10),
        (5, "step", 20, 15),
        (6, "step", 13, 12),  # the checkpoint stands at the end of an epoch, before its validation
        (6, "epoch", 0, 6),
        (4, "epoch", 3, 24),  # after the last epoch
        (1, "step", 9, 8),
    ],
)
def test_training_goes_on_to_the_same_weights_wherever_it_was_cut_off(
    tmp_path: Path, whole: tuple[Job, training.Progress], every: int, event: str, number: int, saved: int
) -> None:
    uninterrupted, position = whole
    first = Job(tmp_path, EPOCHS, f"training.checkpoint_steps={every}")
    crash_after(first, event, number)
    reached = first.logged("step")[-1]["step"]
    assert first.folder.checkpoint.is_file() == (saved > 0)
    second = Job(tmp_path, EPOCHS, f"training.checkpoint_steps={every}")
    done = max(saved - 1, 0) // STEPS_PER_EPOCH  # epochs that were validated before the checkpoint
    again = second.fit(SCORES[done:])

    assert same(training.copy_of(second.model), training.copy_of(uninterrupted.model))
    assert outcome(again) == outcome(position) == (24, 4, 1, {"HR@10": 0.0, "nDCG@10": 0.4}, 2)
    steps = uninterrupted.logged("step")
    assert first.logged("step") == steps[:reached]
    assert second.logged("step") == steps[saved:]
    assert timeless(second.logged("epoch")) == timeless(uninterrupted.logged("epoch"))[done:]
    resumed = [(row["step"], row["steps_repeated"]) for row in second.logged("resume")]
    assert resumed == [(saved, reached - saved)]
    assert reached - saved <= every


@pytest.mark.slow
def test_four_epochs_are_two_and_two(tmp_path: Path, whole: tuple[Job, training.Progress]) -> None:
    """F1: killed after epoch 2 of 4 and resumed, training equals four epochs at once."""
    uninterrupted, position = whole
    crash_after(Job(tmp_path, EPOCHS, "training.checkpoint_steps=6"), "epoch", 1)
    second = Job(tmp_path, EPOCHS, "training.checkpoint_steps=6")
    assert outcome(second.fit(SCORES[1:])) == outcome(position)
    assert second.logged("resume") == [{"event": "resume", "step": 12, "steps_repeated": 0}]
    assert same(training.copy_of(second.model), training.copy_of(uninterrupted.model))
    assert second.logged("step") == uninterrupted.logged("step")[12:]
    # The best weights are those of epoch 2, which the first half trained: they came back from the checkpoint.
    assert position.best_epoch + 1 == 2


@pytest.mark.slow
def test_patience_counts_on_from_before_the_break(tmp_path: Path) -> None:
    options = ("training.epochs=50", "training.patience=3", "training.checkpoint_steps=1")
    scores = [0.5, 0.4, 0.3, 0.2, 0.9]
    crash_after(Job(tmp_path, *options), "step", 2 * STEPS_PER_EPOCH + 2, scores)
    second = Job(tmp_path, *options)
    position = second.fit(scores[2:])
    assert (position.epoch, position.best_epoch, position.misses) == (1 + 3, 0, 3)


@pytest.mark.slow
def test_a_training_cut_off_twice_counts_the_steps_lost_each_time(
    tmp_path: Path, whole: tuple[Job, training.Progress]
) -> None:
    options = (EPOCHS, "training.checkpoint_steps=5")
    crash_after(Job(tmp_path, *options), "step", 9)
    crash_after(Job(tmp_path, *options), "step", 7)
    third = Job(tmp_path, *options)
    third.fit(SCORES)
    assert third.logged("resume") == [{"event": "resume", "step": 5, "steps_repeated": 7 - 5}]
    assert same(training.copy_of(third.model), training.copy_of(whole[0].model))


@pytest.mark.slow
@pytest.mark.parametrize(
    "half", ['{"event": "step", "step": 9, "lo', '{"event": "epo', "{", '{"event": "step", "step": 9']
)
def test_a_last_row_that_was_half_written_is_closed_and_passed_over(
    tmp_path: Path, whole: tuple[Job, training.Progress], half: str
) -> None:
    options = (EPOCHS, "training.checkpoint_steps=5")
    crash_after(Job(tmp_path, *options), "step", 8)
    path = tmp_path / "metrics.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write(half)
    second = Job(tmp_path, *options)
    second.fit(SCORES)
    assert second.logged("resume") == [{"event": "resume", "step": 5, "steps_repeated": 8 - 5}]
    assert same(training.copy_of(second.model), training.copy_of(whole[0].model))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines.count(half) == 1
    assert [json.loads(line) for line in lines[lines.index(half) + 1 :]] == second.rows


def test_a_damaged_checkpoint_is_refused_with_the_way_out(tmp_path: Path) -> None:
    options = (EPOCHS, "training.checkpoint_steps=5")
    first = Job(tmp_path, *options)
    crash_after(first, "step", 8)
    whole_file = first.folder.checkpoint.read_bytes()
    first.folder.checkpoint.write_bytes(whole_file[: len(whole_file) // 2])
    with pytest.raises(RunError, match=r"checkpoint\.safetensors is damaged .* --overwrite begins again"):
        Job(tmp_path, *options).fit(SCORES)


def test_a_checkpoint_that_lost_its_head_is_refused_too(tmp_path: Path) -> None:
    options = (EPOCHS, "training.checkpoint_steps=5")
    first = Job(tmp_path, *options)
    crash_after(first, "step", 8)
    save_file(load_file(first.folder.checkpoint), first.folder.checkpoint)
    with pytest.raises(RunError, match=r"checkpoint\.safetensors is damaged .* --overwrite begins again"):
        Job(tmp_path, *options).fit(SCORES)


def test_training_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    """What was trained on before the break could be held out after it."""
    options = (EPOCHS, "training.checkpoint_steps=5")
    first = Job(tmp_path, *options)
    first.folder.basis.update({"processes": 1})
    crash_after(first, "step", 8)
    second = Job(tmp_path, *options)
    second.folder.basis.update({"data": "feedfeed", "processes": 2, "of a later version": "anything"})
    with pytest.raises(RunError, match=r"another basis \(data: \w{16} then, feedfeed now; processes: 1 then, 2 now\);"):
        second.fit(SCORES)
    second.folder.basis.update({"data": first.folder.basis["data"], "processes": 1})
    second.fit(SCORES)


# From here on whole runs, cut off by SIGKILL.

MANY = ["training.batch_size=2", "training.warmup_steps=10", "training.checkpoint_steps=5", EPOCHS]


def begin(data: Path, folder: Path, *more: str) -> forked.Training:
    return forked.Training(arguments(data, folder, *MANY, *more))


def finish(data: Path, folder: Path, *more: str) -> str:
    done = forked.train(arguments(data, folder, *MANY, "--resume", *more))
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def reference(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of many small steps without a break, in this process."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    assert train.main(arguments(toy_folder, folder, *MANY)) == 0
    assert rows(folder, "epoch")[-1]["step"] > 150
    return folder


def assert_same_run(folder: Path, reference: Path) -> None:
    assert digests(folder) == digests(reference)
    assert numbers(folder) == numbers(reference)
    assert not (folder / "checkpoint.safetensors").exists()
    assert {row["step"]: row["loss"] for row in rows(folder, "step")} == {
        row["step"]: row["loss"] for row in rows(reference, "step")
    }


@pytest.mark.slow
@pytest.mark.parametrize(("event", "number"), [("step", 47), ("epoch", 2)])
def test_a_run_killed_in_an_epoch_or_after_two_of_four_ends_bit_for_bit_like_one_that_was_not(
    toy_folder: Path, tmp_path: Path, reference: Path, event: str, number: int
) -> None:
    """F1: a run of 4 epochs killed after epoch 2 (and one killed in the first) equals one that was never killed."""
    folder = tmp_path / "run"
    reached = kill_when(begin(toy_folder, folder), folder, lambda: len(rows(folder, event)) >= number)
    had_checkpoint = (folder / "checkpoint.safetensors").exists()
    said = finish(toy_folder, folder)
    resumed = rows(folder, "resume")
    assert len(resumed) == had_checkpoint
    assert ("resumed after step" in said) == had_checkpoint
    for row in resumed:
        assert row["step"] % 5 == 0
        assert row["step"] + row["steps_repeated"] == reached
        assert 0 <= row["steps_repeated"] <= 5
    assert_same_run(folder, reference)


@pytest.mark.slow
def test_a_run_killed_in_its_first_steps_and_then_twice_more_ends_like_one_that_was_not(
    toy_folder: Path, tmp_path: Path, reference: Path
) -> None:
    folder = tmp_path / "run"
    process = begin(toy_folder, folder)
    kill_when(process, folder, lambda: last_step(folder) >= 1)
    kill_when(begin(toy_folder, folder, "--resume"), folder, lambda: last_step(folder) >= 60)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "step", "st')
    kill_when(begin(toy_folder, folder, "--resume"), folder, lambda: last_step(folder) >= 120)
    finish(toy_folder, folder)
    assert len(rows(folder, "resume")) >= 2
    assert all(0 <= row["steps_repeated"] <= 5 for row in rows(folder, "resume"))
    assert_same_run(folder, reference)


@pytest.mark.slow
def test_a_run_killed_before_its_first_step_begins_anew_with_resume(
    toy_folder: Path, tmp_path: Path, reference: Path
) -> None:
    folder = tmp_path / "run"
    reached = kill_when(begin(toy_folder, folder), folder, (folder / "config.json").exists)
    assert reached == 0
    finish(toy_folder, folder)
    assert rows(folder, "resume") == []
    assert_same_run(folder, reference)


@pytest.mark.slow
def test_the_reference_run_chose_an_epoch_that_was_not_its_last(reference: Path) -> None:
    """Else the runs above would not show that the best weights come back, too."""
    validation = [row["validation"]["nDCG@10"] for row in rows(reference, "epoch")]
    best = max(range(len(validation)), key=validation.__getitem__)
    assert metrics(reference)["provenance"]["best_epoch"] == best + 1 < len(validation)
    for name in METRICS:
        saved = metrics(reference)["validation"][name]["value"]
        assert saved == pytest.approx(rows(reference, "epoch")[best]["validation"][name], abs=1e-12)


@pytest.mark.slow
def test_resume_goes_on_only_with_the_options_it_was_begun_with(
    toy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert train.main(arguments(toy_folder, folder, "training.epochs=1")) == 0
    (folder / "metrics.json").unlink()  # as if it had been cut off just before the end
    assert train.main(arguments(toy_folder, folder, "training.epochs=1")) == 2
    assert "--resume goes on, --overwrite begins again" in capsys.readouterr().err
    assert train.main(arguments(toy_folder, folder, "training.epochs=2", "--resume")) == 2
    assert "begun with other options (training:" in capsys.readouterr().err
    options = read_json(folder / "config.json")
    options["training"].pop("learns")  # as an older version saved it
    write_json(folder / "config.json", options)
    assert train.main(arguments(toy_folder, folder, "training.epochs=1", "--resume")) == 0
    assert metrics(folder)["provenance"]["epochs"] == 1


@pytest.mark.slow
def test_two_runs_give_the_same_files_and_another_seed_gives_others(
    toy_folder: Path, tmp_path: Path, reference: Path
) -> None:
    """F10: two runs with one seed, compared by the sha256 of rankings and weights."""
    finish(toy_folder, tmp_path / "again")
    finish(toy_folder, tmp_path / "other", "--seed", "1")
    assert digests(tmp_path / "again") == digests(reference)
    assert numbers(tmp_path / "again") == numbers(reference)
    other, first = digests(tmp_path / "other"), digests(reference)
    assert all(other[name] != first[name] for name in first)


@pytest.mark.slow
def test_overwrite_begins_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_recbole(tmp_path / "data" / "toy", "toy", *toy_tables())
    folder = tmp_path / "run"
    assert train.main(arguments(data, folder, "training.epochs=1")) == 0
    before = digests(folder)
    assert train.main(arguments(data, folder, "training.epochs=1")) == 2
    assert "holds a finished run; --overwrite does it again" in capsys.readouterr().err
    assert train.main(arguments(data, folder, "training.epochs=1", "--resume")) == 2
    assert digests(folder) == before
    assert train.main(arguments(data, folder, "training.epochs=1", "--overwrite", "--seed", "1")) == 0
    assert digests(folder) != before
    assert metrics(folder)["provenance"]["seed"] == 1
    assert len(rows(folder, "epoch")) == 1  # nothing of the first run's log is left


@pytest.mark.slow
def test_seconds_before_a_checkpoint_count_where_training_goes_on(tmp_path: Path, monkeypatch) -> None:
    """A step that is done takes one second; those behind the last checkpoint, done twice, count once."""
    done = [0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(done[0]))
    take = training.take_step

    def step(*given: object) -> float:
        done[0] += 1
        return take(*given)

    monkeypatch.setattr(training, "take_step", step)
    crash_after(Job(tmp_path, EPOCHS, "training.checkpoint_steps=4"), "step", 10)
    done[0] += 1000  # until somebody begins it again
    assert Job(tmp_path, EPOCHS, "training.checkpoint_steps=4").fit(SCORES[1:]).seconds == 4 * STEPS_PER_EPOCH
