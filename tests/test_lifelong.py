"""Methods over a course of tasks: results, storage, forgetting, and runs that are cut off."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_course import ITEMS, QUICK, course, lifelong

from llmrec import components, task_report, train
from llmrec.errors import ConfigError, DataError, RunError
from llmrec.lifelong import Lifelong
from llmrec.runs import RunTable, read_json, write_json

METHODS = components.names("transfer")
KEEPS_ONE = ("conure", "sequential")
DECAY = "transfer.training.weight_decay=0.5"
pytestmark = pytest.mark.slow


@cache
def finished(method: str) -> tuple[Lifelong, dict[str, Any]]:
    """A run of the method; all share the network that was pre-trained once."""
    plan = lifelong(_folder() / method, method, DECAY)
    return plan, plan.run()


@cache
def _folder() -> Path:
    return Path(mkdtemp(prefix="lifelong-"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_measures_and_stores_all_tasks(method: str) -> None:
    plan, results = finished(method)
    names = (["walk"] if plan.keeps_one else []) + ["far", "step", "half"]
    assert [task["name"] for task in results["tasks"]] == names
    assert json.loads((plan.folder / "results.json").read_text(encoding="utf-8"))["tasks"] == results["tasks"]
    for place, task in enumerate(results["tasks"]):
        assert set(task["test"]) == (
            {"HR@10", "nDCG@10", "MRR@5"} if task["kind"] == "items" else {"accuracy", "macro-F1"}
        )
        assert list(task["earlier"]) == list(task["unchanged"]) == names[:place]
        assert 0 <= task["trainable_share"] <= 1
        assert all(each["n"] == 15 for each in task["test"].values())
    assert f"{method}: " in task_report.show(results)
    shown = task_report.show(results).splitlines()
    assert len(shown) == 1 + len(names)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_stored_answers_every_task_as_it_was_answered_last(method: str) -> None:
    plan, results = finished(method)
    first = 0 if plan.keeps_one else 1
    for number, task in enumerate(results["tasks"], first):
        cases = plan.course.task(number).parts["test"]
        table = RunTable.load(plan._place(number) / "test")
        saved = table.rankings.group_by("case_id", maintain_order=True).agg(pl.col("score").max())["score"].to_torch()
        now = plan.answers(number).score(cases.histories)[:, 1:].amax(dim=1).double()
        last = results["tasks"][-1]["unchanged"].get(task["name"], True)
        assert torch.equal(now, saved) == last


@pytest.mark.parametrize("method", [name for name in METHODS if name != "sequential"])
def test_answers_to_earlier_tasks_stay_to_the_bit(method: str) -> None:
    """Also of the method that keeps one network, under AdamW with decay."""
    _, results = finished(method)
    for task in results["tasks"]:
        assert all(task["unchanged"].values())


def test_one_network_that_is_tuned_again_and_again_forgets() -> None:
    _, results = finished("sequential")
    learned = results["tasks"][0]["test"]["nDCG@10"]["value"]
    left = results["tasks"][-1]["earlier"]["walk"]["nDCG@10"]["value"]
    assert learned > 0.7
    assert left < learned - 0.15
    assert not any(results["tasks"][-1]["unchanged"].values())
    assert "other answers than before to walk, far, step" in task_report.show(results)


def test_a_network_of_masks_takes_hardly_more_than_one_network() -> None:
    plan, results = finished("conure")
    network = load_file(plan.folder / "network.safetensors")
    assert {name.split(".")[0] for name in network} == {"items", "trunk"}
    kernels = sum(each.numel() for name, each in network.items() if name.endswith("original"))
    assert kernels == 4 * 3 * 16 * 16
    heads = 4 * (17 * ITEMS + (16 + 17 * 6) + 2 * (16 + 17 * 2))
    whole = sum(4 * each.numel() for each in network.values()) + 4 * kernels // 8 + heads
    assert results["stored_bytes"] == whole
    files = sum(path.stat().st_size for path in plan.folder.rglob("*.safetensors"))
    assert whole <= files <= 1.5 * whole, "a few names and shapes in each file, and nothing of the phases"
    capacity = results["tasks"][-1]["capacity"]
    assert [round(capacity["owned"][str(number)], 2) for number in range(4)] == [0.3, 0.21, 0.15, 0.1]


@pytest.mark.parametrize(
    ("method", "shared"), [("scratch", False), ("full", False), ("head_only", True), ("peterrec", True)]
)
def test_stored_bytes_are_those_of_all_files_that_tasks_need(method: str, shared: bool) -> None:
    plan, results = finished(method)
    network = sum(
        4 * weight.numel() for name, weight in plan._new().named_parameters() if name[:5] in ("items", "trunk")
    )
    assert results["shared_bytes"] == shared * network
    own = [load_file(plan._place(number) / "model.safetensors") for number in (1, 2, 3)]
    assert [each["stored_bytes"] for each in results["tasks"]] == [
        sum(4 * tensor.numel() for tensor in tensors.values()) for tensors in own
    ]
    assert results["stored_bytes"] == results["shared_bytes"] + sum(each["stored_bytes"] for each in results["tasks"])


def test_all_methods_begin_with_the_same_pre_trained_network() -> None:
    folders = {finished(method)[0].pretrained_folder for method in METHODS if method != "scratch"} - {None}
    next_item = finished("full")[0].pretrained_folder
    assert finished("peterrec")[0].pretrained_folder == finished("conure")[0].pretrained_folder == next_item
    assert next_item in folders
    metrics = json.loads((next_item / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["nDCG@10"]["value"] > metrics["test"]["nDCG@10"]["chance"] + 0.3
    assert not list(next_item.rglob("checkpoint*")) + list(next_item.rglob("state*"))


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    plan, results = finished("full")
    network = plan.pretrained_folder / "network.safetensors"
    before = network.stat().st_mtime_ns
    again = lifelong(plan.folder, "full", DECAY, watch=_crash_at("", 0)).run()
    assert again["tasks"] == results["tasks"]
    assert network.stat().st_mtime_ns == before


def test_a_run_is_not_gone_on_with_over_other_tasks(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        lifelong(tmp_path / "run", "head_only", watch=_crash_at("", 45)).run()
    done = sorted(path.parent.name for path in (tmp_path / "run" / "tasks").glob("*/result.json"))
    assert done and len(done) < 3
    with pytest.raises(
        RunError, match=rf"{done[0]} was learned with other data or task files .walks0 then, walks1 now"
    ):
        lifelong(tmp_path / "run", "head_only", of=course(1)).run()


def test_a_pre_training_that_was_cut_off_serves_other_tasks_of_its_source(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        lifelong(tmp_path / "one", "full", "training.checkpoint_steps=1", watch=_crash_at("", 3)).run()
    of = course()
    fewer = of.__class__(**{**vars(of), "tasks": of.tasks[1:2], "hash": "fewer"})
    plan = lifelong(tmp_path / "two", "full", "training.checkpoint_steps=1", of=fewer)
    assert [task["name"] for task in plan.run()["tasks"]] == ["step"]


def test_stored_weights_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    plan = lifelong(tmp_path / "run", "sequential")
    plan.run()
    path = tmp_path / "run" / "network.safetensors"
    stored = load_file(path)
    gone = next(name for name in stored if name.startswith("trunk."))
    save_file({name: each for name, each in stored.items() if name != gone}, path)
    with pytest.raises(RunError, match=f"of another network: 1 weights are only here or there, such as {gone}"):
        plan.answers(1)


def test_what_pre_training_is_judged_by_is_part_of_its_hash() -> None:
    of = course()
    judged = of.source.parts["validation"]
    parts = {**of.source.parts, "validation": judged.__class__(judged.histories, judged.targets + 1, judged.users)}
    other = of.__class__(**{**vars(of), "source": of.source.__class__(**{**vars(of.source), "parts": parts})})
    assert other.source_hash != of.source_hash == course().source_hash


class Crash(Exception):
    """Ends a training from inside, as a signal would from outside."""


def _crash_at(phase: str, step: int) -> Callable[[int, str], Any]:
    """Watches phases; at so many steps, counted over all, it raises."""
    taken = [0]

    @contextmanager
    def watch(epochs: int, selection: str) -> Iterator[Callable[[dict], None]]:
        def report(row: dict) -> None:
            taken[0] += row["event"] == "step"
            if taken[0] >= step:
                raise Crash

        yield report

    return watch


def _timeless(found: Any) -> Any:
    if isinstance(found, dict):
        left_out = ("seconds", "provenance", "source")
        return {key: _timeless(value) for key, value in found.items() if key not in left_out}
    return [_timeless(each) for each in found] if isinstance(found, list) else found


@pytest.mark.parametrize("method", ["conure", "peterrec", "sequential"])
@pytest.mark.parametrize("steps", [7, 19])
def test_a_run_goes_on_to_the_same_end_wherever_it_was_cut_off(tmp_path: Path, method: str, steps: int) -> None:
    """Every few steps, so in pre-training, within phases, between them, and behind checkpoints of all ages."""
    whole, results = finished(method)
    every = (DECAY, "training.checkpoint_steps=3", "transfer.training.checkpoint_steps=3")
    crashes = 0
    while True:
        plan = lifelong(tmp_path / "run", method, *every, watch=_crash_at(method, steps))
        try:
            again = plan.run()
            break
        except Crash:
            crashes += 1
    assert crashes >= 2
    assert _timeless(again) == _timeless(results) | {"method": again["method"]}
    for path in whole.folder.rglob("*.safetensors"):
        first, second = load_file(path), load_file(tmp_path / "run" / path.relative_to(whole.folder))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), path.name
    assert not list((tmp_path / "run").rglob("checkpoint*")) + list((tmp_path / "run").rglob("state*"))


def test_tasks_come_in_the_order_asked_for(tmp_path: Path) -> None:
    short = ("training.epochs=1", "transfer.training.epochs=1", "transfer.order=[half, far]")
    results = lifelong(tmp_path / "run", "sequential", *short).run()
    assert [task["name"] for task in results["tasks"]] == ["walk", "half", "far"]
    with pytest.raises(ConfigError, match=r"transfer.order: no task 'hal'; did you mean 'half'"):
        lifelong(tmp_path, "full", "transfer.order=[hal]")
    with pytest.raises(ConfigError, match="a task is learned once"):
        lifelong(tmp_path, "full", "transfer.order=[half, half]")


def test_a_network_pre_trained_on_other_items_is_refused_by_name(tmp_path: Path) -> None:
    made = finished("full")[0].pretrained_folder
    of = course()
    renamed = of.source.__class__(**{**vars(of.source), "classes": (*of.source.classes[:-1], "new one")})
    changed = of.__class__(**{**vars(of), "source": renamed})
    with pytest.raises(DataError, match=r"12 then and 12 now: 1 gone \(.*i11.*\); 1 new \(.*new one.*\)"):
        lifelong(tmp_path / "run", "full", f"transfer.pretrained={made}", of=changed)
    swapped = of.source.__class__(**{**vars(of.source), "classes": of.source.classes[::-1]})
    turned = of.__class__(**{**vars(of), "source": swapped})
    with pytest.raises(DataError, match="12 under another index"):
        lifelong(tmp_path / "run", "full", f"transfer.pretrained={made}", of=turned)
    with pytest.raises(RunError, match="holds no run"):
        lifelong(tmp_path / "run", "full", f"transfer.pretrained={tmp_path / 'nothing'}")
    (tmp_path / "other").mkdir()
    write_json(tmp_path / "other" / "metrics.json", {})
    with pytest.raises(RunError, match=r"other is a run of another kind; .*in a folder source-\.\.\."):
        lifelong(tmp_path / "run", "full", f"transfer.pretrained={tmp_path / 'other'}")


def test_a_pre_trained_network_may_begin_with_a_shallower_one(tmp_path: Path) -> None:
    """StackRec: from one block to two to four, each pre-trained in a folder of its own; a task then is as ever."""
    deep = ("head.num_layers=4", "training.epochs=1", "transfer.training.epochs=1", "transfer.order=[half]")
    plan = lifelong(tmp_path / "run", "peterrec", *deep, "transfer.stacking=adjacent", "transfer.doublings=2")
    begun = plan._unlearned()[0].state_dict()
    half = lifelong(
        tmp_path / "run", "peterrec", *deep, "head.num_layers=2", "transfer.stacking=adjacent"
    ).pretrained_folder
    weights = load_file(half / "network.safetensors")
    for name, weight in begun.items():
        block = re.fullmatch(r"trunk\.blocks\.(\d)\.(.+)", name)
        old = f"trunk.blocks.{int(block[1]) // 2}.{block[2]}" if block else name
        assert weight.equal(weights[old]), name
    plan.run()
    seconds = [read_json(folder / "metrics.json")["seconds"] for folder in (half, plan.pretrained_folder)]
    assert 0 < seconds[0] < seconds[1], "those of the shallower ones count"
    assert len(list(tmp_path.glob("source-*/network.safetensors"))) == 3
    plain = lifelong(tmp_path / "run", "peterrec", *deep).pretrained_folder
    assert plain != plan.pretrained_folder and not plain.exists(), "that of four blocks from nothing is another one"
    with pytest.raises(ConfigError, match=r"head.num_layers=1 of nextitnet cannot be halved; .* a multiple of 4"):
        lifelong(tmp_path / "run", "full", "head.num_layers=1", "transfer.stacking=cross", "transfer.doublings=2").run()


@pytest.mark.parametrize(
    ("method", "change", "told"),
    [
        ("full", "head.dilations=[1, 1]", r"head: .*'num_layers': 2} there, .*'dilations': \[1, 1\]} here"),
        ("full", "max_seq_len=7", "max_seq_len: 8 there, 7 here"),
        ("clue", "seed=1", "objective: next item there, contrast here"),
    ],
)
def test_a_network_of_another_kind_is_refused_by_what_differs(
    tmp_path: Path, method: str, change: str, told: str
) -> None:
    """Its weights may have the same shapes, and mean something else."""
    made = finished("full")[0].pretrained_folder
    with pytest.raises(RunError, match=told):
        lifelong(tmp_path / "run", method, f"transfer.pretrained={made}", change)


def test_a_network_that_was_trained_in_another_way_is_taken(tmp_path: Path) -> None:
    """Another seed, rate or dropout: how it was trained is its own affair."""
    made = finished("full")[0].pretrained_folder
    more = ("seed=1", "training.learning_rate=0.1", "head.dropout=0.1", "transfer.training.epochs=1")
    run = lifelong(tmp_path / "run", "head_only", f"transfer.pretrained={made}", *more).run()
    assert run["source"] == str(made) and not list(tmp_path.glob("source-*"))


def test_a_network_that_has_met_users_who_test_now_is_refused(tmp_path: Path) -> None:
    made, other = finished("full")[0].pretrained_folder, course(seed=1)
    same = replace(other, source=replace(other.source, classes=course().source.classes))
    with pytest.raises(RunError, match="source: other users or histories there"):
        lifelong(tmp_path / "run", "full", f"transfer.pretrained={made}", of=same)


def test_a_head_that_knows_its_users_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'dssm_id' has a vector for each user.*take --head nextitnet or sasrec"):
        lifelong(tmp_path, "full", "head=dssm_id")


def test_options_that_do_not_reach_the_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"learns tasks .transfer. has no split; leave it out"):
        lifelong(tmp_path, "full", "split=temporal")
    with pytest.raises(ConfigError, match=r"learns tasks .transfer. has no training.init_from; leave it out"):
        lifelong(tmp_path, "full", "training.init_from=somewhere")
    with pytest.raises(ConfigError, match=r"has no transfer.training.windows; leave it out"):
        lifelong(tmp_path, "full", "transfer.training.windows=last")


@pytest.mark.parametrize(("method", "head"), [("peterrec", "grec"), ("conure", "sasrec")])
def test_trunks_of_other_kinds_are_pre_trained_and_learn_tasks(tmp_path: Path, method: str, head: str) -> None:
    chosen = (f"head={head}", "transfer.order=[far]", "training.epochs=12", "transfer.training.epochs=12")
    plan = lifelong(tmp_path / "run", method, *chosen)
    results = plan.run()
    before = json.loads((plan.pretrained_folder / "metrics.json").read_text(encoding="utf-8"))["test"]["nDCG@10"]
    after = results["tasks"][-1]["test"]["nDCG@10"]
    assert before["value"] > before["chance"] + 0.2
    assert after["value"] > after["chance"] + 0.2


@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_losses_against_single_negatives_learn_too_and_the_protocol_says_which(tmp_path: Path, loss: str) -> None:
    chosen = (
        f"transfer.loss={loss}",
        "transfer.order=[far]",
        f"transfer.pretrained={finished('full')[0].pretrained_folder}",
    )
    results = lifelong(tmp_path / "run", "full", *chosen, "transfer.training.epochs=6").run()
    (task,) = results["tasks"]
    assert task["test"]["nDCG@10"]["value"] > task["test"]["nDCG@10"]["chance"] + 0.15
    words = {"bce": "one uniform negative", "bpr": "negatives by popularity"}
    assert words[loss] in RunTable.load(tmp_path / "run/tasks/01-far/test").protocol.candidates


def test_train_py_learns_the_tasks_of_a_folder(tmp_path: Path, toy_folder: Path, capsys: Any) -> None:
    files = {"0_source": "kind: source\nwithout_genres: [War]", "1_war": "kind: items\ngenres: [War]"}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    chosen = ["--data", "toy", "--data-dir", str(toy_folder), "--head", "nextitnet", "--output", str(tmp_path / "run")]
    chosen += [*QUICK, "training.epochs=1", f"transfer.tasks={tmp_path}", "transfer.method=peterrec"]
    assert train.main(chosen) == 0
    shown = capsys.readouterr()
    assert "peterrec: " in shown.out
    assert "war  nDCG@10" in shown.out
    assert "source source: 20 items; next of items without War" in shown.err
    results = json.loads((tmp_path / "run/results.json").read_text(encoding="utf-8"))
    assert [task["classes"] for task in results["tasks"]] == [10]
    assert train.main(chosen) == 2
    assert "holds a finished run; --overwrite does it again" in capsys.readouterr().err
    for wrong in ("transfer.order=[nosuch]", f"transfer.pretrained={tmp_path}", "head=dssm_id"):
        assert train.main([*chosen, "--overwrite", wrong]) == 2
        assert (tmp_path / "run/results.json").is_file(), f"{wrong} is refused before anything is deleted"


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_a_probe_reads_the_places_that_it_is_told_to(tmp_path: Path, pooling: str) -> None:
    """As PeterRec does or as CLUE does, so that what a pre-training is worth is not mixed up with how it is read."""
    plan = lifelong(tmp_path / "run", "head_only", f"transfer.method.pooling={pooling}", "training.epochs=1")
    plan.run()
    network = plan.answers(1).network
    history, token = torch.tensor([[0, 3, 5, 7]]), network.head(1).token
    places = network.trunk(
        torch.cat([network.items(history), token.expand(1, 1, -1)], dim=1), torch.arange(5)[None] > 0
    )
    wanted = places[:, 1:].mean(dim=1) if pooling == "mean" else places[:, -1]
    torch.testing.assert_close(network.encode(history, token), wanted)
