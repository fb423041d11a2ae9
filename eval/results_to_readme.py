"""Writes the tables of eval/README.md from the files in eval/results/: ``make results``.

Between ``<!-- results: NAME -->`` and ``<!-- end -->`` stands ``eval/results/NAME.md``, word for word; what follows its
first table is folded away where it is long.
"""

import argparse
import re
import sys
from pathlib import Path

from llmrec.runs import write_text

README = Path(__file__).parent / "README.md"
RESULTS = Path(__file__).parent / "results"
_PLACE = re.compile(r"(<!-- results: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_FIRST = re.compile(r".*?^\|.*?\n\n", re.DOTALL | re.MULTILINE)
LONG = 20
"""Lines after the first table from which on they are folded."""


def folded(text: str) -> str:
    """A file's text, what follows the first table behind a line to click on if it is long."""
    first = _FIRST.match(text)
    if not first or (lines := text.count("\n", first.end())) < LONG:
        return text
    title = f"<details><summary>{lines} more lines: tests, protocol, and what else was measured</summary>"
    return f"{first[0]}{title}\n\n{text[first.end() :]}\n</details>\n"


def filled(text: str) -> str:
    """The text with every marked place filled from its file."""
    return _PLACE.sub(lambda place: place[1] + folded((RESULTS / f"{place[2]}.md").read_text("utf-8")) + place[3], text)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    argparse.ArgumentParser(
        "eval.results_to_readme", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(argv)
    write_text(README, filled(README.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
