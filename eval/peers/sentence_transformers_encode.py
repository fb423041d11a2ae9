"""Times sentence-transformers on a file of texts; prints the seconds as a JSON list.

Stands alone and runs in the peer's own environment.

    python sentence_transformers_encode.py MODEL texts.json --dtype bfloat16 --max-tokens 64 --repeats 3 --threads 2
"""

import argparse
import json
import time
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer


def main() -> None:
    """Reads the command line, encodes and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    texts = json.loads(arguments.texts.read_text(encoding="utf-8"))
    model = SentenceTransformer(
        arguments.model, device="cpu", model_kwargs={"torch_dtype": getattr(torch, arguments.dtype)}
    )
    model.max_seq_length = arguments.max_tokens
    seconds = []
    for _ in range(arguments.repeats + 1):
        started = time.perf_counter()
        model.encode(texts, show_progress_bar=False, convert_to_tensor=True)
        seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds[1:]))


if __name__ == "__main__":
    main()
