"""A checksum that is computed while the disk works."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["CHUNK", "Digest"]

CHUNK = 2**20  # small enough to be hashed while it is in the cache


class Digest:
    """SHA-256 whose full chunks are hashed in a thread: it takes as long as reading them.

    Parameters
    ----------
    start : bytes
        What to begin with.
    """

    def __init__(self, start: bytes) -> None:
        self._hash = hashlib.sha256(start)
        self._pool: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None

    def update(self, data: memoryview) -> None:
        """Add at most ``CHUNK`` bytes, which must stay as they are until ``hexdigest``."""
        self._wait()
        if len(data) < CHUNK:  # a thread would cost more
            self._hash.update(data)
            return
        self._pool = self._pool or ThreadPoolExecutor(1)
        self._last = self._pool.submit(self._hash.update, data)

    def hexdigest(self) -> str:
        """Finish, and return 64 hexadecimal digits."""
        self._wait()
        if self._pool is not None:
            self._pool.shutdown()
        return self._hash.hexdigest()

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()
