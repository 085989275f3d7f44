"""Check probabilities, class masses and row weights that users pass to functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["check_masses", "check_matrix", "check_prior", "check_proba", "row_shares"]

Floats = NDArray[np.float64]


def check_matrix(values: ArrayLike, name: str) -> Floats:
    """Return finite float64 values of shape ``(n, n_classes)``, or raise ValueError."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        raise ValueError(
            f"{name} has shape {matrix.shape}, expected (n, n_classes) with one column for each of "
            "at least two classes. For probabilities p of class 1 of two give "
            "np.column_stack([1 - p, p])."
        )
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} holds NaN or infinity; every value must be finite.")
    return matrix


def check_proba(values: ArrayLike, name: str = "proba") -> Floats:
    """Return probabilities of shape ``(n, n_classes)`` whose rows sum to 1."""
    proba = check_matrix(values, name)
    # the tolerance allows float16, and float32 sums over many classes
    if (proba < 0).any() or (np.abs(proba.sum(axis=1) - 1) > 1e-3).any():
        raise ValueError(
            f"{name} must be probabilities >= 0 whose rows sum to 1, as predict_proba returns; got "
            f"values in [{proba.min():g}, {proba.max():g}] and row sums in "
            f"[{proba.sum(axis=1).min():g}, {proba.sum(axis=1).max():g}]."
        )
    return proba


def check_masses(values: ArrayLike, n_classes: int, name: str) -> Floats:
    """Return finite numbers >= 0, one for each class."""
    masses = np.asarray(values, dtype=np.float64)
    if masses.shape != (n_classes,):
        raise ValueError(
            f"{name} has shape {masses.shape}, expected ({n_classes},): one number for each class."
        )
    if not (np.isfinite(masses).all() and (masses >= 0).all()):
        raise ValueError(f"{name} must be finite and >= 0; got {masses.tolist()}.")
    return masses


def check_prior(values: ArrayLike, n_classes: int, name: str) -> Floats:
    """Return a distribution over the classes."""
    masses = check_masses(values, n_classes, name)
    if abs(masses.sum() - 1) > 1e-6:
        raise ValueError(
            f"{name} must sum to 1; got {masses.tolist()} with sum {masses.sum():g}. Divide counts "
            "by their sum."
        )
    prior: Floats = masses / masses.sum()
    return prior


def row_shares(sample_weight: ArrayLike | None, n: int) -> Floats:
    """Return row weights that sum to 1; None gives equal weights."""
    if n == 0:
        raise ValueError("proba has no rows; at least one is needed to estimate a prior.")
    weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n,):
        raise ValueError(f"sample_weight has shape {weights.shape}, expected ({n},).")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError("sample_weight must be finite and >= 0, with a positive sum.")
    shares: Floats = weights / weights.sum()
    return shares
