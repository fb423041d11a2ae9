"""``python -m eval.zeroshot``: one table for the prompted model, what needs no training, and trained runs."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import toy_tables, write_recbole
from fake_openai import FakeOpenAI, Handler, logprobs, ok
from loopback import closed_port
from small_runs import Answer, arguments

from eval import compare, zeroshot
from llmrec import cli, train
from llmrec.answer_store import AnswerStore
from llmrec.runs import read_json

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of more items than the one that most tests share: a user must have enough that he has not met."""
    return write_recbole(tmp_path_factory.mktemp("data") / "toy", "toy", *toy_tables(num_users=24, num_items=60))


@pytest.fixture
def command(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs the command on that log with answers of its own; ``more`` are flags."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*more: object, output: str = "study") -> Answer:
        capsys.readouterr()  # of runs trained before
        fixed = ["--data", "toy", "--data-dir", log, "--answers", tmp_path / "answers.sqlite"]
        flags = map(str, [*fixed, "--output", tmp_path / output, *more])
        code = zeroshot.main(list(flags))
        found = capsys.readouterr()
        return Answer(code, found.out, found.err)

    return run


@contextmanager
def running(server: FakeOpenAI) -> Iterator[FakeOpenAI]:
    try:
        yield server
    finally:
        server.stop()


def scripted(script: str) -> list[str]:
    return ["--backend", "scripted", f"backend.script={script}"]


def figures(answer: Answer) -> dict[str, dict[str, dict[str, float]]]:
    assert answer.code == 0, answer.err
    return by_name(json.loads(answer.out))


def by_name(saved: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        row["name"]: {metric: values | {"n": row["n"]} for metric, values in row["metrics"].items()}
        for row in saved["rows"]
    }


@pytest.mark.parametrize("task", ["hr@1", "ndcg@10"])
@pytest.mark.parametrize("scoring", ["letters", "generate", "likelihood", "pointwise", "pairwise"])
def test_an_oracle_scores_one_and_stands_beside_what_needs_no_model(command, task, scoring):
    answer = command("--task", task, "--scoring", scoring, *scripted("oracle"), "--users", 8, "--json")
    rows = figures(answer)
    metric = {"hr@1": "HR@1", "ndcg@10": "nDCG@10"}[task]
    model = json.loads(answer.out)["model"]
    assert rows[model][metric] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 8}
    assert {"popularity", "tfidf", "bm25", "prompt statistics", f"{model}, history shuffled"} <= set(rows)


@pytest.mark.parametrize("script", ["refusing", "chatty"])
def test_an_answer_that_names_nothing_is_worth_exactly_chance(command, script):
    answer = command("--scoring", "generate", *scripted(script), "--json")
    rows, found = figures(answer), json.loads(answer.out)
    assert rows[found["model"]]["HR@1"]["value"] == found["chance"]["HR@1"] == 0.25
    assert rows[found["model"]]["MRR@10"]["value"] == pytest.approx(found["chance"]["MRR@10"])
    assert any(f"{ {'refusing': 'refused', 'chatty': 'failed'}[script] } 100.0%" in line for line in found["lines"])


def test_the_same_command_asks_nothing_twice_and_prints_the_same_bytes(command, tmp_path):
    """F3: second run, zero requests left."""
    first = command("--users", 10, *scripted("random"), "--curve", "1,3")
    asked = len(AnswerStore(tmp_path / "answers.sqlite"))
    table = (tmp_path / "study" / "table.md").read_bytes()
    second = command("--users", 10, *scripted("random"), "--curve", "1,3")
    assert (first.code, second.code) == (0, 0)
    assert first.out == second.out
    assert (tmp_path / "study" / "table.md").read_bytes() == table
    assert len(AnswerStore(tmp_path / "answers.sqlite")) == asked > 0
    for row in ("history 1", "history 3", "history shuffled"):
        assert row in " ".join(first.out.split())


