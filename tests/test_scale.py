"""Large logs: flat arrays, codes instead of strings, and a cap on memory that is measured."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import ROOT

from eval import scale
from llmrec.errors import RunError
from llmrec.interactions import Dataset
from llmrec.sources.table import Tables
from llmrec.splits.leave_one_out import LeaveOneOut

LINUX = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="RssAnon is counted by Linux only")


@LINUX
@pytest.mark.slow
def test_a_large_log_becomes_a_split_under_its_cap(tmp_path):
    """A21: 1 M users × 50 events synthetic, peak RssAnon under 6 GB: three tenths of the users under three tenths.

    What the libraries hold before is not counted; ``python -m eval.scale parquet`` does it in full size.
    """
    scale.write_log(tmp_path, "parquet", users=300_000, items=100_000, events=50)
    found = scale.measure(tmp_path)
    assert found["interactions"] == 15_000_000
    assert 0 < found["peak_gb"] - found["start_gb"] < 6 * 3 / 10


def test_a_split_holds_flat_arrays_and_no_object_per_user(tmp_path):
    """A21: dense history matrix → flat int arrays + offsets; nor is there a Python object per user."""
    scale.write_log(tmp_path, "parquet", users=300, items=50, events=5)
    data = Tables(interactions="*.parquet").read(tmp_path, "scale")
    split = LeaveOneOut().split(data)
    assert data.interactions.schema == {"user": pl.Int32, "item": pl.Int32, "timestamp": pl.Int64}
    for values in (split.train.values, split.test.histories.values):
        assert (values.ndim, values.dtype) == (1, np.int32)
    assert (len(split.train.values), len(split.test.histories.values)) == (300 * 3, 300 * 4)
    assert {"user_ids", "item_ids"} & vars(data).keys() == set()
    assert data.user_ids.tolist() == ["", *data.users["user_id"]]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_measured_log_is_what_it_says(tmp_path, ending):
    scale.write_log(tmp_path, ending, users=200, items=40, events=4)
    data = Tables(interactions="part-*").read(tmp_path, "scale") if ending == "parquet" else None
    if data is None:
        whole = scale.in_one_file(tmp_path)
        data = Tables(interactions=whole.name).read(tmp_path, "scale")
    assert data.interactions.group_by("user").len()["len"].unique().to_list() == [4]
    counts = np.sort(np.bincount(data.interactions["item"].to_numpy())[1:])[::-1]
    assert counts[0] > 4 * counts[len(counts) // 2]


def test_categories_and_strings_give_the_same_data():
    log = pl.DataFrame({"user_id": ["v", "u", "v"], "item_id": ["b", "a", "c"], "timestamp": [2, 1, 1]})
    codes = log.cast({"user_id": pl.Categorical, "item_id": pl.Categorical})
    ours, theirs = Dataset.from_tables("toy", log), Dataset.from_tables("toy", codes.reverse().reverse())
    assert ours.content_hash == theirs.content_hash
    assert theirs.users["user_id"].to_list() == ["v", "u"]


def test_times_too_far_apart_for_one_sort_key_are_sorted_all_the_same():
    far = 2**62
    rows = [("u", "c", far), ("v", "d", 5), ("u", "a", -far), ("u", "b", -far), ("v", "e", 5)]
    data = Dataset.from_tables("toy", pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    assert data.item_ids[data.interactions["item"].to_numpy()].tolist() == ["a", "b", "c", "d", "e"]


@pytest.mark.slow
def test_the_measurement_prints_time_memory_and_the_digest_of_the_arrays(tmp_path):
    pl.DataFrame({"user": ["u"] * 4, "item": ["a", "b", "a", "c"], "time": [4, 2, 3, 1]}).write_csv(
        tmp_path / "log.csv"
    )
    command = [sys.executable, "-m", "eval.scale", "read", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    found = json.loads(done.stdout)
    # Indices by first appearance: a 1, b 2, c 3; in time: c b a a.
    assert found["digest"] == scale.digest([np.array(part) for part in ([3, 2], [0, 2], [1], [1])])
    assert found["interactions"] == 4
    assert found["seconds"] > 0
    with pytest.raises(RunError, match="failed: error: no file in"):
        scale.measure(tmp_path / "nothing")


def test_a_row_replaces_the_older_one_of_its_kind(tmp_path, capsys):
    row = {"interactions": 10, "users": 2, "items": 3, "seconds": 1.0, "peak_gb": 0.5, "load": 0.1}
    scale.save(tmp_path / "scale", {"log": "parquet", **row})
    scale.save(tmp_path / "scale", {"log": "csv", **row, "peer": "pandas 3", "peer_seconds": 2.0, "ratio": 0.5})
    scale.save(tmp_path / "scale", {"log": "parquet", **row, "seconds": 3.0})
    lines = (tmp_path / "scale.md").read_text(encoding="utf-8").splitlines()
    assert lines[2:] == [
        "| csv | 10 | 2 | 3 | 1.0 | 2.0 | 0.50 | 0.5 | 0.1 |",
        "| parquet | 10 | 2 | 3 | 3.0 | - | - | 0.5 | 0.1 |",
    ]
    assert capsys.readouterr().out.endswith("\n".join(lines) + "\n")


def test_without_pandas_the_command_says_how_to_get_it(tmp_path, capsys):
    assert scale.main(["csv", "--python", str(tmp_path / "python")]) == 2
    assert "make peers builds an environment with pandas" in capsys.readouterr().err
