"""Users a second of a prompted ranker that reads option letters off against plain ``generate`` of transformers."""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from eval.flags import at_least
from eval.speed import Timing
from llmrec import evaluation, metrics
from llmrec.backends import Reply, Request
from llmrec.candidates import generator
from llmrec.errors import RunError
from llmrec.report import interval

LETTERS, PLAIN, NAIVE = "llmrec, letters", "generate, same batch and dtype", "generate, fp32, one at a time"
VLLM = "vllm, letters"
PEER = Path("eval/peers/vllm_letters.py")
ALL_USERS = 943
_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
_SCORINGS = ("letters", "generate")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The model, the users and vllm's environment."""
    parser.set_defaults(repeats=3)
    parser.add_argument("--model", default="smollm2-135m", help="language model")
    parser.add_argument("--users", type=at_least(1), default=64, help="of MovieLens-100K, asked in one repetition")
    parser.add_argument("--batch", type=int, default=16, help="prompts that pass the model at a time")
    parser.add_argument("--naive-users", type=at_least(1), default=8, help="asked one at a time")
    parser.add_argument("--vllm-python", type=Path, help="python of `make vllm`, to time vllm beside it")
    parser.add_argument("--vllm-model", type=Path, help="folder of the same model, which vllm reads")


def measure(arguments: argparse.Namespace) -> Timing:
    """All read the same prompts; what letters pick and what is generated are compared on these users."""
    import torch

    from eval.speed import alternate
    from llmrec import components
    from llmrec.backends._rendering import prompt_of
    from llmrec.backends.transformers import Transformers

    torch.set_num_threads(arguments.threads)
    scorings = {name: components.create("scorings", components.resolve("scorings", name)) for name in _SCORINGS}
    cases, questions = _questions(arguments.users)
    requests = {name: [each.requests(question) for question in questions] for name, each in scorings.items()}
    backend = Transformers(arguments.model)
    texts = [prompt_of(backend.loaded()[1], request)[0] for (request,) in requests["generate"]]
    longest = max(backend.count_tokens(request) for (request,) in requests["generate"])
    backend.batch_tokens = arguments.batch * longest
    distinct = list(dict.fromkeys(request for some in requests["letters"] for request in some))
    answers: dict[str, list[Any]] = {}

    def letters() -> None:
        found = {distinct[place]: reply for place, reply in backend.answer(distinct)}
        answers["letters"] = [[found[request] for request in some] for some in requests["letters"]]

    def plain() -> None:
        answers["generate"] = [[reply] for reply in _generate(backend.loaded(), texts, arguments.batch)]

    whole = Transformers(arguments.model, precision="fp32") if backend.precision != "fp32" else backend
    few = texts[: arguments.naive_users]
    systems = {LETTERS: letters, PLAIN: plain, NAIVE: lambda: _generate(whole.loaded(), few, 1)}
    seconds = alternate(systems, arguments.repeats)
    seconds[NAIVE] = [taken * len(texts) / len(few) for taken in seconds[NAIVE]]
    if arguments.vllm_python:
        seconds[VLLM] = _vllm(arguments, distinct, _DTYPES[backend.precision])
    hits = {name: _hits(scorings[name], cases, questions, answers[name]) for name in _SCORINGS}
    return Timing(
        title=f"hr@1 on ml-100k, {arguments.model}, {backend.precision}, batches of {arguments.batch}",
        unit="users",
        work=len(texts),
        seconds=seconds,
        ratios=[(LETTERS, PLAIN, "at least 2x"), (LETTERS, NAIVE, "reported")]
        + ([(LETTERS, VLLM, "reported")] if VLLM in seconds else []),
        notes=_notes(hits, seconds, len(texts)),
        facts={"HR@1": {name: float(each.mean()) for name, each in hits.items()}, "max_new_tokens": 16},
    )


def _questions(users: int) -> tuple[Any, list[Any]]:
    """Candidates of so many users of MovieLens-100K, and how they are asked."""
    from llmrec import components, config, preparation, zeroshot
    from llmrec.candidates import drawn
    from llmrec.console import Console
    from llmrec.item_text import ItemText
    from llmrec.prompt_rows import PromptRows
    from llmrec.prompting import Prompt
    from llmrec.sources import load_dataset

    options = config.load(None, [], {}).resolved()
    split = preparation.cut(options, load_dataset(options.data), Console(quiet=True))
    rows = PromptRows(split.dataset, ItemText.of(options, split.dataset, lambda done, total: None).texts)
    candidates = drawn(split.test, split.dataset, 4, seed=0)
    candidates = candidates.take(generator("users").choice(ALL_USERS, min(users, ALL_USERS), replace=False))
    scoring = components.create("scorings", components.resolve("scorings", "letters"))
    way = zeroshot.Way(Prompt.load("zeroshot/pick_one"), scoring, wanted=1)
    places = range(len(candidates.items))
    return candidates, [zeroshot.question(candidates, rows, way, row, np.arange(4)) for row in places]


def _generate(model_and_tokenizer: Any, texts: list[str], batch: int) -> list[Reply]:
    """As the manual of transformers has it: a padded batch, greedy, an end of text allowed."""
    import torch

    model, tokenizer = model_and_tokenizer
    found = []
    for start in range(0, len(texts), batch):
        inputs = tokenizer(texts[start : start + batch], padding=True, add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            written = model.generate(**inputs, max_new_tokens=16, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        found += tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [Reply(text) for text in found]


def _hits(scoring: Any, candidates: Any, questions: list[Any], replies: list[Any]) -> Float[np.ndarray, " users"]:
    """HR@1 of each user, ties as expectations."""
    scores = [scoring.judge(question, some).scores for question, some in zip(questions, replies, strict=True)]
    cases = candidates.ranked(scores)[0]
    hits: Float[np.ndarray, " users"] = metrics.parse("HR@1")(
        cases["target_above"].to_numpy(), cases["target_tied"].to_numpy()
    )
    return hits


def _notes(hits: dict[str, Any], seconds: dict[str, list[float]], users: int) -> list[str]:
    difference = evaluation.bootstrap(hits["letters"] - hits["generate"])
    every = {name: sorted(taken)[len(taken) // 2] / users * ALL_USERS for name, taken in seconds.items()}
    return [
        f"HR@1 of {users} users: letters {hits['letters'].mean():.4f}, generated {hits['generate'].mean():.4f}, "
        f"difference {interval(difference, sign='+')}; chance .25.",
        f"All {ALL_USERS} users at these rates: "
        + ", ".join(f"{name} {taken / 60:.1f} minutes" for name, taken in every.items())
        + ".",
        "generate writes at most 16 tokens and may end before; one at a time was timed on fewer users.",
    ]


def _vllm(arguments: argparse.Namespace, requests: list[Request], dtype: str) -> list[float]:
    """Seconds of vllm in its own environment for the same questions in the same precision."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "requests.json"
        asked.write_text(json.dumps([request.facts() for request in requests]), encoding="utf-8")
        command = [arguments.vllm_python, PEER, arguments.vllm_model, dtype, asked, str(arguments.repeats)]
        # Of its own accord vllm keeps a core for its scheduler, which is half of a machine of two.
        threads = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(arguments.threads)}
        environment = {**os.environ, **threads}
        done = subprocess.run(
            list(map(str, command)), capture_output=True, encoding="utf-8", env=environment, check=False
        )
        if done.returncode:
            raise RunError(f"{PEER} ended with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
        seconds: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
        return seconds