def test_trained_runs_rank_the_same_candidates_and_seeds_stand_together(command, log, tmp_path):
    for seed in ("0", "1"):
        # Measured on a few of their users, they rank the study's all the same.
        more = ["--epochs", "1", "--seed", seed, "--json", "protocol.users=7"]
        assert train.main(arguments(log, tmp_path / f"mine-s{seed}", *more)) == 0
    command_line = ["--users", 12, *scripted("oracle"), "--against", tmp_path / "mine-s0", tmp_path / "mine-s1"]
    answer = command(*command_line)
    assert answer.code == 0, answer.err
    assert "mine (2 seeds)" in answer.out
    told = json.loads((tmp_path / "study" / "table.json").read_text(encoding="utf-8"))["rows"]
    kinds = {row["name"]: row["kind"] for row in told}
    assert {kinds.pop("mine"), kinds.pop("popularity")} == {"ID", "no training"}
    assert "LLM prompted" in kinds.values()
    rows = tmp_path / "study" / "rows"
    cases = [pl.read_parquet(rows / name / "cases.parquet")["case_id"] for name in ("mine-0", "mine-1", "popularity")]
    assert cases[0].to_list() == cases[1].to_list() == cases[2].to_list()
    lists = [pl.read_parquet(rows / name / "rankings.parquet") for name in ("mine-0", "popularity")]
    sets = [dict(each.group_by("case_id").agg(pl.col("item_id").sort()).iter_rows()) for each in lists]
    assert sets[0] == sets[1]


def test_a_run_that_may_have_seen_the_targets_is_refused(command, log, tmp_path):
    flags = arguments(log, tmp_path / "other-s0", "--epochs", "1", "--json", "split=user_ratio")
    assert train.main(flags) == 0
    for how in (["--against", tmp_path / "other-s0"], ["--task", "rerank", "--candidates-from", tmp_path / "other-s0"]):
        answer = command(*scripted("oracle"), *how)
        assert answer.code == 2
        assert "was trained on other parts of the data (split: 'user_ratio' there, 'leave_one_out' here" in answer.err
        assert "may have seen the targets" in answer.err


def test_a_run_that_began_with_one_that_may_have_seen_the_targets_is_refused_and_was_warned(
    command, log, tmp_path, capsys
):
    first, heir = tmp_path / "other-s0", tmp_path / "heir-s0"
    assert train.main(arguments(log, first, "--epochs", "1", "--json", "split=user_ratio")) == 0
    assert train.main(arguments(log, heir, "--epochs", "0", "--json", "--init", str(first))) == 0
    told = f"{first} was trained on other parts of the data (split: 'user_ratio' there"
    assert f"warning: {told}" in capsys.readouterr().err
    answer = command(*scripted("oracle"), "--against", heir)
    assert answer.code == 2 and told in answer.err and f"{heir} began with it" in answer.err
    same = tmp_path / "same-s0"
    assert train.main(arguments(log, same, "--epochs", "1", "--json")) == 0
    assert train.main(arguments(log, tmp_path / "next-s0", "--epochs", "0", "--json", "--init", str(same))) == 0
    assert "warning: " not in capsys.readouterr().err
    assert command(*scripted("oracle"), "--against", tmp_path / "next-s0").code == 0


def test_what_a_run_retrieves_is_ranked_again_and_a_missing_target_stays_missing(command, log, tmp_path):
    assert train.main(arguments(log, tmp_path / "mine-s0", "--epochs", "1", "--json")) == 0
    rerank = ["--task", "rerank", "--candidates-from", tmp_path / "mine-s0", "--depth", 5, "--scoring", "generate"]
    found = figures(command(*rerank, *scripted("oracle"), "--json"))
    value = found["script generate"]["HR@10"]["value"]
    assert 0 < value < 1, "the oracle finds what the retriever brings, and no more"
    inserted = command(*rerank, "--insert-target", *scripted("oracle"), "--json", output="inserted")
    assert figures(inserted)["script generate"]["HR@10"]["value"] == 1
    assert "target inserted where it was missing" in json.loads(inserted.out)["protocol"]["candidates"]


