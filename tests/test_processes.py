"""Several processes do the work of one: every target and every case once, and an error ends them all."""

import json
import socket
import time
from pathlib import Path
from subprocess import CompletedProcess

import forked
import polars as pl
import psutil
import pytest
import tiny_models
import torch
from conftest import toy_tables, write_recbole
from safetensors.torch import load_file
from small_runs import (
    TIMEOUT,
    arguments,
    digests,
    execute,
    kill,
    kill_when,
    last_step,
    metrics,
    numbers,
    rows,
    start,
)

from llmrec import train
from llmrec.processes import Processes

QUIET = ["head.dropout=0", "training.epochs=2"]
STILL = ["head.dropout=0", "training.epochs=1", "training.learning_rate=1e-12"]


def torchrun(number: int, *more: str) -> tuple[str, ...]:
    return ("torchrun", "--standalone", "--nproc_per_node", str(number), "llmrec/train.py", *more)


def together(number: int, data: Path, folder: Path, *more: str) -> str:
    """Trains with so many processes; returns what they said."""
    done = forked.train(arguments(data, folder, *more), number)
    assert done.returncode == 0, done.stderr
    return done.stderr


def tables(folder: Path) -> dict[str, pl.DataFrame]:
    return {
        f"{part}/{name}": pl.read_parquet(folder / part / f"{name}.parquet")
        for part in ("validation", "test")
        for name in ("cases", "rankings")
    }


def assert_equal_tables(several: Path, one: Path) -> None:
    """Row for row, in the order of a single process; only scores may differ by rounding."""
    first, second = tables(several), tables(one)
    for name in first:
        exact = [column for column in first[name].columns if column != "score"]
        assert first[name].select(exact).equals(second[name].select(exact)), name
        if "score" in first[name].columns:
            assert (first[name]["score"] - second[name]["score"]).abs().max() < 1e-5


