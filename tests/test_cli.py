"""``llmrec`` as a user meets it: what comes back, on which stream, and what a mistake is told."""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from conftest import toy_tables, write_recbole
from small_runs import BIN, ROOT, Answer, arguments, execute, metrics

from llmrec import cli, train
from llmrec.errors import DataError
from llmrec.recommender import Recommender


@pytest.fixture
def llmrec(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs ``llmrec`` in this process, where nobody sits at a terminal."""
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def call(*words: str) -> Answer:
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def run(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs, beside nothing else."""
    folder = tmp_path_factory.mktemp("runs") / "toy-run"
    assert train.main(arguments(toy_folder, folder, "--epochs", "2")) == 0
    return folder


# llmrec evaluate


@pytest.mark.slow
def test_evaluate_finds_every_number_again_from_the_tables(run: Path, llmrec) -> None:
    answer = llmrec("evaluate", run, "--json")
    assert answer.code == 0
    again = json.loads(answer.out)
    for part in ("validation", "test"):
        for name, fields in metrics(run)[part].items():
            assert again[part][name] == pytest.approx(fields, abs=1e-9)
    assert float(answer.err.split(":")[1]) <= 1e-9
    answer = llmrec("evaluate", run)
    assert re.search(rf"^HR@10 +{metrics(run)['test']['HR@10']['value']:.4f} \[.*\]  n 40$", answer.out, re.MULTILINE)


def add(number: float, *place: str) -> Callable[[dict], None]:
    """Adds to the number in that place of metrics.json."""

    def change(content: dict) -> None:
        *path, last = place
        for step in path:
            content = content[step]
        content[last] += number

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(add(2e-9, "test", "nDCG@10", "value"), id="a little"),
        pytest.param(add(-0.1, "validation", "HR@10", "low"), id="an interval"),
        pytest.param(add(1, "test", "HR@10", "n"), id="users"),
        pytest.param(add(float("nan"), "test", "MRR@10", "value"), id="no number"),
        pytest.param(lambda content: content["test"].pop("HR@10"), id="a metric gone"),
        pytest.param(lambda content: content.pop("validation"), id="a part gone"),
        pytest.param(lambda content: content["test"].update({"HR@5": {"value": 1.0}}), id="a metric too many"),
        pytest.param(lambda content: content["protocol"].update(mask_history=False), id="the protocol"),
    ],
)
def test_evaluate_ends_with_1_if_metrics_json_was_tampered_with(
    run: Path, tmp_path: Path, llmrec, change: Callable[[dict], None]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    content = metrics(copy)
    (copy / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    assert llmrec("evaluate", copy).code == 0  # written anew, but unchanged
    change(content)
    (copy / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    assert llmrec("evaluate", copy).code == 1


def test_evaluate_of_a_damaged_run_ends_with_2(run: Path, tmp_path: Path, llmrec) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "test" / "cases.parquet").unlink()
    answer = llmrec("evaluate", copy)
    assert answer.code == 2
    assert "cases.parquet is missing or damaged" in answer.err


# llmrec recommend


def test_recommend_takes_titles_and_ids_and_leaves_out_what_was_seen(run: Path, llmrec) -> None:
    answer = llmrec("recommend", "--run", run, "--history", "Film 3 (1953)|i5", "-k", 3)
    assert answer.code == 0
    expected = Recommender.load(run).recommend([["i3", "i5"]], k=3)
    head, *lines = answer.out.splitlines()
    assert head == "after Film 3 (1953) | Film 5 (1955)"
    assert [re.search(r"\[(.*)\]$", line)[1] for line in lines] == expected["item_id"].to_list()
    for line, row in zip(lines, expected.iter_rows(named=True), strict=True):
        number = int(row["item_id"][1:])
        assert line.split() == [
            str(row["rank"]),
            f"{row['score']:.3f}",
            "Film",
            str(number),
            f"({1950 + number})",
            f"[i{number}]",
        ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--history", ""], "--history names no item; give titles or ids with | between them"),
        (["--history", " | "], "--history names no item"),
        (["--history", "i3", "--candidates", ""], "--candidates names no item"),
        (["--history", "i3", "--candidates", "i3"], "every candidate stands in the history; --include-seen ranks"),
    ],
)
def test_an_empty_list_is_no_question(run: Path, llmrec, words: list[str], said: str) -> None:
    answer = llmrec("recommend", "--run", run, *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


@pytest.mark.slow
def test_a_head_with_a_table_of_users_is_told_whose_history_it_is(toy_folder: Path, tmp_path: Path, llmrec) -> None:
    assert train.main(arguments(toy_folder, tmp_path / "run", "--epochs", "1", "--head", "dssm_id")) == 0
    ask = ["recommend", "--run", tmp_path / "run", "--history", "i3", "-k", 2]
    assert llmrec(*ask, "--user", "u7").code == 0
    assert "say whose histories these are" in llmrec(*ask).err
    assert "1 of 1 users were not in the training log" in llmrec(*ask, "--user", "nobody").err


def test_a_name_is_refused_where_it_would_change_nothing(run: Path, llmrec) -> None:
    answer = llmrec("recommend", "--run", run, "--history", "i3", "--user", "u7")
    assert (answer.code, answer.out) == (2, "")
    assert f"error: --user u7: {run} knows nobody by name" in answer.err


def test_recommend_prints_the_table_as_json(run: Path, llmrec) -> None:
    """F17: the user's own ids come back, not internal numbers."""
    answer = llmrec("recommend", "--run", run, "--history", "i3 | i5", "-k", 3, "--json")
    assert json.loads(answer.out) == Recommender.load(run).recommend([["i3", "i5"]], k=3).to_dicts()
    assert list(json.loads(answer.out)[0]) == ["case_id", "user_id", "item_id", "score", "rank"]


def test_a_title_may_be_written_in_other_letters(run: Path, llmrec) -> None:
    first = llmrec("recommend", "--run", run, "--history", "fILM 3 (1953)", "--json")
    assert first.code == 0
    assert first.out == llmrec("recommend", "--run", run, "--history", "i3", "--json").out


def test_the_year_of_a_title_may_be_left_out(run: Path, llmrec) -> None:
    answer = llmrec("recommend", "--run", run, "--history", "film 12", "--json")
    assert answer.code == 0
    assert answer.out == llmrec("recommend", "--run", run, "--history", "i12", "--json").out


def test_what_was_seen_comes_back_only_if_asked_for(run: Path, llmrec) -> None:
    def items(*more: str) -> set[str]:
        out = llmrec("recommend", "--run", run, "--history", "i3|i5", "-k", 30, "--json", *more).out
        return {row["item_id"] for row in json.loads(out)}

    every = {f"i{item}" for item in range(30)}
    assert items() == every - {"i3", "i5"}
    assert items("--include-seen") == every
    assert items("--candidates", "Film 9 (1959)|i5|i7") == {"i9", "i7"}
    assert items("--candidates", "Film 9 (1959)|i5|i7", "--include-seen") == {"i9", "i5", "i7"}


def test_an_unclear_title_ends_with_2_and_lists_what_is_near(run: Path, llmrec) -> None:
    answer = llmrec("recommend", "--run", run, "--history", "Film 12 (1972)")
    assert answer.code == 2
    assert answer.out == ""
    assert "'Film 12 (1972)' is not clear; near are: " in answer.err
    assert "Film 12 (1962) [i12]" in answer.err
    assert answer.err.count("; ") == 1 + 4  # five titles
    answer = llmrec("recommend", "--run", run, "--history", "Q")
    assert answer.code == 2
    assert "no item is called anything like 'Q'" in answer.err


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    """A terminal with somebody who has typed one line already."""
    master, slave = os.openpty()
    with os.fdopen(slave, "r", encoding="utf-8") as stdin, os.fdopen(master, "w", encoding="utf-8") as keys:
        monkeypatch.setattr("sys.stdin", stdin)

        def type_in(line: str) -> None:
            keys.write(line)
            keys.flush()

        yield type_in


def test_at_a_terminal_an_unclear_title_is_asked_for(run: Path, llmrec, terminal) -> None:
    terminal("2\n")
    answer = llmrec("recommend", "--run", run, "--history", "Film 12 (1972)|i5", "--json")
    assert answer.code == 0
    near = re.findall(r"^  (\d)  Film .* \[(i\d+)\]$", answer.err, re.MULTILINE)
    assert [number for number, _ in near] == ["1", "2", "3", "4", "5"]
    assert answer.err.startswith("'Film 12 (1972)': which one?\n")
    assert answer.err.endswith("number: ")
    # The question goes to stderr: stdout is JSON alone, for the second of the titles.
    assert json.loads(answer.out) == Recommender.load(run).recommend([[near[1][1], "i5"]]).to_dicts()


@pytest.mark.parametrize("typed", ["0\n", "6\n", "two\n", "\n"])
def test_an_answer_that_is_no_number_of_the_list_ends_with_2(run: Path, llmrec, terminal, typed: str) -> None:
    terminal(typed)
    answer = llmrec("recommend", "--run", run, "--history", "Film 12 (1972)")
    assert (answer.code, answer.out) == (2, "")
    assert f"error: {typed.strip()!r} is not a number from 1 to 5" in answer.err


@pytest.mark.slow
def test_of_two_items_with_one_title_neither_is_taken_unasked(tmp_path: Path, llmrec, request) -> None:
    log, items = toy_tables()
    titles = pl.when(pl.col("item_id").is_in(["i3", "i8"])).then(pl.lit("Sabrina")).otherwise("title")
    data = write_recbole(tmp_path / "toy", "toy", log, items.with_columns(title=titles))
    assert train.main(arguments(data, tmp_path / "run", "--epochs", "1")) == 0
    answer = llmrec("recommend", "--run", tmp_path / "run", "--history", "sabrina")
    assert answer.code == 2
    assert (
        "error: 'sabrina' is not clear; near are: Sabrina [i3]; Sabrina [i8]. An id in brackets, such as [i3], "
        in answer.err
    )
    request.getfixturevalue("terminal")("2\n")
    answer = llmrec("recommend", "--run", tmp_path / "run", "--history", "sabrina", "-k", 3, "--json")
    assert json.loads(answer.out) == Recommender.load(tmp_path / "run").recommend([["i8"]], k=3).to_dicts()


FILMS = pl.DataFrame(
    {"item_id": ["187", "330", "1", "Heat", "9"], "title": ["The Godfather", "187 (1997)", None, "Heat", "heat (1995)"]}
)


@pytest.mark.parametrize("name", ["187 (1997)", "[330]"])
def test_an_id_that_another_item_has_as_its_title_is_not_clear(
    monkeypatch: pytest.MonkeyPatch, terminal, name: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO())
        with pytest.raises(
            DataError, match=r"'187' is not clear; near are: The Godfather \[187\]; 187 \(1997\) \[330\]"
        ):
            cli.find_items(FILMS, ["1", "187"])
        assert cli.find_items(FILMS, ["[187]", name]) == ["187", "330"]
    terminal("2\n")
    assert cli.find_items(FILMS, ["187", "1"]) == ["330", "1"]


def test_an_id_that_is_its_own_items_title_is_clear() -> None:
    assert cli.find_items(FILMS, ["Heat"]) == ["Heat"]
    assert cli.find_items(FILMS.drop("title"), ["187", "Heat"]) == ["187", "Heat"]


@pytest.mark.slow
def test_recommend_without_a_title_column_says_so(tmp_path: Path, llmrec) -> None:
    log, items = toy_tables()
    data = write_recbole(tmp_path / "toy", "toy", log, items)
    (data / "toy.item").write_text("item_id:token\n" + "".join(f"i{item}\n" for item in range(30)), encoding="utf-8")
    assert train.main(arguments(data, tmp_path / "run", "--epochs", "1")) == 0
    answer = llmrec("recommend", "--run", tmp_path / "run", "--history", "i3", "-k", 2)
    assert answer.code == 0
    assert answer.out.splitlines()[0] == "after i3"
    answer = llmrec("recommend", "--run", tmp_path / "run", "--history", "Film 3 (1953)")
    assert answer.code == 2
    assert "this data set has no titles" in answer.err


def test_an_unknown_run_ends_with_2_and_lists_the_finished_ones(run: Path, llmrec) -> None:
    for verb in (["recommend", "--history", "i3", "--run"], ["evaluate"]):
        answer = llmrec(*verb, run.parent / "nothing")
        assert answer.code == 2
        assert answer.err == f"error: {run.parent / 'nothing'} holds no run; finished runs beside it: {run}\n"


@pytest.mark.parametrize(
    "words",
    [["data", "check", "toy"], ["data", "check", "toy", "--json"], ["prompts", "show", "items/title", "--data", "toy"]],
)
def test_letters_that_the_locale_lacks_are_printed_as_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """Under LC_ALL=C the standard streams know ASCII alone, as in many a container."""
    log, items = (table.with_columns(item_id="电影" + pl.col("item_id")) for table in toy_tables())
    write_recbole(tmp_path, "toy", log, items.with_columns(title=" Amélie " + pl.col("item_id")))
    out, err = (io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert cli.main([*words, "--data-dir", str(tmp_path)]) == 0
    assert cli.main(["prompts", "show", "Amélie", "--data", "toy", "--data-dir", str(tmp_path)]) == 2
    assert "电影i" in out.buffer.getvalue().decode()
    assert "'Amélie'" in err.buffer.getvalue().decode()


def test_llmrec_help_shows_its_verbs_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert 'llmrec recommend --run runs/ml-100k-sasrec-id-softmax-s0 --history "Toy Story (1995)|Heat (1995)"' in out
    assert "llmrec evaluate runs/NAME" in out


def test_help_does_not_load_torch() -> None:
    code = "import sys, llmrec.cli, llmrec.train; llmrec.train.parser().format_help(); llmrec.cli.parser()"
    done = execute(str(BIN / "python"), "-c", f"{code}; print('torch' in sys.modules)", PYTHONPATH=str(ROOT))
    assert (done.stdout, done.returncode) == ("False\n", 0)
