"""Loads a model and encodes some texts in a process of its own, for others to read: bytes, seconds, tokens."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from eval.flags import at_least
from eval.memory import PeakMemory


def main(argv: list[str] | None = None) -> int:
    """Prints one JSON object; returns the exit code."""
    parser = argparse.ArgumentParser("eval.encode_once", description=__doc__)
    parser.add_argument("model", help="as --model of train.py")
    parser.add_argument("how", metavar="LOADING", help="as --loading of train.py, but for auto")
    parser.add_argument("precision", help="as features.precision of train.py")
    parser.add_argument("number", metavar="TEXTS", type=at_least(1), help="how many titles of MovieLens-100K")
    arguments = parser.parse_args(argv)
    print(json.dumps(measured(arguments.model, arguments.how, arguments.precision, arguments.number)))
    return 0


def measured(folder: str, how: Any, precision: Any, number: int) -> dict[str, float]:
    """What it takes; seconds are those of loading and encoding, without starting Python."""
    from llmrec import loading
    from llmrec.features import encode
    from llmrec.prompting import Prompt, item_texts
    from llmrec.sources import load_dataset

    texts = item_texts(load_dataset("ml-100k"), Prompt.load("items/title_genres"))[1 : 1 + number]
    files = loading.find(folder)
    with PeakMemory() as memory:
        started = time.perf_counter()
        model = loading.load(files, precision, how)
        loaded = time.perf_counter()
        encode(texts, model, "mean", 64)
        ended = time.perf_counter()
    return {
        "bytes": memory.peak + mapped(model.model),
        "seconds": ended - started,
        "seconds_of_loading": loaded - started,
        "tokens": sum(map(len, model.tokenizer(texts)["input_ids"])),
    }


def mapped(model: Any) -> int:
    """Bytes of weights that are pages of their file, which is no anonymous memory and is needed all the same."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    ranges = [line.split()[0].split("-") for line in lines if line.endswith(".safetensors")]
    places = [(int(first, 16), int(last, 16)) for first, last in ranges]
    weights = {each.data_ptr(): each.numel() * each.element_size() for each in model.parameters()}
    return sum(size for at, size in weights.items() if any(first <= at < last for first, last in places))


if __name__ == "__main__":
    sys.exit(main())
