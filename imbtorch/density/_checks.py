"""Helpers of all density weights: checks of the targets, and scaling to mean 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Floats", "checked", "mean_one", "row_counts"]

Floats = NDArray[np.float64]


def checked(y: ArrayLike, sample_weight: ArrayLike | None) -> tuple[Floats, Floats]:
    """Return the targets and the sample weights as arrays ``(n,)``, after checking them."""
    values = np.asarray(y, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"y must be finite numbers of shape (n,); got shape {values.shape}.")
    counted = row_counts(values, sample_weight)
    present = values[counted > 0]
    if present.min() == present.max():
        raise ValueError(
            f"y is constant ({present[0]}): no value is rarer than another, so weights by density "
            "have no meaning. Leave out density_weight."
        )
    return values, counted


def row_counts(y: Floats, sample_weight: ArrayLike | None) -> Floats:
    counted = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    valid = counted.shape == y.shape and np.isfinite(counted).all() and (counted >= 0).all()
    if not valid or not counted.any():
        raise ValueError(
            f"sample_weight must be {len(y)} finite numbers >= 0 that are not all 0; got shape "
            f"{counted.shape}."
        )
    return counted


def mean_one(weights: Floats, counted: Floats) -> Floats:
    total = weights @ counted
    if not total > 0:
        raise ValueError(
            "All weights are 0, so no row would take part in the training; at least one row needs "
            "a weight > 0."
        )
    scaled: Floats = weights * (counted.sum() / total)
    return scaled
