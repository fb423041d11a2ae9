"""Read a CSV of interactions with pandas and cut leave-one-out: what its user would write, for eval/scale.py.

Stands alone: it needs pandas and numpy, nothing of llmrec. It prints one line of JSON with the seconds from opening
the file to the arrays and a digest of the arrays, which llmrec must reach, too:

    python pandas_read.py FILE.csv
"""

import argparse
import hashlib
import json
import sys
import time

import numpy as np
import pandas as pd


def read_and_split(path: str) -> list[np.ndarray]:
    """Training items and offsets, then validation and test targets; users and items number from 1 as they appear."""
    log = pd.read_csv(path, engine="c")
    users, known = pd.factorize(log["user_id"])
    items, _ = pd.factorize(log["item_id"])
    log = pd.DataFrame({"user": users, "item": items + 1, "timestamp": log["timestamp"]})
    log = log.sort_values(["user", "timestamp"], kind="stable")
    item = log["item"].to_numpy()
    lengths = np.bincount(log["user"].to_numpy(), minlength=len(known))
    stops = np.cumsum(lengths)
    case = lengths >= 3
    rows = stops[case]
    training = np.ones(len(item), dtype=bool)
    training[rows - 1] = training[rows - 2] = False
    offsets = np.concatenate([[0], np.cumsum(lengths - 2 * case)])
    return [item[training], offsets, item[rows - 2], item[rows - 1]]


def digest(arrays: list[np.ndarray]) -> str:
    """Sixteen hexadecimal digits over the arrays as 64-bit integers."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
    return hashed.hexdigest()[:16]


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file")
    arguments = parser.parse_args()
    start = time.perf_counter()
    arrays = read_and_split(arguments.file)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "digest": digest(arrays), "version": f"pandas {pd.__version__}"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
