"""The cells of a study: which setting is chosen, what is trained, and what a failed cell says."""

from pathlib import Path

import pytest
from small_runs import QUICK
from tables import counted

from eval import cells, strong, transfer
from llmrec import config
from llmrec.errors import ConfigError, DivergedError, RunError


def trainer(worth: dict[float, float], done: list[tuple[float, int]]) -> cells.Train:
    def train(setting: cells.Setting, seed: int) -> cells.Cell:
        done.append((setting["lr"], seed))
        return cells.Cell(setting, seed, worth[setting["lr"]], counted([("ann", seed, 0)]))

    return train


@pytest.mark.parametrize("jobs", [1, 4])
def test_the_best_setting_on_validation_alone_is_trained_with_the_other_seeds(jobs: int):
    done: list[tuple[float, int]] = []
    systems = {"a": cells.System(trainer({0.1: 0.5, 0.2: 0.7, 0.3: 0.6}, done), [{"lr": lr} for lr in (0.1, 0.2, 0.3)])}
    chosen = cells.choose(systems, jobs)["a"]
    assert sorted(done) == [(0.1, 0), (0.2, 0), (0.2, 1), (0.2, 2), (0.3, 0)]
    assert chosen.setting == {"lr": 0.2} and [cell.seed for cell in chosen.runs] == [0, 1, 2]
    lines = cells.tried_table({"a": chosen}).splitlines()
    assert lines[2:] == ["| a | lr 0.1 | 0.5000 |", "| a | lr 0.2 | **0.7000** |", "| a | lr 0.3 | 0.6000 |"]


def diverging(*rates: float) -> cells.System:
    """Settings of three learning rates, of which some diverge, the best on validation else last."""

    def train(setting: cells.Setting, seed: int) -> cells.Cell:
        if setting["lr"] in rates:
            raise DivergedError(f"lr {setting['lr']}")
        return cells.Cell(setting, seed, setting["lr"], counted([("ann", seed, 0)]))

    return cells.System(train, [{"lr": lr} for lr in (0.1, 0.2, 0.3)])


def test_a_setting_that_diverges_is_not_chosen_and_is_told():
    chosen = cells.choose({"a": diverging(0.3, 0.1)})["a"]
    assert chosen.setting == {"lr": 0.2} and chosen.diverged == [{"lr": 0.1}, {"lr": 0.3}] and len(chosen.runs) == 3
    lines = cells.tried_table({"a": chosen}).splitlines()
    assert lines[2:] == ["| a | lr 0.2 | **0.2000** |", "| a | lr 0.1 | diverged |", "| a | lr 0.3 | diverged |"]
    with pytest.raises(DivergedError, match=r"a diverged with each of its settings: lr 0\.1; lr 0\.2; lr 0\.3"):
        cells.choose({"a": diverging(0.1, 0.2, 0.3)})


def test_a_seed_that_diverges_is_missing_and_told():
    def train(setting: cells.Setting, seed: int) -> cells.Cell:
        if seed == 1:
            raise DivergedError("the loss is nan")
        return cells.Cell(setting, seed, 0.5, counted([("ann", seed, 0)]))

    chosen = cells.choose({"a": cells.System(train, [{"lr": 0.1}])})["a"]
    assert [cell.seed for cell in chosen.runs] == [0, 2] and chosen.diverged == [{"lr": 0.1, "seed": 1}]
    assert "| a | lr 0.1, seed 1 | diverged |" in cells.tried_table({"a": chosen})


def test_every_setting_has_a_folder_of_its_own():
    names = [cells.named(setting) for study in strong.STUDIES.values() for setting in ({}, *study.others)]
    assert names[0] == "" and len(set(names)) == len({str(s) for t in strong.STUDIES.values() for s in ({}, *t.others)})
    assert all("/" not in name for name in names)


@pytest.mark.parametrize("name", strong.STUDIES)
def test_every_strong_study_has_its_config(name: str):
    assert (strong.CONFIGS / f"{name}.yaml").is_file()


@pytest.mark.slow
def test_a_cell_is_trained_once_and_a_failed_one_tells_its_reason(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cells, "STUDY", tmp_path / "study")
    train = cells.trained("small", "--data", "toy", "--data-dir", str(toy_folder), "--epochs", "1", *QUICK)
    first = train({"head.dropout": 0.1}, 3)
    assert first.folder == tmp_path / "study" / "small-dropout_0.1-s3" and first.table.provenance["seed"] == 3
    written = (first.folder / "metrics.json").stat().st_mtime_ns
    assert train({"head.dropout": 0.1}, 3).validation == first.validation
    assert (first.folder / "metrics.json").stat().st_mtime_ns == written
    assert "popularity" in cells.baselines(cells.Chosen([first], [first]))
    other = cells.trained("small", "--data", "toy", "--data-dir", str(toy_folder), "--epochs", "2", *QUICK)
    with pytest.raises(RunError, match=r"trained with other options \(training: .*delete it to train it again"):
        other({"head.dropout": 0.1}, 3)
    with pytest.raises(RunError, match=r"ended with exit code 2 \(its log: .*\): error: .*dropouts"):
        train({"head.dropouts": 0.1}, 3)
    with pytest.raises(DivergedError, match=r"ended with exit code 3 .*: error: the loss is (nan|inf) in step \d+"):
        train({"training.learning_rate": 1e30}, 3)
    nowhere = cells.trained("small", "--data", "nowhere", "--data-dir", str(tmp_path), *QUICK)
    with pytest.raises(RunError, match=r"(?s)error: no data set .*\n.*\n"):
        nowhere({}, 3)
    (tmp_path / "killed.log").write_text("error: of an earlier attempt\n", encoding="utf-8")
    with monkeypatch.context() as patch, pytest.raises(RunError, match=r"killed.log\): Killed in the middle$"):
        patch.setattr(cells.train, "__file__", str(tmp_path / "script.py"))
        (tmp_path / "script.py").write_text("raise SystemExit('Killed in the middle')", encoding="utf-8")
        cells.run([], tmp_path / "killed")


@pytest.mark.parametrize("word", ["seed=1", "output=here", "head.dropout=0.5", "head={dropout: 0.5}"])
def test_an_option_that_the_study_sets_itself_is_refused_and_not_lost(word: str):
    with pytest.raises(ConfigError, match=f"{word}: this study has values of its own for .*; leave it out"):
        cells.trained("small", "--data", "toy", word)({"head.dropout": 0.1}, 3)


def test_options_that_only_one_of_two_cells_has_are_named():
    plain = config.load(None, [], {}).resolved().model_dump(mode="json")
    seen = config.load(None, [], {"images": "resnet-18"}).resolved().model_dump(mode="json")
    for saved, asked in ((plain, seen), (seen, plain)):
        with pytest.raises(RunError, match="images: "):
            cells.require_equal("a cell", saved, asked, apart_from=("output",))
    cells.require_equal("a cell", seen, seen, apart_from=())


@pytest.mark.parametrize("flag", ["--jobs", "--seeds"])
def test_what_is_no_number_from_one_on_is_refused(flag: str, capsys: pytest.CaptureFixture[str]):
    for came in ("0", "-2", "ten", "1.5"):
        with pytest.raises(SystemExit, match="2"):
            strong.main(["ml-100k", flag, came])
        assert f"must be a whole number from 1 on, came '{came}'" in capsys.readouterr().err


def test_options_may_follow_a_flag_of_several_words():
    words = ["--data", "toy", "--tasks", "t", "--methods", "full", "clue:tuning=full", "training.epochs=2", "seed=3"]
    found = cells.parsed(transfer.parser(), words)
    assert (found.overrides, found.methods) == (["training.epochs=2", "seed=3"], ["full", "clue:tuning=full"])
    assert cells.parsed(transfer.parser(), ["--tasks", "t=1/x"]).tasks == Path("t=1/x")
