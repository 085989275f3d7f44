"""Memory maps: arrays that lie in a file, of which only the pages in use are in memory.

Pages that were read count as resident memory until the system needs the space. So that a pass over
a large file does not look like a copy of it, these functions give pages back as they go.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.utils import assert_all_finite

__all__ = ["every_nth_row", "map_is_finite", "release_pages"]

SMALLEST = 2**30  # bytes of a file whose pages are given back; those of a smaller one may stay
_BLOCK = 2**24  # bytes of rows that are checked together
_FEW_ROWS = 100  # distant rows that are copied together: a system may map 2 MiB for each


def release_pages(array: Any) -> None:
    """Give the pages of a memory map back to the system, which keeps them in its file cache.

    Rows that are read again come from this cache, at the price of a page fault. Nothing happens to
    arrays in memory, to small files, and to maps of mode ``"c"``, whose changed pages are nowhere
    else.

    Parameters
    ----------
    array : object
        A memory map or a view of one; anything else is left alone.
    """
    pages, mode = _pages(array)
    is_shared = pages is not None and mode in ("r", "r+", "w+")
    if is_shared and len(pages) >= SMALLEST and hasattr(pages, "madvise"):
        pages.madvise(mmap.MADV_DONTNEED)


def every_nth_row(array: NDArray[Any], step: int) -> NDArray[Any]:
    """Return a copy of every ``step``-th row, beginning with the first.

    Parameters
    ----------
    array : ndarray of shape (n, ...)
        Rows, at least one; those of a memory map are read a few at a time.
    step : int
        Distance of the rows, at least 1.
    """
    parts = []
    for start in range(0, len(array), _FEW_ROWS * step):
        parts.append(np.array(array[start : start + _FEW_ROWS * step : step]))
        release_pages(array)
    return np.concatenate(parts)


def map_is_finite(array: Any, *, allow_nan: bool) -> bool:
    """Return whether an array is a memory map of finite floats, read block by block.

    It is scikit-learn's check, which ``sklearn.config_context(assume_finite=True)`` leaves out.

    Parameters
    ----------
    array : object
        Features as the user gave them.
    allow_nan : bool
        Whether NaN is allowed, too.
    """
    if _pages(array)[0] is None or array.dtype.kind != "f" or not array.ndim:
        return False
    if get_config()["assume_finite"]:
        return True
    try:
        for block in _blocks(array):
            assert_all_finite(block, allow_nan=allow_nan)
    except ValueError:
        return False
    return True


def _pages(array: Any) -> tuple[Any, str | None]:
    """Return the pages that an array views and the mode of its memory map; None for others."""
    mode = None
    while isinstance(array, np.ndarray):  # a frame may have a column "base"
        mode = array.mode if isinstance(array, np.memmap) else mode
        array = array.base
    return (array if isinstance(array, mmap.mmap) else None), mode


def _blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield blocks of rows, whose pages are given back after use."""
    step = max(1, _BLOCK * len(array) // max(array.nbytes, 1))
    for start in range(0, len(array), step):
        yield np.asarray(array[start : start + step])
        release_pages(array)
