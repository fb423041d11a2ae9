"""Encoding item texts with MiniLM against sentence-transformers: the same model files, texts and length."""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from eval.speed import Timing
from llmrec.errors import RunError

SCRIPT = Path(__file__).parents[1] / "peers" / "sentence_transformers_encode.py"
PEER = "sentence-transformers 6.2"
MODEL = "minilm-l6"
NEIGHBOURS = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the peer lives, and the texts."""
    parser.add_argument("--peer-python", type=Path, default=Path(".venv-replay/bin/python"))
    parser.add_argument("--data", default="ml-100k", help="whose item texts")
    parser.add_argument("--data-dir", type=Path, help="its folder, if it is not to be fetched")
    parser.add_argument("--prompt", default="items/title_genres", help="that writes the texts")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--folder", type=Path, default=Path("runs/speed"), help="where the texts are handed over")


def measure(arguments: argparse.Namespace) -> Timing:
    """Systems take turns; each encodes once before the clock runs."""
    import torch

    from llmrec import loading
    from llmrec.prompting import Prompt, item_texts
    from llmrec.runs import write_json
    from llmrec.sources import load_dataset

    if not arguments.peer_python.is_file():
        raise RunError(f"{arguments.peer_python} is missing; make peers builds the peers' environments")
    torch.set_num_threads(arguments.threads)
    dataset = load_dataset(arguments.data, arguments.data_dir)
    texts = item_texts(dataset, Prompt.load(arguments.prompt))[1:]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_json(arguments.folder / "texts.json", texts)
    files = loading.find(MODEL)
    seconds: dict[str, list[float]] = {}
    vectors: dict[str, Any] = {}
    for _ in range(arguments.repeats):
        for precision in ("fp32", "bf16"):
            ours, theirs = f"llmrec {precision}", f"{PEER} {precision}"
            taken, vectors[precision] = _encode(texts, files, precision, arguments.max_tokens)
            seconds.setdefault(ours, []).append(taken)
            seconds.setdefault(theirs, []).extend(_peer(files, precision, arguments))
    best = min(("llmrec fp32", "llmrec bf16"), key=lambda name: sorted(seconds[name])[len(seconds[name]) // 2])
    cosine, overlap = likeness(vectors["fp32"], vectors["bf16"])
    return Timing(
        title=f"{MODEL}, {len(texts):,} texts ({arguments.prompt} of {arguments.data}), {arguments.max_tokens} tokens",
        unit="texts",
        work=len(texts),
        seconds=seconds,
        ratios=[
            ("llmrec fp32", f"{PEER} fp32", "at least 1.1x"),
            ("llmrec bf16", f"{PEER} bf16", "at least 1.1x"),
            (best, f"{PEER} fp32", "goal 2x: best of ours against the peer's default"),
        ],
        notes=[
            f"bf16 against fp32 of llmrec, both standardised by the mean and spread of fp32: mean cosine {cosine:.5f} "
            f"(asked for: .998), overlap of the {NEIGHBOURS} nearest neighbours {overlap:.4f} (asked for: .95)."
        ],
        facts={"cosine": cosine, "overlap": overlap},
    )


def likeness(exact: Any, rough: Any) -> tuple[float, float]:
    """Mean cosine of rows, and share of common nearest neighbours, after standardising both like the first."""
    import torch
    import torch.nn.functional as F

    from llmrec.transforms.standardise import Standardise

    shift, scale = Standardise().fit(exact)
    first, second = (F.normalize((vectors - shift) * scale) for vectors in (exact, rough))

    def nearest(vectors: Any) -> Any:
        return (vectors @ vectors.T).fill_diagonal_(-2).topk(NEIGHBOURS, dim=1).indices

    common = (nearest(first)[:, :, None] == nearest(second)[:, None, :]).any(dim=2)
    return float((first * second).sum(dim=1).mean()), float(common.to(torch.float32).mean())


def _encode(texts: list[str], files: Any, precision: Any, max_tokens: int) -> tuple[float, Any]:
    from time import perf_counter

    from llmrec import features, loading

    model = loading.load(files, precision)
    features.encode(texts[:256], model, "mean", max_tokens)
    started = perf_counter()
    vectors, _ = features.encode(texts, model, "mean", max_tokens)
    return perf_counter() - started, vectors.float()


def _peer(files: Any, precision: str, arguments: argparse.Namespace) -> list[float]:
    dtype = {"fp32": "float32", "bf16": "bfloat16"}[precision]
    command = [str(arguments.peer_python), str(SCRIPT), str(files.path), str(arguments.folder / "texts.json")]
    command += ["--dtype", dtype, "--max-tokens", str(arguments.max_tokens)]
    command += ["--repeats", "1", "--threads", str(arguments.threads)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RunError(f"{PEER} ended with {done.returncode}: {done.stderr[-1000:]}")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds
