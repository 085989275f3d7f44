"""Limit the threads of torch for one block, and for the thread of Python that runs it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import torch

__all__ = ["ThreadLimit"]


# One thread of Python sets a number at a time: between its two calls, another one would take the
# limit for the number of new threads, and put that back.
_setting = Lock()


class ThreadLimit:
    """Context in which torch computes with at most ``n`` threads.

    torch keeps its number of threads for each thread of Python. But the number that was set last,
    by whichever thread, is also what torch gives to a thread that uses it for the first time. That
    thread would keep it when the block is over. Therefore the number for new threads is put back at
    once, so that a fit in one thread of a server leaves the others alone. This takes 0.1 ms.

    The context may be entered again after it was left.

    Parameters
    ----------
    n : int
        Number of threads. It is never more than what torch uses before the block, so that
        ``OMP_NUM_THREADS``, ``torch.set_num_threads`` and the limits of joblib's processes hold.
    is_short : bool, default=False
        Whether the block takes about as long as 0.1 ms, such as the prediction of a few rows. Then
        the number for new threads is only put back at its end, which takes a microsecond.

    Examples
    --------
    >>> import torch
    >>> from imbtorch._common.threads import ThreadLimit
    >>> with ThreadLimit(1):
    ...     torch.get_num_threads()
    1
    """

    def __init__(self, n: int, *, is_short: bool = False) -> None:
        self.n, self._set = n, _set if is_short else _set_in_this_thread

    def __enter__(self) -> None:
        """Lower the number of threads, if it is larger."""
        self._before = torch.get_num_threads()
        if self.n < self._before:
            try:
                self._set(self.n)
            except BaseException:  # Ctrl-C before the block has begun
                self._set(self._before)
                raise

    def __exit__(self, *_: object) -> None:
        """Put the former number back."""
        if self.n < self._before:
            self._set(self._before)


def _set(n: int) -> None:
    """Set the number for this thread of Python, and for threads that begin later."""
    with _setting:
        torch.set_num_threads(n)


def _set_in_this_thread(n: int) -> None:
    """Set the number for this thread of Python alone, and not for threads that begin later."""
    with _setting, ThreadPoolExecutor(1) as new_thread:
        for_new_threads = new_thread.submit(torch.get_num_threads).result()
        try:
            torch.set_num_threads(n)
        finally:
            new_thread.submit(torch.set_num_threads, for_new_threads).result()
