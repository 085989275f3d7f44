"""The table of a fit: how its columns are read and encoded, before the net sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from imbtorch._common.inputs import Inputs, Key, is_one_sequence, shapes_by_key
from imbtorch._data.datasets_as_rows import DatasetReader
from imbtorch._fit.input_tables import features_by_input
from imbtorch._fit.parameters import NetParameters
from imbtorch.features import (
    FeatureEncoder,
    TableColumns,
    TableEncoder,
    TableFeatures,
    get_features,
)
from imbtorch.modules import ModuleBuilder

__all__ = ["chosen_features", "is_for_tables", "learned_encoder"]


def is_for_tables(estimator: NetParameters) -> bool:
    """Return whether an estimator encodes rows of one dimension."""
    if estimator.features != "auto":
        return estimator.features is not None
    module = estimator.module
    return isinstance(module, str | ModuleBuilder) or (
        isinstance(module, type) and issubclass(module, ModuleBuilder)
    )


def chosen_features(
    estimator: NetParameters, X: Any
) -> FeatureEncoder | dict[Key, FeatureEncoder] | None:
    """Return the feature encoder of a fit; None if the module gets the rows as they are.

    Of several inputs, each one that is encoded has an encoder of its own.

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
        If the name is unknown, an encoder is asked for rows of several dimensions, or encoders do
        not fit the inputs.
    """
    if isinstance(estimator.features, dict):
        return features_by_input(estimator.features, X)
    if not is_for_tables(estimator):
        return None
    n_dimensions = _n_dimensions(X)
    features = estimator.features
    if features == "auto":
        return TableFeatures() if n_dimensions == 2 else None
    if isinstance(X, Inputs) and is_one_sequence(X.input_shape):
        raise ValueError(
            f"features={features!r} encodes the columns of a table, but X holds sequences of "
            "unequal length. Use features=None, and scale the steps before."
        )
    if isinstance(X, Inputs) or (isinstance(X, DatasetReader) and n_dimensions == 1):
        raise ValueError(
            f"features={features!r} encodes the columns of one table, but X has several inputs. "
            f"Name the inputs that are tables, as in features={{{_first_key(X)!r}: {features!r}}}, "
            "or use features=None."
        )
    if n_dimensions > 2:
        raise ValueError(
            f"features={features!r} encodes the columns of a table, but X has {n_dimensions} "
            "dimensions. Use features=None, or one row of numbers per sample."
        )
    chosen = get_features(features) if isinstance(features, str) else features
    assert isinstance(chosen, FeatureEncoder)
    chosen.validate()
    return chosen


def _first_key(X: Any) -> Key:
    """Return the name of an input that may be a table, for a message."""
    shapes = shapes_by_key(X.input_shape) or {}
    return next((key for key, shape in shapes.items() if len(shape) == 1), next(iter(shapes)))


def _n_dimensions(X: Any) -> int:
    if isinstance(X, Dataset):  # partial_fit refuses it
        return 2
    if isinstance(X, Inputs):
        return 1
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
    return features.learn(columns, X, rows, sample_weight, dtype=dtype)
