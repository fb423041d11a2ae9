"""``llmrec prompts check`` on prompts of P5: rows that lack what is asked for, and how many candidates are shown."""

from pathlib import Path

import polars as pl
import pytest
from conftest import toy_tables

from llmrec.interactions import Dataset
from llmrec.prompt_check import check
from llmrec.prompt_rows import PromptRows
from llmrec.splits.leave_one_out import LeaveOneOut


def test_rows_without_what_a_p5_prompt_asks_for_are_a_note():
    """Nobody can learn from them, and everybody else's prompt is none the worse."""
    log, items = toy_tables()
    log = log.with_columns(rating=pl.when(pl.col("user_id") != "u4").then("rating"))
    data = Dataset.from_tables("toy", log, items)
    for name in ("p5/rating/by_ids", "p5/rating/claimed_by_ids", "p5/rating/liked_by_ids"):
        findings = check([name], data, "leave_one_out")
        assert (findings.passed, findings.faults) == ([name], [])
        assert findings.notes == [
            f"{name}: block 'target' is empty: no answer to learn or to compare with in 1 of 40 cases, "
            "such as user 'u4'"
        ]


def test_a_p5_prompt_is_rendered_with_as_many_candidates_as_its_head_says(
    toy: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    path = Path("prompts/p5/some.jinja")
    path.parent.mkdir(parents=True)
    body = "{% block input %}{{ candidates[NUMBER].id }}{% endblock %}{% block target %}{{ user.id }}{% endblock %}"
    for number, place, fails in ((1, 0, False), (1, 1, True), (3, 2, False), (3, 3, True)):
        path.write_text(f"---\ncandidates: {number}\n---\n" + body.replace("NUMBER", str(place)), encoding="utf-8")
        assert bool(check(["p5/some"], toy, "leave_one_out").faults) is fails


def test_a_single_candidate_is_the_target_in_half_of_the_cases(toy):
    test, rows = LeaveOneOut().split(toy).test, PromptRows(toy)
    drawn = [rows.draw_candidates(test, case, 1, seed=0) for case in range(len(test))]
    assert all(len(each) == 1 for each in drawn)
    assert 12 <= sum(each == [target] for each, target in zip(drawn, test.target)) <= 28, "of 40"