def test_published_candidates_are_read_from_their_file(command, log, tmp_path):
    items = [f"i{number}" for number in range(40)]
    path = tmp_path / "toy.random"
    path.write_text("".join(f"u{user}\t{' '.join(items)}\n" for user in (3, 7)), encoding="utf-8")
    answer = command("--task", "ndcg@10", "--candidates-from", path, "--insert-target", *scripted("oracle"), "--json")
    assert next(iter(figures(answer).values()))["nDCG@10"]["n"] == 2
    assert "target inserted among 19 drawn of toy.random" in json.loads(answer.out)["protocol"]["candidates"]


def test_users_are_drawn_among_those_of_the_file(command, tmp_path):
    path = tmp_path / "toy.random"
    items = " ".join(f"i{number}" for number in range(40))
    path.write_text("".join(f"u{user}\t{items}\n" for user in range(12)), encoding="utf-8")
    answer = command("--candidates-from", path, "--insert-target", "--users", 5, *scripted("oracle"), "--json")
    assert next(iter(figures(answer).values()))["HR@1"]["n"] == 5
    assert "5 of 12 users, by seed 0" in json.loads(answer.out)["lines"]


def test_a_dry_run_asks_no_server_either(command):
    with running(FakeOpenAI(otherwise=ok("A"))) as server:
        how = ["--backend", "openai", "--model", "some-model", f"backend.url={server.url}", "--vectors", "id"]
        assert command(*how, "--dry-run").code == 0
        assert server.bodies == []


def test_a_model_of_vectors_that_cannot_be_had_is_told_before_anybody_is_asked(command):
    with running(FakeOpenAI(otherwise=logprobs({"A": -0.1}))) as server:
        how = ["--backend", "openai", "--model", "m", f"backend.url={server.url}"]
        answer = command(*how, "--users", 4, "--vectors", "nobody/no-such-model")
        assert answer.code == 2 and "nobody/no-such-model" in answer.err
        assert server.bodies == []


def test_labels_of_several_letters_are_not_read_off_a_server_that_tells_one_token(command):
    def behave(handler: Handler) -> None:
        (logprobs({"A": -0.1, "B": -2.0}) if handler.asked.get("logprobs") else ok("A"))(handler)

    with running(FakeOpenAI(otherwise=behave)) as server:
        how = ["--backend", "openai", "--model", "m", f"backend.url={server.url}", "--vectors", "id", "--users", 4]
        for more in (["--candidates", 30], ["--scoring", "likelihood"]):
            answer = command(*how, *more, "--json", output=more[0])
            assert answer.code == 0, answer.err
            notes = json.loads(answer.out)["lines"]
            assert any("does not tell how likely options of several tokens are: generate" in line for line in notes)
        assert json.loads(command(*how, "--json").out)["model"] == "m letters"


def test_runs_of_one_name_are_seeds_of_one_model_or_refused(command, log, tmp_path):
    for folder, more in (("a/final", []), ("b/final", ["head.num_layers=2"]), ("popularity", [])):
        assert train.main(arguments(log, tmp_path / folder, "--epochs", "1", "--json", *more)) == 0
    for runs, message in (
        (["a/final", "b/final"], "has the name of another row, 'final'"),
        (["a/final", "a/final"], "twice"),
        (["popularity"], "has the name of another row, 'popularity'"),
    ):
        answer = command(*scripted("oracle"), "--against", *(tmp_path / run for run in runs))
        assert answer.code == 2
        assert message in " ".join(answer.err.split())


