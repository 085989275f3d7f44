"""Metrics that scikit-learn and imbalanced-learn do not have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

__all__ = ["mean_average_precision"]


def mean_average_precision(
    codes: NDArray[Any], scores: NDArray[Any], sample_weight: NDArray[Any] | None = None
) -> float:
    """Average precision of the rarer class of two, or its mean over the classes that occur.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Class of each row.
    scores : ndarray of shape (n,) or (n, n_classes)
        Score of class 1, or of every class; greater means more likely.
    sample_weight : ndarray of shape (n,) or None, default=None
        Row weights.

    Returns
    -------
    float
        In [0, 1]; NaN where no class can be told apart from the rest.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.metrics import mean_average_precision
    >>> round(mean_average_precision(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.8333
    """
    columns = dict(enumerate(scores.T))
    if scores.ndim == 1:
        rarer = int(2 * np.count_nonzero(codes) <= len(codes))
        columns = {rarer: scores if rarer else -scores}
    values = [
        average_precision_score(codes == code, column, sample_weight=sample_weight)
        for code, column in columns.items()
        if 0 < np.count_nonzero(codes == code) < len(codes)
    ]
    return float(np.mean(values)) if values else float("nan")
