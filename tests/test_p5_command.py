"""``python -m eval.p5``: every prompt of a run, beside what needs no training and a run that compares vectors."""

import io
import json
import re
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import ROOT, toy_tables, write_recbole
from small_runs import Answer, arguments

from eval import p5, p5_rows, p5_study
from llmrec import evaluation, train
from llmrec.protocol import digest
from llmrec.runs import RunTable, read_json, write_json
from llmrec.sequences import Sequences

pytestmark = pytest.mark.slow
QUICK = [
    "training.epochs=1",
    "p5.vocabulary=400",
    "p5.candidates=5",
    "p5.examples={continuation: 1, sequential: {item: 1, pick: 1, choice: 0}, rating: 1, direct: {pick: 1, choice: 1}}",
    "p5.anonymous=p5/continuation/by_history",
]
FAMILIES = ("continuation", "sequential", "rating", "direct")
HELD_OUT = {"sequential/recommend_next", "rating/by_title"}
"""By configs/p5.yaml."""
OWN = "writer continuation/by_ids"
ODD = ['{{ 7 * 7 }} of "them" (1950)', "{% if x %} it's, yes -> no", "{0.__class__} 5.0"]


@dataclass(frozen=True)
class Asked:
    """One run of the command, and where everything lies."""

    data: Path
    runs: Path
    results: Path
    told: dict[str, Any]
    """As --json prints it."""

    @property
    def rows(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By group and name."""
        return {group: {row["name"]: row for row in each["rows"]} for group, each in self.told["groups"].items()}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """A run of one epoch and all that the command says of it; some users have one interaction, some titles are odd."""
    place, (log, items) = tmp_path_factory.mktemp("p5"), toy_tables(num_users=24, num_items=60)
    once = pl.DataFrame([(f"once{n}", f"i{n}", 999_999 + n, 3.0) for n in range(3)], log.columns, orient="row")
    odd = [*ODD, *items["title"].to_list()[len(ODD) :]]
    data = write_recbole(place / "data", "toy", pl.concat([log, once]), items.with_columns(title=pl.Series(odd)))
    where = ["--data", "toy", "--data-dir", str(data), "--output"]
    writer = [*where, str(place / "writer-s0"), "--config", str(ROOT / "configs" / "p5.yaml"), *QUICK]
    assert train.main(writer) == 0
    assert train.main(arguments(data, place / "vectors-s0", "--epochs", "1")) == 0
    flags = ["--candidates", "10", "--asked", "12", "--against", str(place / "vectors-s0"), "--save", "toy", "--json"]
    (place / "results").mkdir()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setattr(p5, "RESULTS", place / "results")
        assert p5.main([str(place / "writer-s0"), "--data-dir", str(data), *flags]) == 0
    return Asked(data, place, place / "results", json.loads(out.getvalue()))


@pytest.fixture
def command(asked: Asked, capsys: pytest.CaptureFixture[str]):
    """Runs the command on the same data."""

    def run(*more: object) -> Answer:
        capsys.readouterr()
        code = p5.main([*map(str, more), "--data-dir", str(asked.data)])
        found = capsys.readouterr()
        return Answer(code, found.out, found.err)

    return run


def test_every_prompt_that_the_data_can_fill_has_a_row_and_held_out_ones_are_called_unseen(asked):
    """The toy log has no names of users, and every other field."""
    said = {each["prompt"] for each in asked.told["predictions"] if each["run"]}
    said |= {
        name.removeprefix("writer ") for rows in asked.rows.values() for name in rows if name.startswith("writer ")
    }
    files = [path for family in FAMILIES for path in (ROOT / "prompts" / "p5" / family).glob("*.jinja")]
    texts = {f"{path.parent.name}/{path.stem}": path.read_text(encoding="utf-8") for path in files}
    usable = {name: text for name, text in texts.items() if "user.name" not in text}
    unseen = {name for name, text in usable.items() if "\nunseen: true\n" in text} | HELD_OUT | {"sequential/is_next"}
    assert len(usable) > 12 and "direct/best_unseen" in unseen
    assert said == {f"{name} (unseen)" if name in unseen else name for name in usable}


def test_each_group_says_its_protocol_and_what_needs_no_training_stands_in_it(asked):
    masked, open_, among = (
        asked.told["groups"][name]["protocol"] for name in (p5_study.MASKED, p5_study.OPEN, p5_study.AMONG)
    )
    assert (masked["mask_history"], open_["mask_history"], among["mask_history"]) == (True, False, True)
    assert masked | {"mask_history": False} == open_
    assert masked["candidates"] == "catalogue"
    assert re.fullmatch(r"target and 9 drawn from outside the history \([0-9a-f]{16}\)", among["candidates"])
    assert (among["k"], among["candidate_seed"]) == (10, 0)
    for group, number in zip((p5_study.MASKED, p5_study.OPEN, p5_study.AMONG), (24, 24, 12)):
        rows = asked.rows[group]
        assert {"popularity", "item_knn", "random", "vectors"} <= rows.keys()
        assert {row["n"] for row in rows.values()} == {number}, "users of one interaction have no case"
    assert asked.rows[p5_study.MASKED]["popularity"] != asked.rows[p5_study.OPEN]["popularity"]
    ranked = asked.rows[p5_study.MASKED].keys() - asked.rows[p5_study.AMONG].keys()
    assert OWN in ranked and not any("pick" in name for name in ranked)
    assert "writer direct/pick" in asked.rows[p5_study.AMONG]


def test_the_masked_ranking_of_the_runs_own_prompt_is_what_the_run_measured(asked):
    for name, row in (("writer-s0", OWN), ("vectors-s0", "vectors")):
        table = RunTable.load(asked.runs / name / "test")
        saved = evaluation.summary(table, ("HR@10", "nDCG@10"))
        for metric, wanted in saved.items():
            found = asked.rows[p5_study.MASKED][row]["metrics"][metric]
            assert found == pytest.approx({key: wanted[key] for key in found}), row
        protocol = asked.told["groups"][p5_study.MASKED]["protocol"]
        assert protocol == json.loads(table.protocol.model_dump_json())


def test_the_runs_own_prompt_is_tested_against_popularity_and_the_run_of_vectors(asked):
    for group in (p5_study.MASKED, p5_study.OPEN):
        tests = asked.told["groups"][group]["paired_tests"]
        assert {(each["first"], each["second"]) for each in tests} == {(OWN, "popularity"), (OWN, "vectors")}
    assert asked.told["groups"][p5_study.AMONG]["paired_tests"] == []


def test_stars_that_are_no_numbers_are_counted_and_worth_the_mean(asked):
    """D6, D14: an answer that cannot be read is no failure, and how many there were stands in the row."""
    of = {(each["prompt"].removesuffix(" (unseen)"), each["way"]): each for each in asked.told["predictions"]}
    for prompt in ("rating/by_ids", "rating/by_title", "rating/menu"):
        written, mean = of[prompt, "written"], of["", "mean of the training part"]
        assert written["n"] == mean["n"] == 24
        assert written["told"] == "24 no number from 1 to 5", "after one epoch"
        assert written["metrics"] == mean["metrics"]
        assert of[prompt, "expected"]["told"] == ""
    liked = of["rating/liked_by_ids", "(like?)"]
    assert re.fullmatch(r"always (like|dislike): 0\.\d{4}", liked["told"])
    assert 0 <= liked["metrics"]["accuracy"]["value"] <= 1


def test_how_many_texts_name_an_item_is_told(asked):
    """D14: how many answers are valid stands beside the metrics."""
    of_whom, said = (
        "writer-s0, sequential/continue_list: without the trie ",
        r" of the 240 texts of 10 beams name an item",
    )
    line = rf"{of_whom}\S+%{said}, and \S+% are said twice"
    assert sum(bool(re.fullmatch(line, note)) for note in asked.told["notes"]) == 1


def test_saved_files_keep_the_rules_of_results(asked):
    """As in tests/test_results.py."""
    file = asked.results / "p5-toy.json"
    assert sorted(path.name for path in asked.results.iterdir()) == ["p5-toy.json", "p5-toy.md", "p5-toy.png"]
    assert read_json(file) == asked.told
    text = file.with_suffix(".md").read_text(encoding="utf-8")
    for each in asked.told["groups"].values():
        assert digest(each["protocol"]) in text
    assert len({digest(each["protocol"]) for each in asked.told["groups"].values()}) == 3
    assert f"| {OWN} |" in text and "| writer rating/by_title (unseen) expected |" in text
    assert all(f"- {note}" in text for note in asked.told["notes"])
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_single_user_is_asked_and_choices_with_one_answer_are_left_out(command, asked):
    answer = command(asked.runs / "writer-s0", "--candidates", 4, "--users", 1)
    assert answer.code == 0, answer.err
    said = " ".join(answer.out.split())
    assert "writer rating/liked_by_ids: left out, for all 1 answers are the same" in said
    assert "ratings; 1 cases" in said and "choices; " not in said


# What cannot be asked


def test_named_prompts_are_asked_alone_with_the_runs_own_of_whatever_family(command, asked):
    names = ["p5/rating/menu", "p5/openp5/straightforward/what"]
    answer = command(asked.runs / "writer-s0", "--prompts", *names, "--asked", 3, "--candidates", 5, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    said = {each["prompt"] for each in told["predictions"] if each["run"]}
    said |= {row["name"] for row in told["groups"][p5_study.MASKED]["rows"] if row["name"].startswith("writer ")}
    assert said == {"rating/menu", "writer openp5/straightforward/what (unseen)", OWN}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zeroshot/rank", "prompt 'zeroshot/rank' is none of prompts/p5/, such as p5/rating/by_title"),
        ("p5/rating/by_name", "p5/rating/by_name shows user.name, which toy never fills; take another prompt"),
    ],
)
def test_a_named_prompt_that_cannot_be_asked_by_is_refused(command, asked, name, message):
    answer = command(asked.runs / "writer-s0", "--prompts", name)
    assert answer.code == 2
    assert message in answer.err


def test_a_run_of_vectors_is_named_behind_against(command, asked):
    answer = command(asked.runs / "vectors-s0")
    assert answer.code == 2
    assert "vectors-s0 is a run that compares vectors; name it behind --against" in " ".join(answer.err.split())
    second = command(asked.runs / "writer-s0", asked.runs / "vectors-s0")
    assert (second.code, "compares vectors" in second.err) == (2, True)


def test_what_is_no_finished_run_is_refused(command, asked, tmp_path):
    half = shutil.copytree(asked.runs / "writer-s0", tmp_path / "half-s0")
    (half / "metrics.json").unlink()
    for folder, message in ((tmp_path / "nowhere", "nowhere"), (tmp_path, str(tmp_path)), (half, "half-s0")):
        answer = command(folder)
        assert answer.code == 2
        assert message in "".join(answer.err.split())
        assert "Traceback" not in answer.err
    assert command(asked.runs / "writer-s0", "--against", tmp_path / "nowhere").code == 2


def test_runs_of_another_split_may_have_seen_the_targets(command, asked, tmp_path):
    assert train.main(arguments(asked.data, tmp_path / "other-s0", "--epochs", "1", "--json", "split=user_ratio")) == 0
    writer = shutil.copytree(asked.runs / "writer-s0", tmp_path / "writer-s1")
    write_json(
        writer / "test" / "protocol.json", read_json(writer / "test" / "protocol.json") | {"split": "user_ratio"}
    )
    own = asked.runs / "writer-s0"
    for how in ([own, "--against", tmp_path / "other-s0"], [own, writer]):
        answer = command(*how)
        assert answer.code == 2
        said = " ".join(answer.err.split())
        assert "was trained on other parts of the data (split: 'user_ratio' there, 'leave_one_out' here" in said
        assert "may have seen the targets" in said


def test_more_candidates_than_there_are_items_are_refused(command, asked):
    answer = command(asked.runs / "writer-s0", "--candidates", 60)
    assert answer.code == 2
    assert "too few for 60 candidates" in answer.err


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("syntax", "{{ user.id | }}", r"prompt 'p5/sequential/syntax': line 5: "),
        ("outside", "{{ user.__class__ }}", r"prompt 'p5/sequential/outside': line 5: .*'__class__'"),
        ("files", "{% include '/etc/passwd' %}", r"prompt 'p5/sequential/files': line 5: 'include' has no place in"),
        ("opens", "{{ open('/etc/passwd') }}", r"prompt 'p5/sequential/opens': line 5: .*no variable 'open'"),
        (
            "misspelt",
            "{{ user.agee }}",
            r"prompt 'p5/sequential/misspelt': line 5: user has no field 'agee'; did",
        ),
        ("leaks", "{{ following[0].id }}", r"prompt 'p5/sequential/leaks': line 5: following.id gives .*own answer"),
    ],
)
def test_a_bad_prompt_of_the_working_folder_is_named_with_its_line(
    command, asked, tmp_path, monkeypatch, name, body, message
):
    path = tmp_path / "prompts" / "p5" / "sequential" / f"{name}.jinja"
    path.parent.mkdir(parents=True)
    blocks = f"{{% block input %}}\n{body}\n{{% endblock %}}{{% block target %}}{{{{ item.id }}}}{{% endblock %}}"
    path.write_text(f"---\ntask: item\n---\n{blocks}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(p5_rows, "ask", None)  # before anything is asked
    answer = command(asked.runs / "writer-s0", "--candidates", 4)
    assert answer.code == 2
    assert re.search(message, " ".join(answer.err.split()))
    assert "Traceback" not in answer.err
    assert "root:" not in answer.out + answer.err


def test_what_is_ranked_twice_is_scored_once_a_user_and_never_for_another():
    """Two users of one history differ by their names, and stand alone in their chunks where a catalogue is large."""

    class Counting:
        calls = 0

        def score(self, histories: Sequences) -> np.ndarray:
            self.calls += 1
            return histories.user_indices().numpy()

    values, offsets = np.array([3, 4], dtype=np.int32), np.array([0, 2])
    counting = Counting()
    kept = p5_rows._Kept(counting)
    for _ in range(2):
        assert [kept.score(Sequences(values, offsets, np.array([user])))[0] for user in (1, 2)] == [1, 2]
    assert counting.calls == 2
