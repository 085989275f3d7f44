"""Helpers of the metrics: input checks, and groups by the number of training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import column_or_1d

from imbtorch._common.gaps import is_missing
from imbtorch._common.probabilities import row_shares

__all__ = [
    "as_labels",
    "as_numbers",
    "encode",
    "frequency_groups",
    "is_positive",
    "is_text",
    "row_weights",
]

Floats = NDArray[np.float64]


def as_labels(values: ArrayLike, name: str, n: int | None = None) -> NDArray[Any]:
    """Return labels of any type as a vector of ``n`` values; raise an error if one is missing."""
    labels: NDArray[Any] = column_or_1d(values)
    _check_length(len(labels), name, n)
    if _any_missing(labels):
        raise ValueError(f"{name} holds missing values; leave those rows out.")
    return labels


def _any_missing(labels: NDArray[Any]) -> bool:
    kind = labels.dtype.kind
    if kind == "O":
        return any(map(is_missing, labels))
    if kind == "f":
        return bool(np.isnan(labels).any())
    return kind in "mM" and bool(np.isnat(labels).any())


def as_numbers(
    values: ArrayLike, name: str, n: int | None = None, *, allow_inf: bool = False
) -> Floats:
    """Return a float64 vector of ``n`` finite values; infinities only where they are allowed."""
    numbers: Floats = column_or_1d(values, dtype=np.float64)
    _check_length(len(numbers), name, n)
    if allow_inf and np.isnan(numbers).any():
        raise ValueError(f"{name} holds NaN, which has no rank.")
    if not allow_inf and not np.isfinite(numbers).all():
        raise ValueError(f"{name} holds NaN or infinity; every value must be finite.")
    return numbers


def _check_length(length: int, name: str, n: int | None) -> None:
    if length == 0:
        raise ValueError(f"{name} has no rows.")
    if n is not None and length != n:
        raise ValueError(f"{name} has {length} rows, expected {n}: one for each row of y_true.")


def encode(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the sorted distinct labels, and the position of each row's label among them."""
    encoder = LabelEncoder()  # hashes objects, where np.unique would sort them
    codes = encoder.fit_transform(labels).astype(np.intp, copy=False)
    return encoder.classes_, codes


def is_text(labels: NDArray[Any]) -> bool:
    """Return whether the labels are strings, which never equal numbers."""
    return labels.dtype.kind in "UST" or (labels.dtype.kind == "O" and isinstance(labels[0], str))


def is_positive(y_true: ArrayLike, pos_label: Any) -> NDArray[np.bool_]:
    """Mark the rows of class ``pos_label``; raise ValueError if ``pos_label`` looks wrong."""
    labels = as_labels(y_true, "y_true")
    same_type = is_text(labels) == isinstance(pos_label, str)
    positive: NDArray[np.bool_] = labels == pos_label if same_type else np.zeros(len(labels), bool)
    # a fold may happen to have no positives, but two other labels mean a wrong pos_label
    if not positive.any() and (not same_type or (labels != labels[0]).any()):
        raise ValueError(
            f"pos_label={pos_label!r} is not one of the labels of y_true, "
            f"{encode(labels)[0][:10].tolist()}; set pos_label to the positive class."
        )
    return positive


def row_weights(sample_weight: ArrayLike | None, n: int) -> Floats:
    """Return one weight >= 0 per row: all equal to 1 for None, else scaled to sum to 1."""
    return np.ones(n) if sample_weight is None else row_shares(sample_weight, n)


def frequency_groups(
    counts: NDArray[Any], thresholds: Sequence[float]
) -> dict[str, NDArray[np.bool_]]:
    """Return masks of the counts that are many, medium and few training rows."""
    if len(thresholds) != 2 or not 0 <= thresholds[0] <= thresholds[1]:
        raise ValueError(
            "thresholds must be two numbers of training rows, 0 <= few <= many; got "
            f"{tuple(thresholds)}."
        )
    few, many = counts < thresholds[0], counts > thresholds[1]
    return {"many": many, "medium": ~few & ~many, "few": few}
