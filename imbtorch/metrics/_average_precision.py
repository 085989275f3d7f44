"""Average precision of many columns of scores at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "column_precision"]

Floats = NDArray[np.float64]
BLOCK = 2**20  # numbers that are ranked at once, to score many columns in bounded memory


def column_precision(labels: NDArray[Any], scores: NDArray[Any], weights: Floats) -> Floats:
    """Average precision of each label, ``(n_labels, n) -> (n_labels,)``.

    It is the mean over the positives of the precision among the rows that score as much or more.
    Weights are those of the rows, ``(n,)``, or of the rows for each label, ``(n_labels, n)``.
    """
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    weight = weights[order] if weights.ndim == 1 else np.take_along_axis(weights, order, axis=1)
    hits = weight * np.take_along_axis(labels, order, axis=1)
    found, seen = hits.cumsum(axis=1), weight.cumsum(axis=1)
    n = scores.shape[1]
    is_last = np.ones(scores.shape, dtype=bool)  # of the rows with equal score
    is_last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    last = np.where(is_last, np.arange(n), n)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    found, seen = (np.take_along_axis(sums, last, axis=1) for sums in (found, seen))
    tiny = np.finfo(np.float64).tiny  # for rows of weight 0, which add nothing
    precision = found / np.maximum(seen, tiny)
    values: Floats = (hits * precision).sum(axis=1) / np.maximum(hits.sum(axis=1), tiny)
    return values
