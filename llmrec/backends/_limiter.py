"""Keeps requests below what a server allows in a minute."""

import threading
import time
from collections.abc import Callable


class Limiter:
    """Spreads requests evenly, whatever the number of threads.

    No request starts before the last one's share of its minute is over: ``60 / requests_per_minute`` seconds, or
    ``60 * tokens / tokens_per_minute`` if that is longer. There are no bursts, so no minute holds more than is allowed
    (but for one request that is in itself larger).

    Args:
        requests_per_minute: None for no limit.
        tokens_per_minute: None for no limit.
        clock: seconds from any fixed moment.
    """

    def __init__(
        self,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests_per_minute, self.tokens_per_minute, self.clock = requests_per_minute, tokens_per_minute, clock
        self._free = clock()
        self._lock = threading.Lock()

    def reserve(self, tokens: int) -> float:
        """Takes the next place in the row.

        Args:
            tokens: of the request and of the longest answer it may get.

        Returns:
            Seconds to wait before the request may be sent.
        """
        by_requests = 60 / self.requests_per_minute if self.requests_per_minute else 0.0
        by_tokens = 60 * tokens / self.tokens_per_minute if self.tokens_per_minute else 0.0
        with self._lock:
            now = self.clock()
            start = max(now, self._free)
            self._free = start + max(by_requests, by_tokens)
        return start - now
