"""Writes the tables of eval/README.md from the files in eval/results/: ``make results``.

Between ``<!-- results: NAME -->`` and ``<!-- end -->`` stands ``eval/results/NAME.md``, word for word.
"""

import re
import sys
from pathlib import Path

from llmrec.runs import write_text

README = Path(__file__).parent / "README.md"
RESULTS = Path(__file__).parent / "results"
_PLACE = re.compile(r"(<!-- results: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with every marked place filled from its file."""
    return _PLACE.sub(lambda place: place[1] + (RESULTS / f"{place[2]}.md").read_text("utf-8") + place[3], text)


def main() -> int:
    """Entry point; returns the exit code."""
    write_text(README, filled(README.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
