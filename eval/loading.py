"""What it takes to load and run large encoders, measured: memory and seconds.

``peak`` runs the literal training command on a model of OPT's 13B shape (random weights in the hub's cache, 26 GB of
disk, no network). ``rate`` times streamed against resident and both against the bare matrix products at the 1.3B shape.
``plan`` measures what ``llmrec plan`` foretells, for three shapes that its factors were not taken from.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from eval.memory import PeakMemory
from eval.speed import IDLE, RESULTS, machine
from llmrec.errors import RunError, exit_code
from llmrec.runs import provenance, read_json, write_json, write_text

EXAMPLES = """examples:
  python -m eval.loading peak --hub /large/disk/hub
  python -m eval.loading rate
  python -m eval.loading plan
"""
FORETOLD = ("opt-125m", "smollm2-360m", "qwen3-0.6b")
CALIBRATION = ("bert-base", "opt-350m")
"""The factors of :mod:`llmrec.loading.plan` come from these: ``python -m eval.loading plan --calibration``."""
STRATEGIES = {"resident bf16": ("resident", "bf16"), "4bit": ("4bit", "bf16"), "streamed bf16": ("streamed", "bf16")}
"""Not 8 bits: what it takes depends on outliers among the activations, of which random weights make too many."""
COMMAND = (
    "accelerate launch llmrec/train.py --model {model} features.precision=bf16 --epochs 1 --overwrite --output {run}"
)


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.loading", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, run in (("peak", peak), ("rate", rate)):
        verb = verbs.add_parser(name)
        verb.add_argument("--hub", type=Path, default=Path("runs/shapes/hub"), help="where such models lie")
        verb.add_argument("--model", default={"peak": "opt-13b", "rate": "opt-1.3b"}[name], help="whose shape")
        verb.set_defaults(run=run)
    verb = verbs.add_parser("plan")
    verb.add_argument("--hub", type=Path, default=Path("runs/shapes/hub"), help="where such models lie")
    verb.add_argument("--texts", type=int, default=500, help="to encode (default: %(default)s)")
    verb.add_argument("--calibration", action="store_true", help="take the shapes that the factors come from")
    verb.set_defaults(run=foretold)
    arguments = parser.parse_args(argv)
    arguments.run(arguments)
    return 0


def peak(arguments: argparse.Namespace) -> None:
    """Peak memory and seconds of the literal command."""
    from eval import shapes

    load = os.getloadavg()[0]
    shapes.write(arguments.model, arguments.hub)
    run = Path("runs") / "shapes" / arguments.model
    environment = {**os.environ, "HF_HUB_CACHE": str(arguments.hub), "HF_HUB_OFFLINE": "1"}
    environment["LLMREC_CACHE"] = str(_empty_cache(run.with_name("cache")))
    command = COMMAND.format(model=arguments.model, run=run).split()
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment) as launched:
        most = _watch(launched)
    if launched.returncode:
        raise RunError(f"{' '.join(command)} ended with exit code {launched.returncode}")
    found = read_json(run / "metrics.json")
    facts = {
        "command": " ".join(command),
        "peak_rss_anon_bytes": most,
        "seconds": time.perf_counter() - started,
        "seconds_of_encoding": found["provenance"]["seconds"]["encode"],
        "test": {name: row["value"] for name, row in found["test"].items()},
    }
    _save("peak", facts, load, [
        f"`{facts['command']}` ends with metrics.json: {facts['seconds'] / 60:.1f} minutes, of them "
        f"{facts['seconds_of_encoding'] / 60:.1f} of encoding, {found['provenance']['threads']} threads.",
        f"Peak RssAnon: {most / 1e9:.2f} GB, asked for: under 3 GB.",
        "Weights are random, so that the row's accuracy says nothing.",
    ])  # fmt: skip


def _empty_cache(folder: Path) -> Path:
    """A cache with the data set and nothing else: vectors that were kept would leave nothing to encode."""
    from llmrec import assets

    shutil.rmtree(folder, ignore_errors=True)
    data = assets.fetch("ml-100k")
    shutil.copytree(data, folder / "assets" / data.name)
    return folder.absolute()


def rate(arguments: argparse.Namespace) -> None:
    """Texts a second, resident and streamed, and the share of the bare products that they reach."""
    import torch

    from eval import shapes
    from llmrec import loading
    from llmrec.features import encode
    from llmrec.loading import plan
    from llmrec.prompting import Prompt, item_texts
    from llmrec.sources import load_dataset

    load = os.getloadavg()[0]
    folder = shapes.write(arguments.model, arguments.hub)
    texts = item_texts(load_dataset("ml-100k"), Prompt.load("items/title_genres"))[1:]
    files = loading.find(str(folder))
    seconds, vectors = {}, {}
    for how in ("resident", "streamed"):
        started = time.perf_counter()
        model = loading.load(files, "bf16", how)
        ready = time.perf_counter()
        vectors[how] = encode(texts, model, "mean", 64)[0]
        seconds[how] = {"load": ready - started, "encode": time.perf_counter() - ready}
        tokens = sum(map(len, model.tokenizer(texts)["input_ids"]))
        del model
    shape = plan.shape_of(arguments.model)
    operations = 2.0 * tokens * shape.linear
    product = plan.measure().operations["bf16"]
    whole = {how: sum(each.values()) for how, each in seconds.items()}
    facts = {
        "seconds": seconds,
        "tokens": tokens,
        "operations": operations,
        "product_rate": product,
        "resident_share_of_products": operations / seconds["resident"]["encode"] / product,
        "streamed_to_resident": whole["resident"] / whole["streamed"],
        "largest_difference": float((vectors["resident"] - vectors["streamed"]).abs().max()),
        "threads": torch.get_num_threads(),
    }
    _save("rate", facts, load, [
        f"{arguments.model} shape, {len(texts):,} texts of {tokens / len(texts):.0f} tokens, bf16: resident "
        f"{whole['resident']:.0f} s (of them {seconds['resident']['load']:.0f} loading), streamed "
        f"{whole['streamed']:.0f} s: {facts['streamed_to_resident']:.2f}x, asked for: at least 0.6x.",
        f"Resident reaches {facts['resident_share_of_products']:.2f} of the measured {product / 1e12:.2f} TFLOP/s of "
        "bf16 products, asked for: at least 0.5.",
        f"Largest difference between the vectors: {facts['largest_difference']:.1e}.",
    ])  # fmt: skip


def foretold(arguments: argparse.Namespace) -> None:
    """Memory and seconds of encoding against what the plan says, each in a process of its own."""
    from eval import shapes
    from llmrec.loading import plan

    load = os.getloadavg()[0]
    names = CALIBRATION if arguments.calibration else FORETOLD
    lines = [
        "| shape | strategy | memory, foretold | measured | ratio | seconds, foretold | measured | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = []
    for name in names:
        folder = shapes.write(name, arguments.hub)
        for strategy, (how, precision) in STRATEGIES.items():
            command = [sys.executable, "-m", "eval.encode_once", str(folder), how, precision, str(arguments.texts)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RunError(f"{name}, {strategy}: {(done.stderr.strip().splitlines() or ['nothing'])[-1]}")
            found = json.loads(done.stdout.splitlines()[-1])
            tokens = round(found["tokens"] / arguments.texts)
            costs = plan.costs(plan.shape_of(name), arguments.texts, tokens, plan.measure())
            cost = next(cost for cost in costs if cost.strategy == strategy)
            row = {"shape": name, "strategy": strategy, **found, "peak": cost.peak, "planned_seconds": cost.seconds}
            row |= {"memory_ratio": found["bytes"] / cost.peak, "time_ratio": found["seconds"] / cost.seconds}
            rows.append(row)
            lines.append(
                f"| {name} | {strategy} | {cost.peak / 1e9:.2f} GB | {found['bytes'] / 1e9:.2f} GB | "
                f"{row['memory_ratio']:.2f} | {cost.seconds:.1f} | {found['seconds']:.1f} | {row['time_ratio']:.2f} |"
            )
            print(lines[-1], file=sys.stderr)
    words = (
        "the factors come from these shapes" if arguments.calibration else "asked for: memory .70 to 1.30, time .5 to 2"
    )
    text = [*lines, "", f"{arguments.texts} texts, {words}. Memory: anonymous, and weights that stay mapped."]
    if arguments.calibration:
        print("\n".join(text))
    else:
        _save("plan", {"rows": rows}, load, text)


def _watch(launched: "subprocess.Popen[bytes]") -> int:
    """The most anonymous memory of any process below the one that was launched."""
    import psutil

    watched: dict[int, PeakMemory] = {}
    while launched.poll() is None:
        for child in psutil.Process(launched.pid).children(recursive=True):
            if child.pid not in watched:
                watched[child.pid] = PeakMemory(child.pid).__enter__()
        time.sleep(0.2)
    for each in watched.values():
        each.__exit__()
    return max((each.peak for each in watched.values()), default=0)


def _save(verb: str, facts: dict[str, Any], load: float, lines: list[str]) -> None:
    busy = f" **The machine was busy (above {IDLE}).**" if load > IDLE else ""
    listed = lines if lines[0].startswith("|") else [f"- {line}" for line in lines]
    text = "\n".join([*listed, "", f"Load average before: {load:.2f}.{busy} {machine()}.", ""])
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_text(RESULTS / f"loading-{verb}.md", text)
    write_json(RESULTS / f"loading-{verb}.json", facts | {"load_average": load, "provenance": provenance()})
    print(text)
    print(json.dumps(facts, indent=2), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
