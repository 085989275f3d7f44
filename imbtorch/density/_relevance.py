"""Row weights from the relevance of the targets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from imbtorch.density._checks import Floats, checked, mean_one

__all__ = ["relevance_weights"]


def relevance_weights(
    y: ArrayLike,
    relevance: ArrayLike | Callable[[Floats], ArrayLike] | str = "extremes",
    *,
    floor: float = 0.0,
    sample_weight: ArrayLike | None = None,
) -> Floats:
    """Compute weights that are proportional to the relevance of the targets, from 0 to 1.

    Up to a factor, the squared error with these weights is SERA, the squared error-relevance area;
    see :func:`imbtorch.metrics.sera`.

    Parameters
    ----------
    y : array-like of shape (n,)
        Targets.
    relevance : "extremes", callable or array-like of shape (n,), default="extremes"
        Relevance in [0, 1] of each row, or a function of ``y`` that returns it. ``"extremes"``
        computes it from the box plot of ``y``: it is 0 at the median and 1 beyond a whisker that
        has outliers; on a side without outliers it is 0.
    floor : float in [0, 1), default=0.0
        Smallest weight before scaling: weights are ``floor + (1 - floor) * relevance``. With
        ``floor=0`` rows of relevance 0 have weight 0 and take no part in the training.
    sample_weight : array-like of shape (n,), optional
        How often each row counts.

    Returns
    -------
    ndarray of shape (n,)
        Weights >= 0 with (weighted) mean 1.

    Raises
    ------
    ValueError
        If ``y`` is constant, not finite or without outliers (``"extremes"``), or the relevance is
        outside [0, 1] or 0 for all rows.

    References
    ----------
    .. [1] Ribeiro & Moniz (2020). "Imbalanced regression and extreme value prediction".
           :doi:`10.1007/s10994-020-05900-9`

    Examples
    --------
    >>> from imbtorch.density import relevance_weights
    >>> relevance_weights([1.0, 2.0, 3.0, 4.0, 9.0]).round(3)
    array([0. , 0. , 0. , 2.5, 2.5])
    """
    if not 0 <= floor < 1:
        raise ValueError(f"floor must be in [0, 1); got {floor!r}.")
    values, counted = checked(y, sample_weight)
    if isinstance(relevance, str):
        if relevance != "extremes":
            raise ValueError(
                f"relevance must be 'extremes', an array or a callable; got {relevance!r}."
            )
        phi = _extremes(values, counted)
    else:
        phi = np.asarray(relevance(values) if callable(relevance) else relevance, np.float64)
    if phi.shape != values.shape or not ((phi >= 0) & (phi <= 1)).all():
        raise ValueError(
            f"relevance must be {len(values)} numbers in [0, 1], one per row; got shape "
            f"{phi.shape} with values from {np.min(phi, initial=0)} to {np.max(phi, initial=0)}."
        )
    return mean_one(floor + (1 - floor) * phi, counted)


def _extremes(y: Floats, counted: Floats) -> Floats:
    """Compute relevance from the box plot: cubic from median to whisker, with slope 0 at both."""
    order = np.argsort(y)
    mass = np.cumsum(counted[order])
    at = np.searchsorted(mass, np.array([0.25, 0.5, 0.75]) * mass[-1])
    first, median, third = y[order][at]
    present = y[counted > 0]
    reach = 1.5 * (third - first)
    whiskers = present[(present >= first - reach) & (present <= third + reach)]
    relevance = np.zeros(len(y))
    for sign, whisker in ((-1, whiskers.min()), (1, whiskers.max())):
        if not (sign * present > sign * whisker).any():
            continue  # no outlier on this side
        beyond, length = sign * (y - median), sign * (whisker - median)
        t = (beyond / length).clip(0, 1) if length > 0 else (beyond > 0).astype(np.float64)
        relevance += t * t * (3 - 2 * t)
    if not relevance.any():
        raise ValueError(
            "y has no outliers in the sense of a box plot, so with 'extremes' every row has "
            "relevance 0. Give the relevance of each row, or a function of y."
        )
    return relevance
