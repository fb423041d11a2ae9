"""Small runs: options that make one quick, the commands as second processes, one call of the training loop."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import forked
import numpy as np
import psutil
import torch
from accelerate import Accelerator
from conftest import toy_tables
from torch import Tensor

from llmrec import components, config, recommender, training
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText
from llmrec.matching import MatchingStep
from llmrec.runs import RunFolder
from llmrec.sequences import TrainingBatches
from llmrec.splits import Split

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
TIMEOUT = 120
TINY = ["embedding_dim=8", "head.num_layers=1", "training.batch_size=16", "max_seq_len=10", "training.warmup_steps=0"]
SCORES = {"HR@10": 0.0, "nDCG@10": 0.0}
QUICK = ["embedding_dim=8", "head.num_layers=1", "max_seq_len=10", "training.batch_size=8"]


class Answer:
    """What a command gave back."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


def arguments(data: Path, output: Path, *more: str) -> list[str]:
    """Of train.py, for a quick run; later ones win."""
    return ["--data", "toy", "--data-dir", str(data), "--output", str(output), *QUICK, *more]


def start(*command: str, **environment: str) -> subprocess.Popen[str]:
    """Starts a command of the environment's bin in the repository's folder, with one thread."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def execute(*command: str, timeout: float = TIMEOUT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; one that hangs fails the test and leaves nothing behind."""
    process = start(*command, **environment)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL for the process and all it started; torchrun gives each worker a process group of its own."""
    if process.poll() is None:
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    process.communicate()


def kill_when(process: forked.Training, folder: Path, ready: Callable[[], bool]) -> int:
    """Kills a training process as soon as that is so; returns the last step that metrics.jsonl tells of."""
    end = time.monotonic() + TIMEOUT
    try:
        while not ready():
            assert process.poll() is None, f"ended too early: {process.communicate()}"
            assert time.monotonic() < end, "never came so far"
            time.sleep(0.005)
    finally:
        process.kill()
    assert not (folder / "metrics.json").exists(), "the run was over before it could be killed"
    return last_step(folder)


def last_step(folder: Path) -> int:
    return max((row["step"] for row in rows(folder, "step")), default=0)


def rows(folder: Path, event: str) -> list[dict]:
    """Whole rows of metrics.jsonl with that event."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    parsed = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return [row for row in parsed if row["event"] == event]


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def numbers(folder: Path) -> dict:
    """metrics.json without what may differ between two runs of the same work: when, how long, beside what, how much of
    it in the last process."""
    content = metrics(folder)
    for key in ("seconds", "finished", "load_average", "commit", "peak_memory_bytes", "padding"):
        content["provenance"].pop(key, None)
    return content


def digests(folder: Path, names: Iterable[str] = ()) -> dict[str, str]:
    """sha256 of what a run learned and ranked."""
    names = names or (
        "model.safetensors",
        "item_embeddings.safetensors",
        "validation/rankings.parquet",
        "test/rankings.parquet",
        "test/cases.parquet",
    )
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


class Job:
    """One call of fit, with everything that went in and came out."""

    def __init__(self, folder: Path, *overrides: str, seed: int = 0) -> None:
        self.options = config.load(None, [*TINY, *overrides], {"seed": seed}).resolved()
        dataset = Dataset.from_tables("toy", *toy_tables())
        self.split: Split = components.create("splits", self.options.split).split(dataset)
        training.seed_step(seed, 0, 0)
        text = ItemText.of(self.options, dataset, lambda done, total: None)
        self.model = recommender.build(self.options, self.split, text)
        self.folder, self.rows, self.weights = RunFolder(folder, {"data": dataset.content_hash}), [], []
        folder.mkdir(exist_ok=True)

    def fit(self, scores: Any = None, report: Callable[[dict], None] | None = None, **given: Any) -> Any:
        """Trains; ``scores`` are the validation nDCG@10 of the epochs, by default ever better ones.

        ``loss`` and ``validate`` may be given in the place of the job's own.
        """
        script = iter(scores) if scores is not None else iter(np.linspace(0.1, 0.9, 1000).tolist())

        def validate(model: recommender.Recommender) -> dict[str, float]:
            model.eval()
            model.item_embeddings()
            self.weights.append(training.copy_of(model))
            return SCORES | {"nDCG@10": next(script)}

        how = self.options.training
        cut = (how.batch_size, how.windows, self.options.seed)
        made = given.get("loss") or components.create("losses", self.options.loss)
        return training.fit(
            self.model,
            MatchingStep(self.model, made, self.split.train.counts(self.model.num_items)),
            TrainingBatches(self.split.train, self.model.max_seq_len, *cut, future=self.model.future),
            how,
            seed=self.options.seed,
            validate=given.get("validate", validate),
            folder=self.folder,
            accelerator=Accelerator(),
            report=report or self.rows.append,
        )

    def logged(self, event: str) -> list[dict]:
        return [row for row in self.rows if row["event"] == event]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
