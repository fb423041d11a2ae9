"""Anonymous memory of a process (RssAnon): what it holds itself, pages of files not counted."""

import re
import threading
from pathlib import Path


class PeakMemory:
    """Watches a process while the block runs.

    Args:
        process: its number; None is this one.
    """

    def __init__(self, process: int | None = None) -> None:
        self._status = Path("/proc") / str(process or "self") / "status"
        self.start = self.peak = 0
        """Bytes when the block began and the most there were."""

    def __enter__(self) -> "PeakMemory":
        self.start = self.peak = self._look()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.peak = max(self.peak, self._look())

    def _look(self) -> int:
        try:
            found = re.search(r"^RssAnon:\s+(\d+) kB$", self._status.read_text(encoding="ascii"), re.M)
        except OSError:  # it has ended, or the system has no such file
            return 0
        return 1024 * int(found[1]) if found else 0
