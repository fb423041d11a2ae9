"""The study of transfer methods: its cells, the report of results made by hand, the command on a tiny log."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_course import QUICK, course
from small_runs import BIN, execute
from tables import PROTOCOL, counted

from eval import cells, transfer, transfer_free, transfer_report
from eval.transfer_cells import Chosen, Study
from llmrec import train
from llmrec.errors import ConfigError, DivergedError, ProtocolError, RunError
from llmrec.protocol import digest
from llmrec.runs import read_json, write_json
from llmrec.sequences import Sequences
from llmrec.tasks import Examples, Task

ML_100K = Path(__file__).parents[2] / "shared" / "data" / "ml-100k"
FLAGS = ["transfer.tasks=unused", "head=nextitnet", *QUICK]
USERS = ("ann", "bob", "cid", "dan")


def chosen(*texts: str) -> list[Chosen]:
    return [Chosen.parse(text) for text in texts]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Three methods and two seeds over the small course; nothing is trained."""
    monkeypatch.chdir(tmp_path)
    made = Study(FLAGS, chosen("scratch", "full", "sequential"), (0, 1))
    made.course = course()
    return made


def finish(study: Study, method: str, seed: int, above: dict[str, tuple[int, ...]], **more: Any) -> None:
    """Writes a finished cell: how many classes stood above each user's, by task."""
    cell = next(each for each in study.methods if each.label == method), seed
    folder = study.folder(*cell)
    tasks = []
    for number, (name, places) in enumerate(above.items()):
        rows = [(user, place, 0) for user, place in zip(USERS, places)]
        protocol = PROTOCOL.model_copy(update={"targets": name, "data_hash": study.course.hash})
        candidates = 6 if name == "far" else 2
        counted(rows, candidates=candidates, protocol=protocol).save(folder / "tasks" / f"{number:02d}-{name}" / "test")
        kind = "items" if name in ("far", "walk") else "label"
        value = {"value": places.count(0) / 4, "low": 0.0, "high": 1.0}
        tasks.append(
            {
                "name": name,
                "kind": kind,
                "test": {"nDCG@10": value} if kind == "items" else {"accuracy": value, "macro-F1": value},
                "trainable_share": 0.5,
                "trainable_share_without_items": 0.25,
                "seconds": 10 + seed,
                **more.get(name, {}),
            }
        )
        write_json(folder / "tasks" / f"{number:02d}-{name}" / "result.json", {"name": name})
    results = {"tasks": tasks, "source": None, "stored_bytes": 300, "network_bytes": 200, "provenance": {"seed": seed}}
    write_json(folder / "results.json", results)
    options = train.options_of(study._arguments(*cell))[0].resolved()
    write_json(folder / "config.json", options.model_dump(mode="json"))


def earlier(unchanged: bool, **values: float) -> dict[str, Any]:
    """What the last task tells of those before it, by their accuracy or nDCG."""
    found = {name: {"nDCG@10" if name in ("far", "walk") else "accuracy": {"value": v}} for name, v in values.items()}
    return {"earlier": found, "unchanged": {name: unchanged for name in values}}


@pytest.fixture
def report(study: Study) -> transfer_report.Report:
    """scratch is always right, full never, with one seed of two; sequential is right about half and forgets."""
    right, wrong = (0, 0, 0, 0), (1, 1, 1, 1)
    exact = {"half": earlier(True, far=1.0, step=1.0)}
    for seed in (0, 1):
        finish(study, "scratch", seed, {"far": right, "step": right, "half": right}, **exact)
    finish(study, "full", 0, {"far": (5, 5, 5, 5), "step": wrong, "half": wrong}, half=earlier(True, far=0.0, step=0.0))
    for seed, places in enumerate([(0, 0, 1, 1), (0, 1, 0, 1)]):
        above = {"walk": right, "far": places, "step": places, "half": right}
        forgets = {"half": earlier(False, walk=0.5 + 0.25 * seed, far=0.25, step=0.5)}
        finish(study, "sequential", seed, above, **forgets)
    study.train(1, 0)
    return transfer_report.Report(study, ("full", "scratch"))


def row(report: transfer_report.Report, task: str, name: str) -> transfer_report.Row:
    return next(each for each in report.rows[task] if each.name == name)


