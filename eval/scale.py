"""How fast and how lean a large log becomes a split: ``python -m eval.scale csv``, ``python -m eval.scale parquet``.

``csv`` reads 5 million rows and cuts leave-one-out, in turn with pandas, which must reach the same arrays: the figure
is the ratio of the two medians. ``parquet`` does it with 50 million rows in 50 files: the figure is the largest
anonymous memory (RssAnon of /proc/self/status), in which pages of files do not count. Every measurement is a process
of its own; imports are not in the seconds. Take the figures on an idle machine: its load before is in the table.

"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from eval.memory import PeakMemory
from llmrec.errors import RunError, exit_code

EXAMPLES = """examples:
  make peers && python -m eval.scale csv
  python -m eval.scale parquet
  python -m eval.scale parquet --users 100000 --output /tmp/scale
"""
RESULTS = Path(__file__).parent / "results" / "scale"
PEER = Path(__file__).parent / "peers" / "pandas_read.py"
PYTHON = Path(".venv-pandas/bin/python")
START, SECONDS = 1_500_000_000, 100_000_000
"""Times lie in this range, which is a bit more than three years."""


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = _parser().parse_args(argv)
    arguments.command(arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "eval.scale", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")
    for name, command, users, items, events in (
        ("csv", csv, 200_000, 50_000, 25),
        ("parquet", parquet, 1_000_000, 100_000, 50),
    ):
        verb = verbs.add_parser(name, help=(command.__doc__ or "").splitlines()[0])
        verb.add_argument("--users", type=int, default=users)
        verb.add_argument("--items", type=int, default=items)
        verb.add_argument("--events", type=int, default=events, help=f"of every user (default: {events})")
        verb.add_argument("--rounds", type=int, default=3, help="measurements, of which the median counts (default: 3)")
        verb.add_argument("--output", type=Path, default=RESULTS, help="path without ending")
        verb.set_defaults(command=command)
    verbs.choices["csv"].add_argument("--python", type=Path, default=PYTHON, help="one that has pandas")
    verb = verbs.add_parser("read", help=(read.__doc__ or "").splitlines()[0])
    verb.add_argument("folder", type=Path)
    verb.set_defaults(command=read)
    return parser


def csv(arguments: argparse.Namespace) -> None:
    """Seconds from a CSV file to the split, beside pandas."""
    if not arguments.python.is_file():
        raise RunError(f"{arguments.python} is missing; make peers builds an environment with pandas")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        write_log(Path(folder), "csv", arguments.users, arguments.items, arguments.events)
        file = in_one_file(Path(folder))
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(measure(Path(folder)))
            theirs.append(_run([str(arguments.python), str(PEER), str(file)]))
    if len({each["digest"] for each in ours + theirs}) != 1:
        raise RunError("llmrec and pandas did not reach the same arrays")
    row = _row(arguments, load, ours)
    peer = median(each["seconds"] for each in theirs)
    save(
        arguments.output,
        {**row, "peer": theirs[0]["version"], "peer_seconds": peer, "ratio": row["seconds"] / peer},
    )


def parquet(arguments: argparse.Namespace) -> None:
    """Seconds and memory from Parquet files to the split."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        write_log(Path(folder), "parquet", arguments.users, arguments.items, arguments.events)
        rounds = [measure(Path(folder)) for _ in range(arguments.rounds)]
    save(arguments.output, _row(arguments, load, rounds))


def read(arguments: argparse.Namespace) -> None:
    """Reads the log of a folder once and prints seconds, memory and digest as JSON; the others start this."""
    from llmrec import __version__
    from llmrec.sources.table import Tables
    from llmrec.splits.leave_one_out import LeaveOneOut

    source = Tables(interactions="*.*")
    with PeakMemory() as seen:
        start = time.perf_counter()
        split = LeaveOneOut().split(source.read(arguments.folder, "scale"))
        seconds = time.perf_counter() - start
    arrays = [split.train.values, split.train.offsets, split.validation.target, split.test.target]
    facts = {"interactions": len(split.dataset.interactions), "version": f"llmrec {__version__}"}
    memory = {"start_gb": seen.start / 1e9, "peak_gb": seen.peak / 1e9}
    print(json.dumps({**facts, "seconds": seconds, **memory, "digest": digest(arrays)}))


