"""Row weights for continuous targets: rare target values get larger weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from imbtorch._common.registry import unknown_name
from imbtorch.density._checks import Floats, mean_one, row_counts
from imbtorch.density._dense import dense_weights
from imbtorch.density._relevance import relevance_weights
from imbtorch.density._smoothing import kernel_window, lds_weights

__all__ = [
    "DENSITY_WEIGHTS",
    "dense_weights",
    "density_weights",
    "kernel_window",
    "lds_weights",
    "relevance_weights",
]

DENSITY_WEIGHTS: dict[str, Callable[..., Floats]] = {
    "dense_weight": dense_weights,
    "extremes": relevance_weights,
    "lds": lds_weights,
}


def density_weights(
    density_weight: Any, y: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> Floats:
    """Compute row weights from any value of an estimator's ``density_weight``.

    Parameters
    ----------
    density_weight : None, str, tuple (str, dict), callable or array-like of shape (n,)
        ``"lds"``, ``"dense_weight"`` and ``"extremes"`` are :func:`lds_weights`,
        :func:`dense_weights` and :func:`relevance_weights` with their defaults; a tuple adds
        parameters, as in ``("dense_weight", {"alpha": 0.5})``. A callable receives one column of
        ``y`` and returns its weights. An array is the relevance of each row.
    y : array-like of shape (n,) or (n, k)
        Targets. With several targets the weight of a row is the mean over the targets.
    sample_weight : array-like of shape (n,), optional
        How often each row counts.

    Returns
    -------
    ndarray of shape (n,)
        Weights >= 0 with (weighted) mean 1.

    Raises
    ------
    ValueError
        If a name is unknown, a target is constant, or weights are not finite or negative.

    Examples
    --------
    >>> from imbtorch.density import density_weights
    >>> density_weights(lambda y: 1 + y, [0.0, 0.0, 3.0])
    array([0.5, 0.5, 2. ])
    """
    values = np.asarray(y, dtype=np.float64)
    if density_weight is None:
        return np.ones(len(values))
    columns = [values] if values.ndim == 1 else list(values.T)
    weigh = _weigher(density_weight)
    weights = []
    for i, column in enumerate(columns):
        try:
            weights.append(weigh(column, sample_weight=sample_weight))
        except ValueError as error:
            where = f"target {i}: " if len(columns) > 1 else ""
            raise ValueError(f"{where}{error}") from error
    mean: Floats = np.mean(weights, axis=0)
    return mean


def _weigher(density_weight: Any) -> Callable[..., Floats]:
    given, params = density_weight, dict[str, Any]()
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
        given, params = given
    if isinstance(given, str):
        if given not in DENSITY_WEIGHTS:
            otherwise = "give a callable of the targets, or the relevance of each row"
            raise ValueError(unknown_name("density_weight", given, DENSITY_WEIGHTS, otherwise))
        function = DENSITY_WEIGHTS[given]
        return lambda y, sample_weight: function(y, **params, sample_weight=sample_weight)
    if callable(given):
        return lambda y, sample_weight: _called(given, y, sample_weight)
    return lambda y, sample_weight: relevance_weights(y, given, sample_weight=sample_weight)


def _called(function: Callable[[Floats], ArrayLike], y: Floats, sample_weight: Any) -> Floats:
    weights = np.asarray(function(y), dtype=np.float64)
    if weights.shape != y.shape or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"density_weight must return {len(y)} finite numbers >= 0, one per row; got shape "
            f"{weights.shape}."
        )
    return mean_one(weights, row_counts(y, sample_weight))
