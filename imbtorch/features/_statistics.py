"""What the training rows say about each column: location, spread, gaps and frequencies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._common.memory_maps import release_pages
from imbtorch.features._columns import TableColumns

__all__ = [
    "ColumnStatistics",
    "column_statistics",
    "sparse_statistics",
    "weighted_quantiles",
]

Floats = NDArray[np.float64]
_BLOCK = 2**22  # bytes of rows that are read together
_CACHED = 2**20  # bytes of rows that are looked at together
_QUANTILE_ROWS = 200_000  # rows from which quantiles are computed; of more rows every k-th


@dataclass
class ColumnStatistics:
    """What is known of each column of a table; rows are weighted.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    mean, scale : ndarray of shape (n_numbers,)
        Mean and standard deviation of the columns of numbers, without gaps; NaN where a column has
        nothing but gaps.
    largest : ndarray of shape (n_numbers,)
        Largest absolute value.
    has_gaps, has_values, has_several : ndarray of bool, shape (n_numbers,)
        Whether a column has gaps, whether it has numbers, and whether at least three of these are
        different.
    frequencies : list of ndarray
        For each column of categories the weighted number of rows of each word of the vocabulary,
        then of gaps.
    present : list of ndarray of int
        The same numbers without weights.
    sample : tuple of ndarray or None
        Numbers, ``(n_numbers, m)``, and weights, ``(m,)``, of the rows from which quantiles are
        computed.
    """

    n_rows: int
    mean: Floats
    scale: Floats
    largest: Floats
    has_gaps: NDArray[np.bool_]
    has_values: NDArray[np.bool_]
    has_several: NDArray[np.bool_]
    frequencies: list[Floats]
    present: list[Floats]
    sample: tuple[NDArray[Any], Floats | None] | None

    def quantiles(self, shares: Sequence[float] | Floats) -> Floats:
        """Return weighted quantiles of the columns of numbers, ``(n_numbers, len(shares))``."""
        assert self.sample is not None
        values, weights = self.sample
        return np.stack([weighted_quantiles(column, weights, shares) for column in values])


def column_statistics(
    X: Any,
    columns: TableColumns,
    rows: NDArray[Any] | None = None,
    sample_weight: Floats | None = None,
    *,
    needs_quantiles: bool,
) -> ColumnStatistics:
    """Compute the statistics of all columns in one pass over blocks of rows.

    Parameters
    ----------
    X : ndarray of shape (n, n_columns) or DatasetReader
        Rows as :meth:`TableColumns.read` returns them.
    columns : TableColumns
        Columns of the table.
    rows : ndarray of int or None, default=None
        Positions of the rows to look at; None for all.
    sample_weight : ndarray of shape (n,) or None, default=None
        Weights of all rows; those of the rows to look at are above 0.
    needs_quantiles : bool
        Whether to keep rows for quantiles.

    Returns
    -------
    ColumnStatistics
        Statistics of the rows.
    """
    numbers, n_rows = columns.numbers, X.shape[0] if rows is None else len(rows)
    sizes = {j: len(words) for j, words in columns.vocabulary.items()}
    p = len(numbers)
    mass, mean, spread = np.zeros(p), np.zeros(p), np.zeros(p)
    largest, has_gaps = np.zeros(p), np.zeros(p, dtype=bool)
    different = _DifferentValues(p)
    frequencies = [np.zeros(size + 1) for size in sizes.values()]
    present = [np.zeros(size + 1) for size in sizes.values()]
    kept: list[NDArray[Any]] = []
    kept_weights: list[Floats] = []
    step, start = max(1, -(-n_rows // _QUANTILE_ROWS)), 0
    for block, weights in _blocks(X, rows, sample_weight):
        # column by column, which is faster than row by row for so few columns
        values = (block[:, numbers] if sizes else block).T.astype(np.float64, order="C")
        gaps = np.isnan(values)
        has_gaps |= gaps.any(axis=1)
        filled = np.where(gaps, 0.0, values) if has_gaps.any() else values
        largest = np.maximum(largest, np.maximum(filled.max(axis=1), -filled.min(axis=1)))
        different.look_at(values)
        mass, mean, spread = _merge((mass, mean, spread), _moments(filled, gaps, weights))
        for i, (position, size) in enumerate(sizes.items()):
            codes = np.nan_to_num(block[:, position], nan=size).astype(np.intp)
            known = codes >= 0
            seen = None if weights is None else weights[known]
            frequencies[i] += np.bincount(codes[known], seen, minlength=size + 1)
            present[i] += np.bincount(codes[known], minlength=size + 1)
        if needs_quantiles:
            chosen = slice(-start % step, None, step)
            kept.append(values[:, chosen])
            kept_weights.append(np.ones(len(block)) if weights is None else weights)
            kept_weights[-1] = kept_weights[-1][chosen]
        start += len(block)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(spread / mass)
    sample = (
        (np.concatenate(kept, axis=1), np.concatenate(kept_weights)) if needs_quantiles else None
    )
    has_values = mass > 0
    mean = np.where(np.isfinite(mean), mean, 0.0)  # sums of the largest floats are infinite
    mean = np.where(has_values, mean, np.nan)
    return ColumnStatistics(
        start,
        mean,
        scale,
        largest,
        has_gaps,
        has_values,
        different.has_several,
        frequencies,
        present,
        sample,
    )


class _DifferentValues:
    """Which columns have at least three different numbers, found block by block."""

    def __init__(self, n_columns: int) -> None:
        self.has_several = np.zeros(n_columns, dtype=bool)
        self._bounds = np.array([[np.inf], [-np.inf]]).repeat(n_columns, axis=1)

    def look_at(self, values: Floats) -> None:
        """Look at the columns, ``(n_columns, n)``, of which three numbers are not known yet."""
        few = np.flatnonzero(~self.has_several)
        if not len(few):
            return
        values, before = values[few], self._bounds[:, few]
        low = np.fmin(before[0], np.fmin.reduce(values, axis=1))
        high = np.fmax(before[1], np.fmax.reduce(values, axis=1))
        inside = ((values > low[:, None]) & (values < high[:, None])).any(axis=1)
        self.has_several[few] = inside | ((before > low) & (before < high)).any(axis=0)
        self._bounds[:, few] = low, high


def _blocks(
    X: Any, rows: NDArray[Any] | None, sample_weight: NDArray[Any] | None
) -> Iterator[tuple[NDArray[Any], Floats | None]]:
    """Yield the training rows and their weights, so few that computing stays in the cache.

    More rows are read at once, but so few that a memory map stays on the disk.
    """
    n = X.shape[0] if rows is None else len(rows)
    step, few = (max(1, size // max(8 * X.shape[1], 1)) for size in (_BLOCK, _CACHED))
    for start in range(0, n, step):
        chosen = slice(start, start + step) if rows is None else rows[start : start + step]
        block = np.asarray(X[chosen])
        weights = None if sample_weight is None else sample_weight[chosen]
        for first in range(0, len(block), few):
            part = slice(first, first + few)
            yield block[part], None if weights is None else weights[part]
        if getattr(X, "base", None) is not None:  # not an array that owns its numbers
            release_pages(X)


def _moments(
    filled: Floats, gaps: NDArray[np.bool_], weights: Floats | None
) -> tuple[Floats, Floats, Floats]:
    """Return the weight, the mean and the sum of squared deviations of each column.

    Parameters
    ----------
    filled : ndarray of shape (n_numbers, n)
        Numbers, 0 where there is a gap.
    gaps : ndarray of bool, shape (n_numbers, n)
        Where there is a gap.
    weights : ndarray of shape (n,) or None
        Weights > 0.
    """
    w = np.ones(filled.shape[1]) if weights is None else weights
    mass = ~gaps @ w if gaps.any() else np.full(len(filled), w.sum())
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.divide(filled @ w, mass, out=np.zeros(len(mass)), where=mass > 0)
        deviations = filled - mean[:, None]
        deviations[gaps] = 0.0
        return mass, mean, np.square(deviations, out=deviations) @ w


def _merge(
    one: tuple[Floats, Floats, Floats], other: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """Combine the moments of two sets of rows.

    References
    ----------
    .. [1] Chan, Golub and LeVeque (1983). "Algorithms for Computing the Sample Variance".
           :doi:`10.1080/00031305.1983.10483115`
    """
    (mass, mean, spread), (more, mean_more, spread_more) = one, other
    total = mass + more
    if not mass.any():
        return other
    share = np.divide(more, total, out=np.zeros_like(total), where=total > 0)
    step = mean_more - mean
    with np.errstate(over="ignore", invalid="ignore"):
        return total, mean + step * share, spread + spread_more + np.square(step) * mass * share


def weighted_quantiles(
    values: NDArray[Any], weights: Floats | None, shares: Sequence[float] | Floats
) -> Floats:
    """Return quantiles of weighted values, those of rows that are repeated as often as they weigh.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Numbers; NaN is left out.
    weights : ndarray of shape (n,) or None
        Weights > 0.
    shares : sequence of float
        Shares of the total weight, from 0 to 1.

    Returns
    -------
    ndarray of shape (len(shares),)
        The smallest value up to which at least this share of the weight lies, or, if exactly this
        share does, the mean of this value and the next ("averaged inverted cdf"); NaN without any
        value.

    References
    ----------
    .. [1] Hyndman and Fan (1996). "Sample Quantiles in Statistical Packages".
           :doi:`10.1080/00031305.1996.10473566`

    Examples
    --------
    >>> import numpy as np
    >>> weighted_quantiles(np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0]), [0.25, 0.5])
    array([1.5, 3. ])
    """
    present = ~np.isnan(values)
    x = values[present].astype(np.float64)
    w = np.ones(len(x)) if weights is None else weights[present]
    if not len(x):
        return np.full(len(shares), np.nan)
    order = np.argsort(x, kind="stable")
    x, below = x[order], np.cumsum(w[order])
    below = below / below[-1]
    wanted = np.asarray(shares, dtype=np.float64)
    tolerance = 1e-10  # sums of weights are rounded
    low = np.searchsorted(below, wanted - tolerance).clip(max=len(x) - 1)
    high = np.searchsorted(below, wanted + tolerance, side="right").clip(max=len(x) - 1)
    quantiles: Floats = x[low] / 2 + x[high] / 2  # their sum may be too large
    return quantiles


def sparse_statistics(X: Any, weights: Floats | None) -> tuple[Floats, Floats]:
    """Return the mean of each column, and the root mean square of its values that are not 0.

    Parameters
    ----------
    X : CSR matrix of shape (n, n_columns)
        Rows; NaN is left out.
    weights : ndarray of shape (n,) or None
        Weights > 0 of the rows.

    Returns
    -------
    mean, size : ndarray of shape (n_columns,)
        0 for columns of zeros.
    """
    n, p = X.shape
    w = np.ones(n) if weights is None else weights
    per_value = np.repeat(w, np.diff(X.indptr))
    values = X.data.astype(np.float64)
    gaps = np.isnan(values)

    def total(x: Floats) -> Floats:
        return np.bincount(X.indices, x, minlength=p).astype(np.float64)

    present = np.where(gaps, 0.0, values)
    mass = w.sum() - total(per_value * gaps)
    mean = np.divide(total(per_value * present), mass, out=np.zeros(p), where=mass > 0)
    largest = np.abs(present).max(initial=0.0) or 1.0  # squares of 1e200 are infinite
    squares = total(per_value * np.square(present / largest))
    filled = total(per_value * (present != 0))
    size = largest * np.sqrt(np.divide(squares, filled, out=np.zeros(p), where=filled > 0))
    return mean, size