def write_log(folder: Path, ending: str, users: int, items: int, events: int) -> None:
    """Writes a random log in one file per event of a user: Zipf over items, times in no order.

    Args:
        folder: where the files go.
        ending: ``csv`` or ``parquet``.
        users: how many; each has ``events`` interactions.
        items: how many; the popularity of the item of rank r is proportional to 1 / r.
        events: of every user.
    """
    import numpy as np
    import polars as pl

    generator = np.random.default_rng(0)
    user_ids, item_ids = (
        pl.select(pl.format(letter + "{}", pl.int_range(count).cast(pl.String).str.zfill(7))).to_series()
        for letter, count in (("u", users), ("i", items))
    )
    share = np.cumsum(1 / np.arange(1, items + 1))
    for event in range(events):
        drawn = np.searchsorted(share, generator.random(users) * share[-1])
        part = pl.DataFrame(
            {
                "user_id": user_ids.gather(generator.permutation(users)),
                "item_id": item_ids.gather(drawn),
                "timestamp": generator.integers(START, START + SECONDS, users),
            }
        )
        path = folder / f"part-{event:04}.{ending}"
        if ending == "csv":
            part.write_csv(path, include_header=event == 0)
        else:
            part.write_parquet(path)


def in_one_file(folder: Path) -> Path:
    """Puts the CSV parts of a folder behind each other, as ``log.csv``."""
    file = folder / "log.csv"
    with file.open("wb") as whole:
        for part in sorted(folder.glob("part-*.csv")):
            whole.write(part.read_bytes())
            part.unlink()
    return file


def measure(folder: Path) -> dict[str, Any]:
    """What ``read`` says of a folder, in a process of its own."""
    return _run([sys.executable, "-m", "eval.scale", "read", str(folder)])


def digest(arrays: list[Any]) -> str:
    """Sixteen hexadecimal digits over arrays as 64-bit integers, as the peer takes it."""
    import numpy as np

    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
    return hashed.hexdigest()[:16]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| log | interactions | users | items | seconds | pandas | ratio | peak memory (GB) | load before |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        peer = f"{row['peer_seconds']:.1f} | {row['ratio']:.2f}" if "peer" in row else "- | -"
        sizes = " | ".join(f"{row[size]:,}" for size in ("interactions", "users", "items"))
        lines.append(
            f"| {row['log']} | {sizes} | {row['seconds']:.1f} | {peer} | {row['peak_gb']:.1f} | {row['load']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RunError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def _row(arguments: argparse.Namespace, load: float, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "log": arguments.verb,
        "interactions": rounds[0]["interactions"],
        "users": arguments.users,
        "items": arguments.items,
        "seconds": median(each["seconds"] for each in rounds),
        "peak_gb": max(each["peak_gb"] for each in rounds),
        "load": load,
        "cores": os.cpu_count(),
        "version": rounds[0]["version"],
        "rounds": rounds,
    }


def save(output: Path, row: dict[str, Any]) -> None:
    """Puts the row in the place of the one for the same kind of log."""
    from llmrec.runs import read_json, write_json, write_text

    file = output.with_name(output.name + ".json")
    rows = read_json(file)["rows"] if file.is_file() else []
    rows = sorted([*(old for old in rows if old["log"] != row["log"]), row], key=lambda each: each["log"])
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"rows": rows})
    write_text(output.with_name(output.name + ".md"), table(rows))
    print(table(rows), end="")


if __name__ == "__main__":
    sys.exit(main())
