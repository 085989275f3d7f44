"""Rows of each class, and walks through them, in as little memory as positions take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = [
    "ClassRows",
    "Cycles",
    "Positions",
    "chunks",
    "count_classes",
    "index_dtype",
    "permutation",
    "shuffled",
]

Positions: TypeAlias = NDArray[np.signedinteger[Any]]  # int32 where it holds them

# Rows that are worked on at a time, where numpy makes 8-byte temporaries: they stay in the cache,
# and no array of all rows is ever wider than a position.
_CHUNK = 2**16
# Rows that are sorted at a time: more, so that many classes cost little, at some 30 bytes per row.
_BLOCK = 2**20


def index_dtype(n: int) -> type[np.int32] | type[np.int64]:
    """Return the smallest numpy dtype that holds positions of ``n`` rows."""
    return np.int32 if n < 2**31 else np.int64


def chunks(n: int, size: int = _CHUNK) -> Iterator[slice]:
    """Cut ``n`` rows into slices, by default of a size that fits into the cache."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def count_classes(codes: NDArray[Any], n_classes: int) -> NDArray[np.int64]:
    """Rows of each class, shape ``(n_classes,)``; ``bincount`` would widen all codes at once."""
    counts = np.zeros(n_classes, dtype=np.int64)
    for chunk in chunks(len(codes)):
        counts += np.bincount(codes[chunk], minlength=n_classes)
    return counts


def _sorted_by_class(codes: NDArray[Any], n_classes: int) -> tuple[Any, Any]:
    """Sort by counting: positions class after class, and where each class begins and ends.

    scipy's transposition does it in one pass, at a third of the time of a stable ``argsort``.
    """
    n = len(codes)
    one_hot = sparse.csr_array(
        (np.empty(n, dtype=np.bool_), codes.astype(np.int32), np.arange(n + 1, dtype=np.int32)),
        shape=(n, n_classes),
    ).tocsc()
    return one_hot.indices, one_hot.indptr


class ClassRows:
    """Positions sorted by class.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Class of each row.
    n_classes : int
        Number of classes.

    Attributes
    ----------
    rows : ndarray of int32 or int64, shape (n,)
        Positions, class after class, ascending within each.
    starts : ndarray of int64, shape (n_classes + 1,)
        Where each class begins in ``rows``.
    counts : ndarray of int64, shape (n_classes,)
        Rows of each class.
    present : ndarray of int64
        Classes that have rows.
    """

    def __init__(self, codes: NDArray[Any], n_classes: int) -> None:
        n, kind = len(codes), index_dtype(len(codes))
        self.counts = count_classes(codes, n_classes)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])
        self.rows: Positions = np.empty(n, dtype=kind)
        free = self.starts[:-1].copy()  # the next free place of each class
        for block in chunks(n, _BLOCK):
            rows, ends = _sorted_by_class(codes[block], n_classes)
            counts = np.diff(ends)
            places = np.arange(len(rows)) + np.repeat(free - ends[:-1], counts)
            self.rows[places] = rows + kind(block.start)
            free += counts
        self.present = np.flatnonzero(self.counts)

    def of(self, code: int) -> Positions:
        """Positions of the rows of one class, a view."""
        return self.rows[self.starts[code] : self.starts[code + 1]]


def permutation(n: int, rng: np.random.Generator) -> Positions:
    """Put the positions of ``n`` rows in random order.

    Swaps between distant places of a large array are slow, as they miss the cache. Rows are first
    put into random buckets, and each bucket is shuffled: every order is still equally likely, in
    two thirds of the time of ``rng.permutation`` for 10 million rows, and half the memory of its
    result.
    """
    if n <= _CHUNK:
        order: Positions = np.arange(n, dtype=index_dtype(n))
        rng.shuffle(order)
        return order
    buckets = ClassRows(rng.integers(0, 256, n, dtype=np.uint8), 256)
    for bucket in range(256):
        rng.shuffle(buckets.of(bucket))
    return buckets.rows


def shuffled(parts: list[Positions], rng: np.random.Generator) -> Positions:
    """Join arrays of positions and put the whole in random order."""
    rows: Positions = np.concatenate(parts)
    order: Positions = permutation(len(rows), rng).astype(rows.dtype, copy=False)
    for chunk in chunks(len(rows)):  # take would widen all of order at once
        order[chunk] = rows.take(order[chunk])
    return order


class Cycles:
    """Walks through the rows of each class: all of them are seen before any comes again.

    An epoch takes the next part of a permutation of the class; the last part is filled up from the
    beginning of the permutation. So ``ceil(n_j / size)`` epochs see every row, no epoch sees one
    twice, and the next round has a new permutation. Permutations follow from the seed; they are
    kept to save time only.

    Parameters
    ----------
    groups : ClassRows
        Rows of each class.
    seed : int
        Seed of the permutations.
    """

    def __init__(self, groups: ClassRows, seed: int) -> None:
        self.groups, self.seed = groups, seed
        self._kept: dict[int, tuple[int, Positions]] = {}

    def _permutation(self, code: int, turn: int) -> Positions:
        kept_turn, rows = self._kept.get(code, (-1, self.groups.rows))
        if kept_turn != turn:
            rows = self.groups.of(code).copy()
            # the third number is never 0, which sets it apart from the [seed, epoch] of an epoch:
            # numpy takes missing numbers for zeros
            np.random.default_rng([self.seed, turn, code + 1]).shuffle(rows)
            self._kept[code] = (turn, rows)
        return rows

    def take(self, code: int, size: int, epoch: int, rng: np.random.Generator) -> Positions:
        """Rows of one class for one epoch.

        Parameters
        ----------
        code : int
            The class; it has rows.
        size : int
            How many; more than there are means whole passes, each in a new order, after the part.
        epoch : int
            Which epoch.
        rng : numpy.random.Generator
            Random numbers of the epoch, for whole passes.

        Returns
        -------
        ndarray of int, shape (size,)
            Positions.
        """
        rows = self.groups.of(code)
        n_passes, rest = divmod(size, len(rows))
        taken = np.empty(size, dtype=rows.dtype)
        if rest:
            turn, step = divmod(epoch, -(-len(rows) // rest))
            permutation = self._permutation(code, turn)
            part = permutation[step * rest : (step + 1) * rest]
            taken[: len(part)] = part
            taken[len(part) : rest] = permutation[: rest - len(part)]
        if n_passes:
            passes = taken[rest:].reshape(n_passes, len(rows))
            passes[:] = rows
            rng.permuted(passes, axis=1, out=passes)
        return taken
