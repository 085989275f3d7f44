"""Read and standardise continuous targets, and weight rows by the density of their targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from imbtorch.density import density_weights

__all__ = ["TargetScale", "density_factor", "read_values"]

Floats = NDArray[np.float64]


def read_values(y: Any) -> Any:
    """Convert targets to floats; a single column becomes a vector.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, k)
        Targets that the user gave.

    Returns
    -------
    ndarray of float, shape (n,) or (n, k > 1)
        The targets. A value that cannot be an array of numbers is returned unchanged, so that
        scikit-learn raises its usual error.

    Raises
    ------
    ValueError
        If the targets are labels.
    """
    if sparse.issparse(y):
        raise ValueError(_labels(f"y is a sparse matrix of shape {y.shape}"))
    try:
        values = np.asarray(y)
    except ValueError:  # rows of unequal length
        return y
    if y is None or values.ndim == 0 or values.dtype.kind == "c":
        return y
    if values.ndim > 2:
        raise ValueError(f"y must have shape (n,) or (n, k); got {values.shape}.")
    if values.dtype.kind not in "iufO":
        raise ValueError(_labels(f"y has dtype {values.dtype}"))
    if values.dtype.kind == "O" and any(isinstance(value, str | bool) for value in values.flat):
        raise ValueError(_labels("y holds values that are not numbers"))
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(_labels("y holds values that are not numbers")) from error
    if values.ndim == 2 and values.shape[1] > 1 and np.isin(values, (0, 1)).all():
        raise ValueError(_labels("y has several columns of 0 and 1"))
    return values.ravel() if values.shape[1:] == (1,) else values


def _labels(what: str) -> str:
    return (
        f"{what}, but a regressor predicts numbers: y must hold floats or integers. Use "
        "ImbalancedNetClassifier for classes and for matrices of labels."
    )


@dataclass
class TargetScale:
    """Mean and standard deviation of each target.

    Attributes
    ----------
    mean, scale : ndarray of shape (k,)
        Mean and standard deviation, in units of the target.
    """

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, values: Floats, weight: Floats | None) -> TargetScale:
        """Compute the scale of targets ``(n, k)`` of the training rows, with row weights ``(n,)``.

        Raises
        ------
        ValueError
            If a target is constant.
        """
        if len(values) < 2:
            raise ValueError(
                f"Got {len(values)} sample to train on (n_samples={len(values)}); a regressor "
                "needs at least two rows, with different targets."
            )
        size = np.abs(values).max(axis=0)
        unit = values / np.where(size > 0, size, 1)  # squares of large numbers overflow
        mean = np.average(unit, axis=0, weights=weight)
        scale = np.sqrt(np.average((unit - mean) ** 2, axis=0, weights=weight))
        constant = np.flatnonzero(~(scale > 8 * np.finfo(np.float64).eps))
        if constant.size:
            columns = "" if values.shape[1] == 1 else f" in column {constant[0]}"
            raise ValueError(
                f"y is constant{columns}: all {len(values)} rows to train on have the target "
                f"{values[0, constant[0]]:g}, so there is nothing to learn. Use "
                "sklearn.dummy.DummyRegressor to predict a constant."
            )
        return cls(mean * size, scale * size)

    def standardize(self, values: Floats) -> Floats:
        """Convert targets to standard deviations from the mean."""
        standard: Floats = (values - self.mean) / self.scale
        return standard

    def restore(self, outputs: NDArray[Any]) -> Floats:
        """Convert standard deviations from the mean back to units of the target."""
        values: Floats = outputs.astype(np.float64) * self.scale + self.mean
        return values


def density_factor(
    density_weight: Any, values: Floats, index: Any, weight: Floats | None
) -> Floats | None:
    """Compute a factor for each row from the density of its targets among the training rows.

    Parameters
    ----------
    density_weight : None, str, tuple (str, dict), callable or array-like of shape (n,)
        Kind of the weights; see :func:`imbtorch.density.density_weights`.
    values : ndarray of shape (n, k)
        Targets of all rows, in their own units.
    index : ndarray of int or None
        Positions of the training rows; None for all.
    weight : ndarray of shape (n,) or None
        Sample weights of all rows.

    Returns
    -------
    ndarray of shape (n,) or None
        Factors of the rows. For rows outside the training part they are interpolated between the
        training rows by the target. None if ``density_weight`` is None.

    Raises
    ------
    ValueError
        If ``density_weight`` is not valid.
    """
    if density_weight is None:
        return None
    n_rows = len(values)
    trained = np.arange(n_rows) if index is None else index
    if _is_relevance(density_weight):
        relevance = np.asarray(density_weight, dtype=np.float64)
        if relevance.shape != (n_rows,):
            raise ValueError(
                f"density_weight has shape {relevance.shape}, but there are {n_rows} rows: an "
                "array must hold the relevance of each row. Or give a callable of y, which works "
                "for any number of rows."
            )
        counted = np.zeros(n_rows)
        counted[trained] = 1 if weight is None else weight[trained]
        return density_weights(relevance, values[:, 0], sample_weight=counted)
    y, counts = values[trained], None if weight is None else weight[trained]
    factor = np.empty(n_rows)
    factor[trained] = density_weights(density_weight, y, sample_weight=counts)
    others = np.setdiff1d(np.arange(n_rows), trained, assume_unique=True)
    if others.size:
        factor[others] = np.mean(
            [
                _interpolated(density_weight, y[:, j], counts, values[others, j])
                for j in range(values.shape[1])
            ],
            axis=0,
        )
    return factor


def _is_relevance(density_weight: Any) -> bool:
    named = isinstance(density_weight, tuple) and any(isinstance(v, str) for v in density_weight)
    return not (isinstance(density_weight, str) or named or callable(density_weight))


def _interpolated(density_weight: Any, y: Floats, counts: Floats | None, at: Floats) -> Floats:
    weights = density_weights(density_weight, y, sample_weight=counts)
    known, first = np.unique(y, return_index=True)
    between: Floats = np.interp(at, known, weights[first])
    return between
