"""The table of a fit: how its columns are read and encoded, before the net sees them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from imbtorch._data.datasets_as_rows import DatasetRows, DatasetStream
from imbtorch._fit.parameters import NetParameters
from imbtorch.features import FeatureEncoder, TableColumns, TableEncoder, encoded, get_features
from imbtorch.modules import ModuleBuilder
from imbtorch.training.data.features import is_on_disk

__all__ = ["chosen_features", "digest", "encoded_rows", "is_for_tables", "learned_encoder"]


def is_for_tables(estimator: NetParameters) -> bool:
    """Return whether an estimator encodes rows of one dimension."""
    if estimator.features != "auto":
        return estimator.features is not None
    module = estimator.module
    return isinstance(module, str | ModuleBuilder) or (
        isinstance(module, type) and issubclass(module, ModuleBuilder)
    )


def chosen_features(estimator: NetParameters, X: Any) -> FeatureEncoder | None:
    """Return the feature encoder of a fit; None if the module gets the rows as they are.

    Parameters
    ----------
    estimator : NetParameters
        Its parameter ``features`` may be ``"auto"``: a table encoder for two-dimensional ``X`` and
        modules of this package.
    X : array-like or Dataset
        Features as the user gave them.

    Raises
    ------
    ValueError
        If the name is unknown, or an encoder is asked for rows of several dimensions.
    """
    if not is_for_tables(estimator):
        return None
    n_dimensions = _n_dimensions(X)
    if estimator.features == "auto":
        if n_dimensions != 2:
            return None
    elif n_dimensions > 2:
        raise ValueError(
            f"features={estimator.features!r} encodes the columns of a table, but X has "
            f"{n_dimensions} dimensions. Use features=None, or one row of numbers per sample."
        )
    features = estimator.features
    chosen = get_features(features) if isinstance(features, str) else features
    assert isinstance(chosen, FeatureEncoder)
    chosen.validate()
    return chosen


def _n_dimensions(X: Any) -> int:
    if isinstance(X, Dataset):  # partial_fit refuses it
        return 2
    if not hasattr(X, "ndim") and isinstance(X, list | tuple):
        try:
            return int(np.ndim(X))
        except ValueError:  # rows of unequal length, which reading them reports
            return 2
    return int(getattr(X, "ndim", 2))


def learned_encoder(
    features: FeatureEncoder,
    columns: TableColumns,
    X: Any,
    rows: NDArray[Any] | None,
    sample_weight: NDArray[Any] | None,
    dtype: torch.dtype,
) -> TableEncoder:
    """Learn the encoder from the training rows."""
    if isinstance(X, DatasetStream):
        X = X[:]
    return features.learn(columns, X, rows, sample_weight, dtype=dtype)


def encoded_rows(X: Any, encoder: TableEncoder) -> Any:
    """Encode rows; those on a disk, which may not fit into memory, when they are read."""
    return encoded(X, encoder, stays=isinstance(X, DatasetRows) or is_on_disk(X))


def digest(rows: NDArray[Any] | None) -> str:
    """Return a text that is the same for equal positions of rows."""
    return "all" if rows is None else hashlib.sha256(rows.tobytes()).hexdigest()
