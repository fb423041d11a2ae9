"""Times llmrec's vllm backend in vllm's own environment: MODEL, DTYPE, a file of requests, how often."""

import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Answers once, which is not counted, then so often; prints the seconds of each time."""
    from llmrec.backends import Request
    from llmrec.components import create

    model, dtype, path, repeats = sys.argv[1:]
    asked = json.loads(Path(path).read_text(encoding="utf-8"))
    requests = [Request(**{**each, "turns": (), "options": tuple(each["options"])}) for each in asked]
    backend, seconds = create("backends", {"name": "vllm", "dtype": dtype}, model), []
    for turn in range(int(repeats) + 1):
        started = time.perf_counter()
        list(backend.answer(requests))
        if turn:
            seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