@pytest.fixture(scope="module")
def single(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy run in one process."""
    folder = tmp_path_factory.mktemp("single") / "run"
    assert train.main(arguments(toy_folder, folder, *QUIET)) == 0
    return folder


@pytest.fixture(scope="module")
def double(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same run in two processes, and what they said."""
    folder = tmp_path_factory.mktemp("double") / "run"
    return folder, together(2, toy_folder, folder, *QUIET)


@pytest.mark.slow
def test_two_processes_say_so_and_each_thing_once(double: tuple[Path, str]) -> None:
    folder, said = double
    lines = said.splitlines()
    assert lines[0].startswith(f"{folder}: 2 processes on cpu, 1 threads each")
    assert [line for line in lines if "40 users" in line] == [
        "toy: 40 users, 30 items, 629 interactions; 549 train, 40 validate, 40 test"
    ]
    assert "Warning" not in said
    assert metrics(folder)["provenance"]["processes"] == 2


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(double: tuple[Path, str], single: Path) -> None:
    """The mean over processes with unequal numbers of targets is the mean over all targets."""
    first, second = rows(double[0], "step"), rows(single, "step")
    assert [row["step"] for row in first] == [row["step"] for row in second]
    assert [row["loss"] for row in first] == pytest.approx([row["loss"] for row in second], abs=1e-5)
    for ours, theirs in zip(rows(double[0], "epoch"), rows(single, "epoch"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["validation"] == pytest.approx(theirs["validation"], abs=1e-9)
    weights, wanted = load_file(double[0] / "model.safetensors"), load_file(single / "model.safetensors")
    assert weights.keys() == wanted.keys()
    for name, weight in weights.items():
        assert (weight - wanted[name]).abs().max() < 1e-4, name


@pytest.mark.slow
def test_two_processes_measure_every_user_once(double: tuple[Path, str], single: Path) -> None:
    assert_equal_tables(double[0], single)
    for part in ("validation", "test"):
        assert metrics(double[0])[part] == metrics(single)[part]
        assert {fields["n"] for fields in metrics(double[0])[part].values()} == {40}


@pytest.mark.slow
def test_twenty_two_users_on_three_processes_stay_twenty_two(tmp_path: Path) -> None:
    """B11: 22 users, 3 processes, batch 8: no padded batch is counted twice."""
    data = write_recbole(tmp_path / "toy", "toy", *toy_tables(num_users=22))
    options = ["training.batch_size=8", "max_seq_len=50", "training.windows=last", *STILL]
    together(3, data, tmp_path / "three", *options)
    assert train.main(arguments(data, tmp_path / "one", *options)) == 0
    assert len(tables(tmp_path / "three")["test/cases"]) == 22
    assert tables(tmp_path / "three")["test/cases"]["case_id"].n_unique() == 22
    assert_equal_tables(tmp_path / "three", tmp_path / "one")
    for part in ("validation", "test"):
        assert metrics(tmp_path / "three")[part] == metrics(tmp_path / "one")[part]
        assert metrics(tmp_path / "three")[part]["HR@10"]["n"] == 22
    # 22 windows of 8: two whole batches and six windows, two for each process.
    losses = [[row["loss"] for row in rows(tmp_path / name, "step")] for name in ("three", "one")]
    assert len(losses[0]) == len(losses[1]) == 3
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.slow
def test_one_user_on_two_processes_is_one_user(tmp_path: Path) -> None:
    """B11: 1 user, 2 processes: the second has nothing to train on and nothing to measure, and takes part."""
    data = write_recbole(tmp_path / "toy", "toy", *toy_tables(num_users=1))
    together(2, data, tmp_path / "two", "training.windows=last", *STILL)
    assert train.main(arguments(data, tmp_path / "one", "training.windows=last", *STILL)) == 0
    assert tables(tmp_path / "two")["test/cases"]["user_id"].to_list() == ["u0"]
    assert_equal_tables(tmp_path / "two", tmp_path / "one")
    for part in ("validation", "test"):
        assert metrics(tmp_path / "two")[part] == metrics(tmp_path / "one")[part]
    losses = [[row["loss"] for row in rows(tmp_path / name, "step")] for name in ("two", "one")]
    assert len(losses[0]) == 1
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.slow
def test_two_processes_go_on_where_they_were_killed(toy_folder: Path, tmp_path: Path) -> None:
    options = ["training.batch_size=2", "training.epochs=2", "training.checkpoint_steps=5"]
    together(2, toy_folder, tmp_path / "whole", *options)
    folder = tmp_path / "run"
    process = forked.Training(arguments(toy_folder, folder, *options), 2)
    reached = kill_when(process, folder, lambda: last_step(folder) >= 30)
    together(2, toy_folder, folder, *options, "--resume")
    (resumed,) = rows(folder, "resume")
    assert resumed["step"] + resumed["steps_repeated"] == reached
    assert 0 <= resumed["steps_repeated"] <= 5
    assert digests(folder) == digests(tmp_path / "whole")
    assert numbers(folder) == numbers(tmp_path / "whole")


def assert_said_once(done: CompletedProcess[str], said: str, times: int = 1) -> None:
    """By one process, or by so many at most."""
    assert done.returncode != 0
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert 1 <= len(errors) <= times
    assert said in errors[0]


@pytest.mark.slow
def test_what_only_the_main_process_does_only_it_complains_of(toy_folder: Path, tmp_path: Path, single: Path) -> None:
    done = forked.train(arguments(toy_folder, single, *QUIET), 2)
    assert_said_once(done, "holds a finished run")
    done = forked.train(arguments(tmp_path / "nowhere", tmp_path / "run"), 2)
    assert_said_once(done, "does not exist")
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "said", "times"),
    [(["--model", "opt-13b"], "opt-13b", 1), (["training.learning_rate=1e30"], "the loss is", 2)],
    ids=["no model", "no number"],
)
def test_an_error_ends_every_process_at_once(
    toy_folder: Path, tmp_path: Path, more: list[str], said: str, times: int
) -> None:
    """Under torchrun, as users have it; training is the affair of all."""
    began = time.monotonic()
    offline = {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "LLMREC_CACHE": str(tmp_path / "cache")}
    done = execute(*torchrun(2, *arguments(toy_folder, tmp_path / "run", *more)), timeout=60, **offline)
    assert time.monotonic() - began < 60 < TIMEOUT
    assert_said_once(done, said, times)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_one_process_says_so(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    assert (processes.count, processes.rank, processes.is_main) == (1, 0, True)
    assert str(processes).startswith("1 process on ")


def test_the_main_process_goes_first_and_its_errors_come_through(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    with processes.main_first() as is_main:
        assert is_main
    with pytest.raises(ZeroDivisionError), processes.main_first():
        1 / 0  # noqa: B018


FAILS = """
import sys, time
from pathlib import Path
from llmrec.processes import Processes
processes = Processes(Path(sys.argv[1]))
try:
    with processes.main_first():
        assert processes.is_main, "the others must not begin"
        raise ValueError
except ValueError:
    time.sleep(600)  # as if the error were caught further out: nothing else tells the other process
"""


@pytest.mark.slow
def test_the_main_process_tells_the_others_of_its_error_itself(tmp_path: Path) -> None:
    """Without torchrun, which would end them, and with a main process that lives on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    main, other = (
        start("python", "-c", FAILS, str(tmp_path), RANK=rank, LOCAL_RANK=rank, **world) for rank in ("0", "1")
    )
    try:
        _, said = other.communicate(timeout=60)
        assert (other.returncode, said) == (2, "")
        assert main.poll() is None
    finally:
        kill(main)
        kill(other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "options", "threads"),
    [
        (["env", "-u", "OMP_NUM_THREADS"], [], psutil.cpu_count(logical=False)),
        (["env", "-u", "OMP_NUM_THREADS"], ["--num_cpu_threads_per_process", "1"], 1),
        ([], [], 1),  # the tests ask for one thread
    ],
)
def test_a_single_process_takes_all_cores_unless_fewer_are_asked_for(
    before: list[str], options: list[str], threads: int, toy_folder: Path, tmp_path: Path
) -> None:
    """accelerate launch sets one thread where nobody asked for a number."""
    words = arguments(toy_folder, tmp_path / "run", "training.epochs=1")
    done = execute(*before, "accelerate", "launch", *options, "llmrec/train.py", *words)
    assert done.returncode == 0, done.stderr
    assert f"1 process on cpu, {threads} threads each" in done.stderr


def of_text(data: Path, folder: Path, kind: str, *more: str) -> list[str]:
    words = ["--model", str(tiny_models.folder(kind)), "--loss", "in_batch_softmax", "encoder.dropout=0", *QUIET, *more]
    return arguments(data, folder, *words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("bert", ["features.loading=sharded"]),  # E10; only the process that encodes loads the model, and spreads it
        ("gemma3", ["features.loading=streamed"]),
        ("opt", []),  # E13: what is frozen is no parameter, so nothing waits for its gradient
        ("llama", ["--tuning", "top_blocks", "tuning.blocks=1"]),
        ("opt", ["--tuning", "lora"]),
    ],
)
def test_two_processes_train_what_one_does_over_language_models(
    kind: str, more: list[str], toy_folder: Path, tmp_path: Path
) -> None:
    """E10: a sharded model and several processes; E13: what is frozen waits for no gradient."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert train.main(of_text(toy_folder, one, kind, *more)) == 0
    done = forked.train(of_text(toy_folder, two, kind, *more), 2, LLMREC_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    shares = len(list((tmp_path / "cache" / "features").glob("*/*.safetensors")))
    assert shares == (1 if "features.loading=sharded" in more else 2), "each process encodes its share of the items"
    first, second = rows(two, "step"), rows(one, "step")
    assert [row["loss"] for row in first] == pytest.approx([row["loss"] for row in second], abs=1e-5)
    weights, wanted = load_file(two / "model.safetensors"), load_file(one / "model.safetensors")
    assert weights.keys() == wanted.keys()
    for name, weight in weights.items():
        assert torch.allclose(weight, wanted[name], atol=2e-4), name


@pytest.mark.slow
def test_weights_spread_over_processes_learn_what_whole_ones_do() -> None:
    """fully_shard (FSDP2) over gloo on tiny OPT: each process holds half, the losses of three steps are the same."""
    whole, spread = (
        forked.train([str(tiny_models.folder("opt"))], count, "tests/sharded_steps.py") for count in (1, 2)
    )
    assert whole.returncode == spread.returncode == 0, whole.stderr + spread.stderr
    shares = [float(line.split()[1]) for line in spread.stdout.splitlines() if line.startswith("share")]
    assert len(shares) == 2 and sum(shares) == pytest.approx(1, abs=0.01) and max(shares) < 0.6
    losses = [
        [float(line.split()[1]) for line in out.splitlines() if "loss" in line] for out in (whole.stdout, spread.stdout)
    ]
    assert len(losses[0]) == 3 and losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert losses[0][2] < losses[0][0]


FSDP = ("accelerate", "launch", "--config_file", "configs/accelerate/fsdp.yaml", "--num_processes", "2")
SPREAD = "tests/spread_run.py"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What accelerate tells the processes that it begins, besides which of them they are."""
    script = tmp_path_factory.mktemp("told") / "tell.py"
    script.write_text("import json, os; print(json.dumps(dict(os.environ)))", encoding="utf-8")
    done = execute(*FSDP[:-1], "1", str(script))
    assert done.returncode == 0, done.stderr
    return {name: value for name, value in json.loads(done.stdout).items() if name.startswith(("ACCELERATE_", "FSDP_"))}


def of_spread_text(data: Path, folder: Path, kind: str, *more: str) -> list[str]:
    """With negatives that differ by process, so that one may have more texts to read than the other."""
    return of_text(data, folder, kind, "loss.uniform_share=0.5", "training.checkpoint_steps=3", *more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("opt", ["--tuning", "full"]),
        ("llama", ["--tuning", "top_blocks", "tuning.blocks=1"]),
        ("opt", ["--tuning", "full", "tuning.gradient_checkpointing=true", "features.precision=bf16"]),
    ],
)
def test_a_run_under_fsdp_trains_what_two_whole_processes_do(
    kind: str, more: list[str], toy_folder: Path, tmp_path: Path, told: dict[str, str]
) -> None:
    """Losses, tables and saved weights; interrupted and resumed too. accelerate's own FSDP2, over gloo."""
    whole, spread = tmp_path / "whole", tmp_path / "spread"
    done = forked.train(of_spread_text(toy_folder, whole, kind, *more), 2)
    assert done.returncode == 0, done.stderr
    words = of_spread_text(toy_folder, spread, kind, *more)
    kill_when(forked.Training(words, 2, SPREAD, **told), spread, lambda: last_step(spread) >= 5)
    done = forked.train([*words, "--resume"], 2, SPREAD, **told)
    assert done.returncode == 0, done.stderr
    assert "2 processes with FSDP on cpu" in done.stderr
    rough = "features.precision=bf16" in more  # what is in a batch of texts, and so is rounded alike, differs
    assert {row["step"]: row["loss"] for row in rows(spread, "step")} == pytest.approx(
        {row["step"]: row["loss"] for row in rows(whole, "step")}, abs=0.01 if rough else 1e-5
    )
    weights, wanted = load_file(spread / "model.safetensors"), load_file(whole / "model.safetensors")
    assert weights.keys() == wanted.keys()
    for name, weight in weights.items():
        assert torch.allclose(weight, wanted[name], atol=0.02 if rough else 2e-4), name
    if not rough:
        assert_equal_tables(spread, whole)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["frozen", "lora"])
def test_what_has_nothing_to_spread_is_refused_under_fsdp(
    tuning: str, toy_folder: Path, tmp_path: Path, told: dict[str, str]
) -> None:
    done = forked.train(of_text(toy_folder, tmp_path / "run", "opt", "--tuning", tuning), 2, SPREAD, **told)
    assert done.returncode != 0 and f"tuning {tuning} has nothing to spread" in done.stderr


@pytest.mark.slow
def test_bf16_under_fsdp_wants_gradient_checkpointing(toy_folder: Path, tmp_path: Path, told: dict[str, str]) -> None:
    """Else every process would hold a whole copy of the weights, which is what FSDP is to spare it."""
    words = of_text(toy_folder, tmp_path / "run", "opt", "--tuning", "full", "features.precision=bf16")
    done = forked.train(words, 2, SPREAD, **told)
    assert done.returncode != 0 and "tuning.gradient_checkpointing=true" in done.stderr


@pytest.mark.slow
def test_deepspeed_is_refused(toy_folder: Path, tmp_path: Path) -> None:
    words = of_text(toy_folder, tmp_path / "run", "opt", "--tuning", "full")
    done = forked.train(words, ACCELERATE_USE_DEEPSPEED="true")
    assert done.returncode == 2 and "configs/accelerate/fsdp.yaml" in done.stderr


@pytest.mark.slow
def test_fsdp_without_gpus_is_refused(toy_folder: Path, tmp_path: Path) -> None:
    """Under accelerate launch, as users have it."""
    done = execute(*FSDP, "llmrec/train.py", *of_text(toy_folder, tmp_path / "run", "opt", "--tuning", "full"))
    assert done.returncode != 0 and "it takes GPUs" in done.stderr
