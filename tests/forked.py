"""train.py in processes that import nothing: forked from one that has imported it all, most of what a small run does.

That one is Python's fork server, begun at the first use. Commands as users type them are run by small_runs.execute.
"""

import math
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

TIMEOUT, GRACE = 120, 10
ROOT = Path(__file__).parents[1]
SCRIPT = "llmrec/train.py"
_STREAMS = ("out", "err")
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        *("llmrec.config", "llmrec.preparation", "llmrec.building", "llmrec.processes", "llmrec.report"),
        *("torch._dynamo", "torch.utils.tensorboard", "sklearn.feature_extraction.text", "transformers"),
    ]
)


class Training:
    """train.py, or another script, in so many processes, as torchrun would begin them; has what tests ask of a Popen.

    Variables that libraries read when they are imported come too late here.
    """

    def __init__(self, words: list[str], count: int = 1, script: str = SCRIPT, **environment: str) -> None:
        self.words, self.returncode, self.last = words, None, math.inf
        self.folder = tempfile.TemporaryDirectory()
        for name in _STREAMS:
            Path(self.folder.name, name).touch()
        world = _world(count) if count > 1 else {}
        self.ranks = []
        for rank in range(count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), **world} if world else {}
            given = {"OMP_NUM_THREADS": "1", **own, **environment}
            self.ranks.append(_SERVER.Process(target=_run, args=(script, words, self.folder.name, given)))
            self.ranks[-1].start()

    def poll(self) -> int | None:
        """Exit status once all have ended; after one has failed the others have seconds left, as with torchrun."""
        codes = [process.exitcode for process in self.ranks]
        if any(codes):
            self.last = min(self.last, time.monotonic() + GRACE)
        if None not in codes or time.monotonic() > self.last:
            self.kill()
            self.returncode = next(filter(None, codes), 0)
        return self.returncode

    def communicate(self, timeout: float = TIMEOUT) -> tuple[str, str]:
        """What all of them wrote, once they have ended.

        Raises:
            subprocess.TimeoutExpired: they went on; they are killed.
        """
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise subprocess.TimeoutExpired(self.words, timeout)
            time.sleep(0.01)
        out, err = (Path(self.folder.name, name).read_text(encoding="utf-8") for name in _STREAMS)
        self.folder.cleanup()
        return out, err

    def kill(self) -> None:
        """SIGKILL for all of them."""
        for process in self.ranks:
            process.kill()
        for process in self.ranks:
            process.join()


def train(
    words: list[str], count: int = 1, script: str = SCRIPT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs them to their end."""
    training = Training(words, count, script, **environment)
    out, err = training.communicate()
    return subprocess.CompletedProcess(words, training.returncode or 0, out, err)


def _world(count: int) -> dict[str, str]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    return {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "TORCHELASTIC_RUN_ID": "forked", **place}


def _run(script: str, words: list[str], folder: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    os.chdir(ROOT)
    for number, name in enumerate(_STREAMS, start=1):
        os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_APPEND), number)
    sys.argv = [script, *words]
    runpy.run_path(script, run_name="__main__")