@pytest.mark.slow
def test_rows_are_means_over_seeds_beside_chance_and_what_is_most_frequent(report: transfer_report.Report) -> None:
    free = ["chance", "most frequent", "naive Bayes"]
    assert [each.name for each in report.rows["far"]] == [*free, "scratch", "full", "sequential"]
    linear = [*free, "logistic regression"]
    assert [each.name for each in report.rows["step"]] == [*linear, "scratch", "full", "sequential"]
    assert row(report, "step", "sequential").metrics["accuracy"].value == 0.5
    assert row(report, "step", "sequential").metrics["accuracy"].low == 0.125, "ann 1, bob and cid .5, dan 0"
    assert row(report, "far", "sequential").metrics["nDCG@10"].value == pytest.approx((1 + 1 / 1.5849625) / 2)
    assert row(report, "half", "scratch").metrics["macro-F1"].value == 1.0
    assert row(report, "step", "chance").metrics["accuracy"] == (0.5, 0.5, 0.5)
    assert (row(report, "far", "full").seeds, row(report, "far", "scratch").seeds) == (1, 2)
    assert report.missing == ["full-s1"]


@pytest.mark.slow
def test_a_method_may_learn_the_tasks_in_an_order_of_its_own(study: Study) -> None:
    """Its row stands beside that of the files' order, and what it learned first may be forgotten."""
    other = "sequential:transfer.order=[half,step,far]"
    study.methods = [*chosen("sequential"), *chosen(other)]
    assert study._flags(study.methods[1])[-1] == "transfer.order=[half,step,far]"
    assert study.folder(study.methods[1], 0).name == "sequential_transfer.order_half_step_far_-s0"
    right, wrong = (0, 0, 0, 0), (1, 1, 1, 1)
    finish(study, "sequential", 0, {"far": right, "step": right, "half": right}, half=earlier(True, far=1.0, step=1.0))
    forgets = earlier(False, half=0.5, step=1.0)
    finish(study, other, 0, {"half": right, "step": right, "far": wrong}, far=forgets)
    study.train(1, 0)
    report = transfer_report.Report(study, ["sequential"])
    assert row(report, "far", "sequential").metrics["nDCG@10"].value == 1
    assert row(report, "far", other).metrics["nDCG@10"].value < 1
    assert report.forgotten == {"sequential": {"far": None, "step": None}, other: {"half": -0.5, "step": 0.0}}
    assert "| after the last task | far | step | half |" in report.text
    study.methods += chosen("full:transfer.order=[half,far]")
    with pytest.raises(ConfigError, match="leaves out step, and a study asks every method for every task"):
        study.train(1, 0)