def test_what_an_earlier_study_said_goes_when_another_is_measured_and_not_before(command, tmp_path):
    def held() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "study").rglob("*") if path.is_file()}

    assert command(*scripted("oracle"), "--users", 5, "--curve", "1").code == 0
    before = held()
    server = ["--backend", "openai", "--model", "m", f"backend.url={closed_port()}/v1", "--vectors", "id"]
    failed = command(*server, "--scoring", "generate", "--users", 6, "--overwrite")
    assert failed.code == 2 and "is a server running" in failed.err
    assert held() == before
    assert command(*scripted("oracle"), "--users", 6, "--scoring", "generate", "--overwrite").code == 0
    after = held()
    assert not [path for path in after if "letters" in path.name or "history_1" in str(path)]
    assert set(pl.read_parquet(tmp_path / "study" / "candidates.parquet")["case_id"]) == set(
        pl.read_parquet(tmp_path / "study" / "rows" / "popularity" / "cases.parquet")["case_id"]
    )


def test_an_output_that_is_no_folder_is_refused(command, tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    answer = command(*scripted("oracle"), "--users", 5, output="file")
    assert answer.code == 2
    assert "cannot be written to" in answer.err


def test_a_dry_run_says_what_it_would_cost_and_asks_nothing(command, tmp_path):
    (tmp_path / "prices.yaml").write_text("script: {input: 10, output: 40}\n", encoding="utf-8")
    answer = command(*scripted("oracle"), "--prices", tmp_path / "prices.yaml", "--dry-run")
    assert answer.code == 0
    assert "24 cases" in answer.out
    assert "24 cases by letters" in answer.out
    assert "25 questions are not answered yet" in " ".join(answer.out.split())
    assert "Nothing was asked." in answer.out
    assert len(AnswerStore(tmp_path / "answers.sqlite")) == 0
    assert not (tmp_path / "study").exists()


def test_a_sum_is_not_passed_and_what_was_paid_for_is_kept(command, tmp_path):
    (tmp_path / "prices.yaml").write_text("script: {input: 1000, output: 1000}\n", encoding="utf-8")
    how = [*scripted("oracle"), "--prices", tmp_path / "prices.yaml"]
    stopped = command(*how, "--max-cost", "1")
    assert stopped.code == 2
    assert "--max-cost 1" in stopped.err
    kept = len(AnswerStore(tmp_path / "answers.sqlite"))
    assert 0 < kept < 25
    assert command(*how, "--max-cost", "100").code == 0


def test_a_server_without_log_probabilities_is_asked_for_a_text_with_a_notice(command):
    """F5: fake chat server that ignores `logprobs`."""
    with running(FakeOpenAI(otherwise=ok("A"))) as server:
        server_flags = ["--backend", "openai", "--model", "some-model", f"backend.url={server.url}"]
        answer = command(*server_flags, "--users", 6, "--vectors", "id", "--json")
    found = json.loads(answer.out)
    assert found["model"] == "some-model generate"
    told = "some-model does not tell how likely an option is: generate in the place of letters"
    assert f"{told}; with another --answers file it is asked again" in found["lines"]


def test_a_second_run_asks_a_server_nothing_and_prints_the_same(command):
    def behave(handler: Handler) -> None:
        (logprobs({"A": -0.1, "B": -2.0}) if handler.asked.get("logprobs") else ok("A"))(handler)

    with running(FakeOpenAI(otherwise=behave)) as server:
        flags = ["--backend", "openai", "--model", "m", f"backend.url={server.url}", "--users", 6, "--vectors", "id"]
        first = command(*flags)
    second = command(*flags)
    assert (first.code, second.code) == (0, 0), second.err
    assert first.out == second.out
    assert "whether it tells how likely options are: 1 questions, 7 tokens read" in " ".join(first.out.split())


def test_a_dry_run_counts_what_a_server_without_log_probabilities_writes(command, tmp_path):
    (tmp_path / "prices.yaml").write_text("m: {input: 1, output: 4}\n", encoding="utf-8")
    with running(FakeOpenAI(otherwise=ok("A"))) as server:
        how = ["--backend", "openai", "--model", "m", f"backend.url={server.url}", "--vectors", "id", "--users", 4]
        how += ["--prices", tmp_path / "prices.yaml"]

        def dry(*more: object) -> str:
            return " ".join(command(*how, *more, "--dry-run").out.split())

        certain = dry("--task", "hr@10", "--candidates", 30)
        assert "4 cases by generate" in certain and "up to 960 to write" in certain
        assert "one short question more" not in certain, "labels of two letters are never read off a server"
        unsure = dry()
        assert "4 cases by generate" in unsure and "up to 64 to write" in unsure and "the dearer way" in unsure
        assert server.bodies == []
        assert command(*how).code == 0
        known = dry("--seed", 1)
        assert "by generate" in known and "the dearer way" not in known


def test_an_address_is_asked_which_model_it_has(command):
    with running(FakeOpenAI(otherwise=ok("A"))) as server:
        answer = command("--model", server.url, "--users", 5, "--vectors", "id", "--json")
        assert json.loads(answer.out)["model"] == "some-model generate"
        server.models = []
        answer = command("--model", server.url, "--users", 5, "--vectors", "id")
        assert answer.code == 2 and "has no model; load one there" in answer.err
        server.models = ["one", "two"]
        answer = command("--model", server.url, "--users", 5, "--vectors", "id", "--json", output="other")
        assert answer.code == 2
        advice = f"--backend openai --model one backend.url={server.url}"
        assert f"has 2 models (one, two); name one beside the address, such as {advice}" in answer.err
        answer = command(*advice.split(), "--users", 5, "--vectors", "id", "--json", output="other")
        assert json.loads(answer.out)["model"] == "one generate", "the advice can be followed"


@pytest.mark.parametrize("how", ["option", "address"])
def test_a_password_in_the_address_is_neither_printed_nor_kept(command, tmp_path, how):
    with running(FakeOpenAI(otherwise=ok("A"))) as server:
        url = server.url.replace("//", "//bob:hunter2secret@")
        named = ["--backend", "openai", "--model", "m", f"backend.url={url}"]
        flags = named if how == "option" else ["--model", url.replace("http", "HTTP")]
        answer = command(*flags, "--users", 5, "--vectors", "id")
        assert answer.code == 0, answer.err
        assert server.headers[0]["authorization"].startswith("Basic")
    assert f"url={server.url} " in " ".join(answer.out.split())
    failed = command(*flags, "--users", 6, "--vectors", "id", output="other")
    assert failed.code == 2 and server.url in failed.err
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    shown = [*files, *(text.encode() for each in (answer, failed) for text in (each.out, each.err))]
    assert [text for text in shown if b"hunter2" in text] == []


def test_a_server_that_answers_otherwise_every_time_is_reported(command):
    """F7: server whose answer depends on batch size."""
    answers = iter("ABCDC" * 200)

    def one_after_the_other(handler: Handler) -> None:
        ok(next(answers))(handler)

    with running(FakeOpenAI(otherwise=one_after_the_other)) as server:
        how = ["--backend", "openai", "--model", "m", f"backend.url={server.url}", "backend.concurrency=1"]
        answer = command(*how, "--scoring", "generate", "--repeats", 2, "--users", 6, "--vectors", "id", "--json")
    said = next(line for line in json.loads(answer.out)["lines"] if "asked again" in line)
    assert "in 0.0% of the cases" not in said


def test_the_table_goes_where_results_are_kept_if_asked(command, tmp_path, monkeypatch):
    monkeypatch.setattr(zeroshot, "RESULTS", tmp_path)
    assert command(*scripted("oracle"), "--users", 5, "--save").code == 0
    name = "zeroshot-toy-hr-1-script-letters-s0"
    assert (tmp_path / f"{name}.md").read_bytes() == (tmp_path / "study" / "table.md").read_bytes()
    assert by_name(read_json(tmp_path / f"{name}.json"))["script letters"]["HR@1"]["n"] == 5
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_of_another_study_is_not_written_over(command, tmp_path):
    assert command(*scripted("oracle"), "--users", 5).code == 0
    answer = command(*scripted("oracle"), "--users", 6)
    assert answer.code == 2
    assert "holds a study with other options (candidate_hash, users)" in " ".join(answer.err.split())
    assert command(*scripted("oracle"), "--users", 6, "--overwrite").code == 0
    assert by_name(read_json(tmp_path / "study" / "metrics.json"))["script letters"]["HR@1"]["n"] == 6


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task", "hr@5"], "no task 'hr@5'"),
        (["--task", "rerank"], "--task rerank needs --candidates-from"),
        (["--scoring", "letter"], "no scoring 'letter'; did you mean 'letters'"),
        (["scoring.calibrated=false"], "has no option 'calibrated'; did you mean 'calibrate'"),
        (["--candidates", "200"], "too few for 200 candidates"),
        (["--candidates", "1"], "at least 2 candidates"),
        (["--prompt", "zeroshot/pickone"], "no prompt 'zeroshot/pickone'; did you mean 'zeroshot/pick_one'"),
        (["--merge", "mean"], "--merge: no way 'mean'"),
        (["--rounds", "0"], "rounds at least 1"),
        (["--curve", "1;2"], "--curve takes numbers with commas between"),
        (["--shots", "999"], "999 examples were asked for"),
        (["--shots", "1", "--scoring", "generate", "--task", "ndcg@10"], "--shots need a prompt whose answer is one"),
        (["--insert-target"], "--insert-target goes with --candidates-from"),
        (["--depth", "5"], "--depth goes with --candidates-from"),
        (["--max-cost", "1"], "needs --prices"),
        (["--prompt", "zeroshot/next_title"], "zeroshot/next_title shows no labels, which --scoring letters reads off"),
        (
            ["--prompt", "zeroshot/pairwise"],
            "zeroshot/pairwise shows 2 of 4 candidates, and --scoring letters",
        ),
        (["--prompt", "zeroshot/pointwise", "--scoring", "generate"], "zeroshot/pointwise shows 1 of 4 candidates"),
        (["--prompt", "items/title"], "must be one of prompts/zeroshot/"),
        (["--against", "runs/nowhere"], "holds no run"),
        (["--prices", "nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_bad_flags_end_with_one_message(command, flags, message):
    answer = command(*scripted("oracle"), *flags)
    assert answer.code == 2
    assert message in " ".join(answer.err.split())


def test_a_prompt_of_two_is_not_answered_in_words_about_four(command):
    with running(FakeOpenAI(otherwise=ok("A"))) as server:
        how = ["--backend", "openai", "--model", "m", f"backend.url={server.url}", "--vectors", "id"]
        answer = command(*how, "--scoring", "pairwise", "--prompt", "zeroshot/pairwise")
    assert answer.code == 2 and "--scoring generate (in the place of pairwise, as" in answer.err


def test_a_server_has_no_model_of_its_own(command):
    answer = command("--backend", "openai")
    assert answer.code == 2
    assert "--backend openai needs --model, as the server calls it" in answer.err


def test_examples_of_other_users_come_before_the_question(command, tmp_path):
    assert command(*scripted("oracle"), "--shots", 2, "--users", 5).code == 0
    with sqlite3.connect(tmp_path / "answers.sqlite") as database:
        turns = [json.loads(text)["turns"] for (text,) in database.execute("SELECT request FROM answers")]
    asked = [each for each in turns if each]
    assert {len(each) for each in asked} == {2}
    assert all(answer[1] == "." for each in asked for _, answer in each), "a letter and a title"


def test_the_folder_of_a_study_is_refused_by_name_wherever_a_run_is_wanted(command, tmp_path, capsys):
    assert command("--task", "hr@1", *scripted("oracle"), "--users", 4).code == 0
    study = str(tmp_path / "study")
    for main, *words in (
        (compare.main, study),
        (cli.main, "evaluate", study),
        (cli.main, "recommend", "--run", study, "--history", "i1"),
        (train.main, "--data", "toy", "--init", study, "--output", str(tmp_path / "other")),
    ):
        capsys.readouterr()
        assert main(words) == 2
        assert f"error: {study} holds a study of eval.zeroshot" in capsys.readouterr().err
