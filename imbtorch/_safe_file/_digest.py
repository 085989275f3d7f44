"""Compute a checksum in a thread while the file is read or written."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["CHUNK", "Digest"]

CHUNK = 2**20  # bytes; small enough to stay in the processor's cache until it is hashed


class Digest:
    """SHA-256 that hashes full chunks in a thread, at the same time as they are read or written.

    Parameters
    ----------
    start : bytes
        First bytes to hash.
    """

    def __init__(self, start: bytes) -> None:
        self._hash = hashlib.sha256(start)
        self._pool: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None

    def update(self, data: memoryview) -> None:
        """Add at most ``CHUNK`` bytes, which must not change until ``hexdigest`` is called."""
        self._wait()
        if len(data) < CHUNK:  # for few bytes a thread takes longer
            self._hash.update(data)
            return
        self._pool = self._pool or ThreadPoolExecutor(1)
        self._last = self._pool.submit(self._hash.update, data)

    def hexdigest(self) -> str:
        """Finish the checksum, and return its 64 hexadecimal digits."""
        self._wait()
        if self._pool is not None:
            self._pool.shutdown()
        return self._hash.hexdigest()

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()
