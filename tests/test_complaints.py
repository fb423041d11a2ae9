"""The table in complaints.md: each complaint points at tests that exist and that name it."""

import ast
import re

from conftest import ROOT

TABLE = ROOT / "tests" / "complaints.md"
ASKED = [*(f"B{number}" for number in (1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15)), "C3", "C5"]
ASKED += [f"A{number}" for number in range(1, 27) if number not in (5, 9, 18, 25)] + ["C1", "C4"]
ASKED += [f"F{number}" for number in (1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17)]
ASKED += ["Z1", "Z2", "Z3"] + [f"D{number}" for number in (1, 2, 3, 5, 6, 7, 10, 11, 12, 13, 14, 16)]


def rows() -> dict[str, list[str]]:
    """Complaint -> test ids, as the table has them."""
    table = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| ([A-Z]\d+) \|", line):
            table[match[1]] = re.findall(r"`(tests/[\w/]+\.py::\w+)`", line)
    return table


def docstrings() -> dict[str, str]:
    """Test id -> first line of its docstring, of every test there is."""
    found = {}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[f"tests/{path.name}::{node.name}"] = ast.get_docstring(node) or ""
    return found


def test_every_complaint_of_this_stage_has_a_test():
    assert [complaint for complaint in ASKED if not rows().get(complaint)] == []


def test_every_listed_test_exists_and_names_its_complaint():
    known = docstrings()
    wrong = [
        (complaint, test)
        for complaint, tests in rows().items()
        for test in tests
        if not re.match(rf".*\b{complaint}\b", known.get(test, "").splitlines()[0] if known.get(test) else "")
    ]
    assert wrong == []
