"""The figures in eval/README.md are those of eval/results/, and the commands that made them exist."""

import json
import re

import pytest
from conftest import ROOT

from eval.results_to_readme import LONG, README, filled, folded
from llmrec.protocol import digest

RESULTS = ROOT / "eval" / "results"
RANKS_NOTHING = {"scale", "speed", "loading"}
"""Studies of seconds and bytes, which have no protocol."""


def test_the_tables_of_the_readme_are_the_files_word_for_word():
    text = README.read_text(encoding="utf-8")
    assert filled(text) == text, "run `make results`"
    assert filled(text.replace(".", ",")) != text.replace(".", ",")


def test_what_follows_the_first_table_is_folded_where_it_is_long_and_nothing_is_lost():
    table, rest = "**all cases**\n\n| a |\n|---|\n| 1 |\n\n", "- a note\n" * LONG
    assert folded(table + rest[9:]) == table + rest[9:]
    text = folded(table + rest)
    assert text.startswith(f"{table}<details><summary>{LONG} more lines")
    assert text.endswith(f"</summary>\n\n{rest}\n</details>\n")


def test_every_results_file_names_the_study_that_makes_it_and_its_protocol():
    files = sorted(RESULTS.glob("*.json"))
    assert files
    for file in files:
        study, *part = file.stem.split("-", 1)
        assert (ROOT / "eval" / f"{study}.py").is_file(), f"no study makes {file.name}"
        saved = json.loads(file.read_text(encoding="utf-8"))
        tables = list(saved.get("groups", {"": saved}).values())
        assert all(("protocol" in each) != (study in RANKS_NOTHING) for each in tables)
        if study in RANKS_NOTHING:
            verbs = (ROOT / "eval" / f"{study}.py").read_text(encoding="utf-8")
            assert not part or (ROOT / "eval" / "benchmarks" / f"{part[0]}.py").is_file() or f'"{part[0]}"' in verbs
            continue
        for each in tables:
            assert digest(each["protocol"]) in file.with_suffix(".md").read_text(encoding="utf-8")
            assert all(row["n"] == each["rows"][0]["n"] for row in each["rows"])


def test_the_summary_points_to_sections_that_exist():
    titles = re.findall(r"^## (.+)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    summary = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\(eval/README\.md#([^)]+)\)", summary))
    assert len(named) > 10
    assert named <= anchors


def test_links_from_the_page_of_results_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8").replace("\n", " "))
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://") and not (README.parent / link).is_file()] == []


@pytest.mark.parametrize("page", [README, ROOT / "README.md"], ids=["results", "project"])
def test_every_study_and_make_target_a_readme_names_exists(page):
    text = page.read_text(encoding="utf-8")
    studies = set(re.findall(r"python -m (eval\.\w+)", text))
    targets = set(re.findall(r"make (\w+)", text))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert studies and all((ROOT / f"{study.replace('.', '/')}.py").is_file() for study in studies)
    assert targets and all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
