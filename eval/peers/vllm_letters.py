"""Times llmrec's vllm backend in vllm's own environment; prints the seconds as a JSON list."""

import argparse
import json
import time
from pathlib import Path


def main() -> None:
    """Answers once, which is not counted, then so often; prints the seconds of each time."""
    from llmrec.backends import Request
    from llmrec.components import create

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("dtype")
    parser.add_argument("requests", type=Path, help="file of them")
    parser.add_argument("repeats", type=int, help="how often they are answered")
    arguments = parser.parse_args()
    asked = json.loads(arguments.requests.read_text(encoding="utf-8"))
    requests = [Request(**{**each, "turns": (), "options": tuple(each["options"])}) for each in asked]
    backend, seconds = create("backends", {"name": "vllm", "dtype": arguments.dtype}, arguments.model), []
    for turn in range(arguments.repeats + 1):
        started = time.perf_counter()
        list(backend.answer(requests))
        if turn:
            seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