def test_a_cell_that_diverges_ends_none_of_the_others(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    right = {"far": (0, 0, 0, 0), "step": (0, 0, 0, 0), "half": (0, 0, 0, 0)}

    def run(arguments: list[str], folder: Path) -> None:
        method, seed = folder.name.rsplit("-s", 1)
        if method == "scratch":
            raise DivergedError(f"{folder.name}: the loss is nan")
        finish(study, method, int(seed), right, half=earlier(True, far=1.0, step=1.0))

    monkeypatch.setattr(cells, "run", run)
    study.train(1, float("inf"))
    assert study.diverged == ["scratch-s0: the loss is nan", "scratch-s1: the loss is nan"]
    assert study.missing() == ["scratch-s0", "scratch-s1"] and [*study.found()] == ["full", "sequential"]


def test_what_is_most_frequent_is_told_by_the_training_part(study: Study) -> None:
    for task in study.course.tasks:
        train, test = (list(task.parts[part].targets) for part in ("train", "test"))
        best = max(range(len(task.classes)), key=train.count)
        assert train.count(best) > max(train.count(other) for other in set(train) - {best}), "no tie at the top"
        table = study.free(task, PROTOCOL)["most frequent"]
        first = (table.cases["target_above"] == 0).to_list()
        assert first == [target == best for target in test]


def test_rows_without_a_network_tell_classes_by_the_items_met(study: Study) -> None:
    """Of three classes training shows two, each by items of its own."""
    some = Sequences.from_lists([[1, 2], [2, 1], [3, 4], [4, 3, 3]])
    parts = {part: Examples(some, np.array([0, 0, 2, 2]), np.arange(1, 5)) for part in ("train", "validation", "test")}
    task = Task("side", "label", ("left", "nowhere", "right"), parts, description="the side")
    study.course = replace(study.course, user_ids=np.array(["", "ann", "bob", "cid", "dan"], dtype=object))
    for name, forms in transfer_free.answers(task, 4):
        for form in forms:
            scores = form.score(Sequences.from_lists([[1], [4, 4], []]))
            assert scores.shape == (3, 4)
            best = scores[:, 1:].argmax(dim=1).tolist()
            assert best[:2] == ([0, 0] if name == "most frequent" else [0, 2]), name
            assert (scores[:, 2] < scores[:, [1, 3]].T).all(), "what training never shows comes last"
    found = study.free(task, PROTOCOL)
    hits = {name: (table.cases["target_above"] == 0).to_list() for name, table in found.items()}
    assert hits["naive Bayes"] == hits["logistic regression"] == [True] * 4


def test_costs_and_forgetting(report: transfer_report.Report) -> None:
    scratch = report.costs[0]
    assert (scratch.share, scratch.share_without_items, scratch.stored) == (0.5, 0.25, 1.5)
    assert (scratch.seconds, scratch.source_seconds) == (3 * 10.5, 0)
    assert report.forgotten == {
        "scratch": {"far": None, "step": None},
        "full": {"far": None, "step": None},
        "sequential": {"walk": pytest.approx(-0.375), "far": pytest.approx(-0.25), "step": 0.0},
    }


@pytest.mark.slow
def test_every_method_is_tested_against_full_and_scratch(report: transfer_report.Report) -> None:
    found = {(test.first, test.second): test for test in report.tests["step"]}
    assert set(found) == {("scratch", "full"), ("sequential", "full"), ("full", "scratch"), ("sequential", "scratch")}
    assert found["scratch", "full"].difference == (1.0, 1.0, 1.0) and found["scratch", "full"].verdict == "beats"
    assert found["full", "scratch"].verdict == "worse"
    other = transfer_report.Report(report.study, ["sequential", "peterrec"]).tests["step"]
    assert [(test.first, test.second) for test in other] == [("scratch", "sequential"), ("full", "sequential")]
    assert found["sequential", "scratch"].difference.value == -0.5


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_a_terminal(report: transfer_report.Report, width: int) -> None:
    shown = report.show(width)
    assert max(map(len, shown.splitlines())) <= width
    for words in (
        "most frequent",
        "same",
        "-.3750",
        ".5000 ±.3750",
        "+1.0000 beats",
        "Missing: full-s1.",
        "50 %",
        "1.50",
    ):
        assert words in shown


@pytest.mark.slow
def test_files_hold_rows_and_protocol_of_every_task(report: transfer_report.Report, tmp_path: Path) -> None:
    report.save(tmp_path / "results" / "transfer-small")
    folder = tmp_path / "results"
    saved = json.loads((folder / "transfer-small.json").read_text(encoding="utf-8"))
    text = (folder / "transfer-small.md").read_text(encoding="utf-8")
    assert list(saved["groups"]) == ["far", "step", "half"]
    for group in saved["groups"].values():
        assert digest(group["protocol"]) in text
        values = {each["name"]: each["metrics"][group["metric"]]["value"] for each in group["rows"]}
        assert (values["scratch"], values["full"]) == (1.0, pytest.approx(0, abs=0.4))
    assert saved["forgotten"]["sequential"]["walk"] == pytest.approx(-0.375)
    assert (folder / "transfer-small.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_finished_cell_only_what_is_missing_is_told(study: Study, tmp_path: Path) -> None:
    empty = transfer_report.Report(study, ("full", "scratch"))
    assert empty.show(80).startswith("Missing: scratch-s0, scratch-s1, full-s0")
    empty.save(tmp_path / "nothing")
    assert not list(tmp_path.glob("nothing*"))


def test_cells_that_share_a_pre_training_wait_for_the_one_that_makes_it(study: Study) -> None:
    """Also where options of a run of its own ask for another pre-training, or for another order alone."""
    deep = ["full:head.num_layers=4", "peterrec:head.num_layers=4", "full:transfer.order=[half,step,far]"]
    deep += [f"full:head.num_layers=8:transfer.stacking={way}" for way in ("adjacent", "cross")]
    asked = ("scratch", "full", "head_only", "peterrec", "clue", "clue:tuning=full", "clue:views=dropout", *deep)
    wide = Study(FLAGS, chosen(*asked), (0, 1))
    wide.course = course()
    waves = wide._waves()
    first = ["scratch", "full", "clue", "clue:views=dropout", deep[0]]
    rest = ["head_only", "peterrec", "clue:tuning=full", *deep[1:]]
    assert [[(each.label, seed) for each, seed in wave] for wave in waves] == [
        [(label, seed) for label in wave] for seed in (0, 1) for wave in (first, rest)
    ], "all methods of a seed before the next"
    folders = {study.folder(each, seed) for wave in waves for each, seed in wave}
    assert len(folders) == 24 and Path("runs/transfer/ml-100k/clue_tuning_full-s1") in folders


def test_cells_of_another_trunk_or_of_other_options_are_kept_apart(tmp_path: Path) -> None:
    usual = ["--data", "ml-1m", "--tasks", "configs/tasks/ml-1m"]
    trunk = tmp_path / "other.yaml"
    trunk.write_text("head: sasrec\n", encoding="utf-8")
    asked = [usual, [*usual, "training.epochs=2"], [*usual, "--config", str(trunk)], [*usual[:3], "configs/tasks/mine"]]
    variants = [transfer.variant(transfer.parser().parse_args(words)) for words in asked]
    assert variants[0] == "" and len(set(variants)) == 4
    apart = Study(FLAGS, chosen("full"), (0,), variants[1])
    assert apart.kept.name == apart.folder(chosen("full")[0], 0).parent.name == f"ml-100k-{variants[1]}"


def test_a_finished_cell_of_other_options_is_refused(study: Study) -> None:
    finish(study, "scratch", 0, {"far": (0, 0, 0, 0)})
    place = study.folder(study.methods[0], 0)
    wanted = read_json(place / "config.json")
    write_json(place / "config.json", wanted | {"embedding_dim": 99})
    with pytest.raises(RunError, match="embedding_dim: 99 trained, 16 asked for"):
        study.train(1, 0)
    write_json(place / "config.json", wanted)
    study.train(1, 0)
    shutil.rmtree(place)
    assert study.found()["scratch"][0].seed == 0, "kept without its run"
    kept = Path("eval/results/transfer/ml-100k/scratch-s0.json")
    facts = read_json(kept)
    write_json(kept, facts | {"config": facts["config"] | {"embedding_dim": 99}})
    with pytest.raises(RunError, match="embedding_dim: 99 trained, 16 asked for"):
        study.train(1, 0)


@pytest.mark.slow
def test_cells_of_other_task_files_are_refused(report: transfer_report.Report) -> None:
    report.study.course = course(1)
    with pytest.raises(RunError, match="5 finished cells are of other data or task files, such as scratch seed 0"):
        report.show()


def test_cells_that_were_measured_differently_are_refused(study: Study) -> None:
    finish(study, "scratch", 0, {"far": (0, 0, 0, 0), "step": (0, 0, 0, 0), "half": (0, 0, 0, 0)})
    finish(study, "scratch", 1, {"far": (0, 0, 0, 0), "step": (0, 0, 0, 0), "half": (0, 0, 0, 0)})
    path = study.folder(study.methods[0], 1) / "tasks" / "01-step" / "test" / "protocol.json"
    write_json(path, {**PROTOCOL.model_dump(), "targets": "step", "data_hash": "another"})
    with pytest.raises(ProtocolError, match=r"scratch-s1 and kept cells .*data_hash"):
        study.train(1, 0)
    assert [cell.seed for cell in study.found()["scratch"]] == [0], "half of a cell is none"


def test_unknown_methods_and_options_are_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no transfer 'peterec'; did you mean 'peterrec'"):
        Chosen.parse("peterec")
    with pytest.raises(ConfigError, match="has no option 'tunning'; did you mean 'tuning'"):
        Chosen.parse("clue:tunning=full")
    with pytest.raises(ConfigError, match="not of the form"):
        Chosen.parse("clue:full")
    assert transfer.main(["--tasks", "nowhere", "--methods", "conurre"]) == 2
    assert transfer.main(["--tasks", "nowhere", "--methods", "conure", "--rivals", "conurre"]) == 2
    assert "--rivals 'conurre' is none of --methods; did you mean 'conure'" in capsys.readouterr().err


@pytest.mark.slow
def test_help_comes_without_torch() -> None:
    code = "import sys; from eval.transfer import parser; print(parser().format_help()); print('torch' in sys.modules)"
    done = execute(str(BIN / "python"), "-c", code)
    assert done.stdout.splitlines()[-1] == "False" and "python -m eval.transfer --data ml-1m" in done.stdout


@pytest.mark.slow
def test_the_command_trains_what_is_missing_and_goes_on(toy_folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "0_peace.yaml").write_text("kind: source\nwithout_genres: [War]\n", encoding="utf-8")
    (tasks / "1_war.yaml").write_text("kind: items\ngenres: [War]\n", encoding="utf-8")
    flags = ["--data", "toy", "--data-dir", str(toy_folder), "--tasks", str(tasks), "--seeds", "1", "--jobs", "2"]
    flags += ["--methods", "full", "sequential", "clue:projector=mlp"]
    quick = [*QUICK, "training.epochs=1", "transfer.training.epochs=1"]

    assert transfer.main([*quick, *flags, "--minutes", "0"]) == 0
    assert capsys.readouterr().out.startswith("Missing: full-s0, sequential-s0, clue_projector_mlp-s0.")
    flags += ["--rivals", "full", "naive Bayes", "logistic regression"]
    assert transfer.main([*quick, *flags, "--save", "toy", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    tests = {(each["first"], each["second"]) for each in told["groups"]["war"]["paired_tests"]}
    assert {second for _, second in tests} == {"full", "naive Bayes"}, "the linear model tells labels alone"
    assert ("full", "naive Bayes") in tests and len(tests) == 2 + 3
    assert [each["name"] for each in told["costs"]] == ["full", "sequential", "clue:projector=mlp"]
    names = ["chance", "most frequent", "naive Bayes", "full", "sequential", "clue:projector=mlp"]
    assert [each["name"] for each in told["groups"]["war"]["rows"]] == names
    assert all(0 < each["metrics"]["nDCG@10"]["value"] <= 1 for each in told["groups"]["war"]["rows"])
    assert told["missing"] == [] and told["forgotten"]["full"] == {} and "peace" in told["forgotten"]["sequential"]
    sources = list((tmp_path / "runs" / "transfer").glob("toy-*/source-*"))
    assert len(sources) == 2, "next items for two methods, contrast for the third"
    assert (tmp_path / "eval" / "results" / "transfer-toy.md").is_file()

    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/transfer/toy-*/*/results.json")}
    assert len(finished) == 3
    assert transfer.main([*quick, *flags]) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items()), "finished cells are kept"
    assert "after the last task" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "runs")
    assert transfer.main([*quick, *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told, "kept without their runs"
    assert transfer.main([*quick, "embedding_dim=8", *flags, "--minutes", "0"]) == 0
    assert capsys.readouterr().out.startswith("Missing: full-s0"), "those of other options are other cells"


@pytest.mark.slow
@pytest.mark.skipif(not ML_100K.is_dir(), reason="../shared/data/ml-100k is missing")
def test_all_methods_on_movielens_100k(tmp_path: Path, monkeypatch, capsys, cells_here) -> None:
    """Quickly trained, so what it shows is what holds whatever was learned: what each remembers, and what it costs."""
    tasks = Path("configs/tasks/ml-100k").absolute()
    config = Path("configs/peterrec.yaml").absolute()
    monkeypatch.chdir(tmp_path)
    quick = ["training.epochs=1", "transfer.training.epochs=1", "embedding_dim=32", "max_seq_len=20"]
    flags = ["--data-dir", str(ML_100K), "--tasks", str(tasks), "--config", str(config)]
    assert transfer.main([*quick, *flags, "--seeds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["missing"] == [] and set(told["forgotten"]) == set(transfer.METHODS)
    for method, changes in told["forgotten"].items():
        assert (method == "sequential") == any(change is not None for change in changes.values()), method
    costs = {each["name"]: each for each in told["costs"]}
    assert costs["peterrec"]["share"] < 0.2 < costs["full"]["share"] == 1.0
    assert costs["conure"]["stored"] < 2 < 5 < costs["full"]["stored"]
    for name, group in told["groups"].items():
        assert all(row["n"] > 80 for row in group["rows"]), name
    romance = {row["name"]: row["metrics"]["nDCG@10"]["value"] for row in told["groups"]["romance"]["rows"]}
    assert min(romance[method] for method in ("full", "peterrec")) > romance["chance"]
