"""The study of platforms that share nothing but language: methods as flags, verdicts, the command on two logs."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny_models
from conftest import toy_tables, write_recbole
from small_runs import QUICK
from tables import counted

from eval import cells, domain_cells, domain_checks, domain_methods, domain_report, domains, transfer, transfer_plot
from eval.domain_cells import Recipe, Study
from eval.domain_methods import RATES
from eval.domains import EPOCHS
from llmrec import config, train
from llmrec.errors import ConfigError, RunError
from llmrec.runs import RunTable
from llmrec.sources import load_dataset

USERS = [f"u{number}" for number in range(40)]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    return Study("here", "there", "minilm-l6", "sasrec", "frozen", Recipe((20, 5)), 0.0)


def test_a_method_is_what_a_run_begins_with_and_what_of_it_learns(study: Study) -> None:
    begins = ["--init", "runs/study/source-here-minilm-l6-sasrec-frozen-20-epochs-s1"]
    frozen = ["--model", "minilm-l6", "--tuning", "frozen", *begins]
    assert study.flags("scratch", 1) == ["--model", "minilm-l6", "--tuning", "full"]
    assert study.flags("scratch_frozen", 1) == ["--model", "minilm-l6", "--tuning", "frozen"]
    assert study.flags("zero_shot", 1) == [*frozen, "training.epochs=0"]
    assert study.flags("head_only", 1) == [*frozen, "training.learns=projection"]
    assert study.flags("frozen", 1) == frozen
    assert study.flags("lora", 1)[2:] == ["--tuning", "lora", *begins]
    learned = replace(study, source_tuning="full").flags("frozen", 0)
    assert learned[1] == "runs/study/source-here-minilm-l6-sasrec-full-20-epochs-s0/language_model"
    assert "features.pooling=cls" in replace(study, source_tuning="full", model="bge-base").flags("frozen", 0)
    described = replace(study, source="configs/mine.yaml", target="/data/shop.yml")
    assert described.kept.folder == domain_cells.KEPT / "mine-to-shop-minilm-l6-sasrec"
    assert described.flags("frozen", 0)[-1] == "runs/study/source-mine-minilm-l6-sasrec-frozen-20-epochs-s0"


def test_runs_of_another_recipe_are_kept_apart(study: Study) -> None:
    """Neither their sources nor their cells may stand for each other."""
    recipes = [Recipe((20, 5)), Recipe((30, 5)), Recipe((20, 5), ("max_seq_len=9",))]
    studies = [replace(study, recipe=recipe) for recipe in recipes]
    assert len({each.kept.folder for each in studies}) == len({each._origin(0) for each in studies}) == 3
    titles = [each.title.removeprefix("here to there, minilm-l6, sasrec") for each in studies]
    assert titles == ["", ", 30 and 5 epochs", ", 20 and 5 epochs, max_seq_len=9"]


@pytest.mark.parametrize(
    ("changes", "methods", "message"),
    [
        ({"source_tuning": "houlsby"}, ["frozen"], "--source-tuning: what houlsby learns stands beside"),
        ({"head": "gru4rec"}, ["zero_shot", "houlsby"], "GRU4Rec has no block that takes adapters"),
        ({"recipe": Recipe((1, 1), ("head.layers=2",))}, ["zero_shot"], "has no option 'layers'"),
        ({"head": "dssm_id"}, ["zero_shot"], "tables of users or of items that began as texts fit no other run"),
        ({}, ["huolsby"], "no method 'huolsby'; did you mean 'houlsby'"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is(study: Study, changes, methods, message) -> None:
    with pytest.raises(ConfigError, match=message):
        domain_checks.check(replace(study, **changes), methods, range(1), load_dataset)


def test_numbers_of_users_say_that_all_is_one(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        transfer.main(["--source", "here", "--target", "there", "--users", "ten"])
    assert "must be a whole number from 1 on, came 'ten'; 'all' is allowed too" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "heer"], "no data set 'heer'"),
        (["--target", "there", "theer"], "no data set 'theer'"),
        (["--target", "there", "--users", "20", "4000"], "training.users: came 4,000, but a next item is to be"),
        (["--target", "there", "--model", "minilm-l7"], "no model 'minilm-l7'"),
        (["seed=1"], "seed=1: this study sets seed itself; take --seeds"),
        (["training.learning_rate=0.5"], "all methods are tried with the same rates; leave it out"),
        (["training={learning_rate: 0.5}"], "this study sets training.init_from itself"),
        (["tuning.name=lora"], "tuning.name=lora: this study sets tuning itself; take --methods"),
        (["encoder.gain=0.5"], "encoder.gain=0.5: this study has values of its own for encoder.gain; leave it out"),
    ],
)
def test_a_slip_is_found_before_anything_is_trained(words, message, tmp_path: Path, monkeypatch, capsys) -> None:
    """A cell may take an hour: that of the second target is not begun to find out that there is no third."""
    monkeypatch.chdir(tmp_path)
    model = str(tiny_models.folder("llama"))
    for name in ("here", "there"):
        write_recbole(tmp_path / "logs" / name, name, *toy_tables())
    flags = ["--data-dir", str(tmp_path / "logs"), "--source", "here", "--target", "there", "--model", model]
    assert transfer.main([*flags, "--methods", "scratch_frozen", "zero_shot", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()


def test_cells_of_a_source_that_was_trained_anew_do_not_stand_beside_the_old_ones(study: Study, tmp_path: Path) -> None:
    weights = tmp_path / "runs/study/source-here-minilm-l6-sasrec-frozen-20-epochs-s0/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"some")
    table = counted([("ann", 0, 0)], seed=0)
    table.provenance["source"] = study._same_source(0)
    study.kept.save("frozen-s0", table, seed=0)
    assert study._same_source(0) == table.provenance["source"]
    weights.write_bytes(b"others")
    with pytest.raises(
        RunError, match="frozen-s0 began with other weights of source-here-minilm-l6-sasrec-frozen-20-epochs than"
    ):
        study._same_source(0)


def test_every_method_is_tried_with_the_same_rates_and_own_weights_more_slowly() -> None:
    assert list(domain_methods.settings("zero_shot")) == [{}]
    for method in ("head_only", "frozen"):
        assert list(domain_methods.settings(method)) == [{"training.learning_rate": rate} for rate in RATES]
    for method, rates in (("lora", RATES.keys()), ("full", RATES.values())):
        assert [setting["tuning.learning_rate"] for setting in domain_methods.settings(method)] == list(rates)
    fast_and_slow = [
        {"training.learning_rate": fast, "tuning.learning_rate": slow, **start}
        for fast, slow in RATES.items()
        for start in ({}, {"encoder.gain": domain_methods.GAIN})
    ]
    assert list(domain_methods.settings("scratch")) == fast_and_slow, "what is all new may begin in two ways"
    assert len(list(domain_methods.settings("scratch_frozen"))) == len(fast_and_slow)
    with pytest.raises(ConfigError, match="no method 'huolsby'"):
        list(domain_methods.settings("huolsby"))


def row(*places: int, **facts: object) -> cells.Chosen:
    """A method whose targets stand so, over 40 users."""
    table = counted([(user, place, 0) for user, place in zip(USERS, places, strict=True)], seed=0)
    costs = {
        "trainable_parameters": 10,
        "parameters": 1000,
        "stored_bytes": 40,
        "peak_memory_bytes": 1e9,
        "best_epoch": 2,
    }
    table.provenance.update({**costs, "seconds": {"train": 5.0}, **facts})
    cell = cells.Cell({"training.learning_rate": 0.1}, 0, 0.5, table)
    return cells.Chosen([cell], [cell])


def test_verdicts_follow_from_the_interval_and_the_margin(study: Study) -> None:
    full = row(*[0] * 40)
    chosen = {
        "full": full,
        "scratch": row(*[1] * 40),
        "frozen": row(*[0] * 40),
        "lora": row(*[0] * 39, 1),
        "houlsby": row(*[0] * 36, 1, 1, 1, 1),
    }
    found = domain_report.Report(study, chosen)
    verdicts = {name: found.nearness(name) for name in chosen}
    assert verdicts["full"] is None
    assert {name: each.verdict for name, each in verdicts.items() if each} == {
        "scratch": "inferior",
        "frozen": "non-inferior",
        "lora": "undecided",
        "houlsby": "undecided",
    }
    lora = verdicts["lora"]
    assert lora is not None and lora.margin == pytest.approx(0.02)
    assert lora.difference.value == pytest.approx(-(1 - 0.6309298) / 40)
    assert lora.width == pytest.approx(lora.difference.high - lora.difference.low)
    assert "non-inferior" in found.text and "1 %" in found.text
    assert "houlsby training.learning_rate 0.1" in found.text and "Diverged" not in found.text
    lost = replace(full, diverged=[{"training.learning_rate": 0.2}])
    assert (
        "- Diverged, so not to be chosen: full training.learning_rate 0.2.\n"
        in domain_report.Report(study, chosen | {"full": lost}).text
    )
    assert "Still rising" not in found.text and "same users" not in found.text
    of_few = domain_report.Report(replace(study, users=10), chosen | {"lora": row(*[0] * 40, best_epoch=EPOCHS)})
    assert "(best at the last epoch allowed, some seed): lora." in of_few.text
    assert "All seeds learn from the same users" in of_few.text
    assert found.as_json()["costs"]["lora"]["share"] == 0.01
    for width in (80, 120):
        shown = found.show(width)
        assert max(map(len, shown.splitlines())) <= width and "…" not in shown


def test_a_source_without_a_target_and_flags_of_tasks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--source", "here"], "the following arguments are required: --target"),
        (["--source=here", "--target", "there", "--tasks", "x"], "unrecognized arguments: --tasks"),
    ):
        with pytest.raises(SystemExit) as ended:
            transfer.main(words)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_learning_curves_have_a_plot_of_their_own(study: Study, tmp_path: Path) -> None:
    chosen = {"scratch": row(*[1] * 40), "zero_shot": row(*[0] * 40, seconds={"train": 0.0})}
    few = domain_report.Report(replace(study, users=10), chosen)
    domain_report.save([few, domain_report.Report(study, chosen)], tmp_path / "out")
    assert (tmp_path / "out-curve.png").read_bytes().startswith(b"\x89PNG")
    groups = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["groups"]
    assert list(groups) == [
        "here to there, 10 users, minilm-l6, sasrec",
        "here to there, minilm-l6, sasrec",
    ]
    for alone in (few, domain_report.Report(study, chosen)):
        domain_report.save([alone], tmp_path / "alone")
        assert not (tmp_path / "alone-curve.png").exists(), "one point is no curve"


def test_no_two_methods_look_alike_in_a_plot() -> None:
    looks = transfer_plot._looks(map(str, range(20)))
    assert len({(int(each["color"][1:]) % 10, each["marker"]) for each in looks.values()}) == 20


@pytest.mark.slow
def test_the_command_trains_source_and_methods_and_keeps_what_it_found(
    tmp_path: Path, monkeypatch, capsys, cells_here
) -> None:
    monkeypatch.chdir(tmp_path)
    write_recbole(tmp_path / "logs" / "here", "here", *toy_tables())
    write_recbole(tmp_path / "logs" / "there", "there", *toy_tables(num_users=20, num_items=25, seed=1))
    model = str(tiny_models.folder("llama"))
    flags = ["--source", "here", "--target", "there", "--data-dir", str(tmp_path / "logs"), "--model", model]
    flags += ["--methods", "zero_shot", "head_only", "scratch_frozen", "--seeds", "1", "--jobs", "1", "--epochs", "2"]
    flags += ["--source-epochs", "3"]
    quick = [*QUICK, "training.batch_size=16", "training.warmup_steps=0"]
    flags += ["--output", str(tmp_path / "toys")]
    assert transfer.main([*quick, *flags, "--minutes", "0"]) == 0
    shown = capsys.readouterr().out
    assert "Missing: scratch_frozen, zero_shot, head_only." in shown
    assert "Without scratch or scratch_frozen nothing is told" in shown
    assert not (tmp_path / "toys.md").exists(), "nothing to tell yet"
    without = [word for word in flags if word != "scratch_frozen"]
    assert transfer.main([*quick, *without]) == 0
    assert "Without scratch" not in capsys.readouterr().out
    (group,) = json.loads((tmp_path / "toys.json").read_text(encoding="utf-8"))["groups"].values()
    assert set(group["costs"]) == {"zero_shot", "head_only", "scratch"}, "scratch stands beside, asked for or not"
    assert transfer.main([*quick, *flags, "--methods", "scratch", "scratch_frozen", "zero_shot", "head_only"]) == 0
    saved = json.loads((tmp_path / "toys.json").read_text(encoding="utf-8"))
    (group,) = saved["groups"].values()
    costs = group["costs"]
    assert set(costs) == {"zero_shot", "head_only", "scratch", "scratch_frozen"} and group["missing"] == []
    assert costs["zero_shot"]["learned"] == costs["zero_shot"]["stored_bytes"] == 0
    assert 0 < costs["head_only"]["share"] < costs["scratch_frozen"]["share"] < costs["scratch"]["share"] == 1
    assert costs["head_only"]["stored_bytes"] == 4 * costs["head_only"]["learned"]
    assert {"popularity", "tfidf", "cosine"} <= {each["name"] for each in group["rows"]}
    assert (tmp_path / "toys.png").read_bytes().startswith(b"\x89PNG")
    (source,) = (tmp_path / "runs" / "study").glob("source-*-s0/config.json")
    assert json.loads(source.read_text(encoding="utf-8"))["training"]["epochs"] == 3
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    assert transfer.main([*quick, *flags, "--minutes", "0"]) == 0
    shown = capsys.readouterr().out
    assert "Missing" not in shown, "kept without their runs"
    assert transfer.main([*quick, *flags, "--minutes", "0", "--seeds", "3"]) == 0
    more = capsys.readouterr().out
    assert "Missing: scratch_frozen (seed 1, 2), zero_shot (seed 1, 2), head_only (seed 1, 2)." in " ".join(
        more.split()
    )
    assert [line for line in shown.splitlines() if line not in more.splitlines()] == []
    write_recbole(tmp_path / "logs" / "there", "there", *toy_tables(num_users=20, num_items=25, seed=2))
    assert transfer.main([*quick, *flags, "--minutes", "0"]) == 2
    assert "holds cells of other data than there is now" in capsys.readouterr().err


@pytest.mark.slow
def test_a_language_model_that_learned_on_the_source_is_that_of_the_target(
    tmp_path: Path, monkeypatch, capsys, cells_here
) -> None:
    monkeypatch.chdir(tmp_path)
    write_recbole(tmp_path / "logs" / "here", "here", *toy_tables())
    model = str(tiny_models.folder("llama"))
    recipe = Recipe((1, 1), (*QUICK, "training.warmup_steps=0"))
    place = ("--data-dir", str(tmp_path / "logs"))
    study = Study("here", "here", model, "sasrec", "full", recipe, float("inf"), None, place)
    found = study.cell("zero_shot", {}, 0)
    source = RunTable.load(study._origin(0) / "test").cases
    assert found.table.cases["target_above"].to_list() == source["target_above"].to_list()
    assert found.table.provenance["stored_bytes"] == 0


def test_all_users_of_a_target_are_a_size_among_others() -> None:
    words = ["--source", "here", "--target", "there"]
    assert domains.parser().parse_args(words).users == [None]
    assert domains.parser().parse_args([*words, "--users", "10", "all"]).users == [10, None]
    with pytest.raises(SystemExit):
        domains.parser().parse_args([*words, "--users", "0"])


def test_a_target_is_read_as_its_source_is_whatever_its_own_reading_would_be(study: Study) -> None:
    for source, target in (("ml-1m", "amazon-office"), ("amazon-office", "ml-1m"), ("amazon-office", "amazon-office")):
        between = replace(study, source=source, target=target)
        read = {
            (options.max_seq_len, options.features.prompt) for options in map(partial(asked, between), (source, target))
        }
        assert len(read) == 1
        assert (asked(between, target).split["name"] == "given") == (target == "amazon-office")


def asked(study: Study, data: str) -> config.RunConfig:
    return train.options_of(study._flags(data, 1))[0]


def test_how_a_model_that_learned_is_pooled_is_what_the_source_says(study: Study) -> None:
    own = replace(study, model="bge-base", source_tuning="full")
    told = replace(own, recipe=Recipe((20, 5), ("features.pooling=mean",)))
    assert "features.pooling=cls" in own.flags("frozen", 0)
    assert not any(flag.startswith("features.pooling") for flag in told.flags("frozen", 0))


def test_a_source_is_trained_once_for_any_number_of_epochs_on_the_target(study: Study) -> None:
    def source(*recipe: object) -> str:
        return replace(study, recipe=Recipe(*recipe))._source  # type: ignore[arg-type]

    assert source((20, 5)) == source((20, 50)) != source((10, 5))
    assert source((20, 5), ("seed=1",)) not in (source((20, 5)), source((20, 5), ("seed=2",)))
