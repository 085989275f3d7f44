"""Rows to predict: validated, and in the form in which the module of an estimator gets them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse

from imbtorch._common.inputs import Inputs
from imbtorch._fit.input_checks import check_rows
from imbtorch.features import TableColumns
from imbtorch.training.data.features import (
    EncodedFeatures,
    Features,
    as_features,
    encoded_rows,
)

__all__ = ["features_to_predict", "needs_no_check"]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_QUICKLY_CHECKED = 2**16  # numbers; scikit-learn looks at more of them in less memory


def features_to_predict(estimator: Any, X: Any) -> Features:
    """Validate rows to predict, and return them as the module gets them.

    Parameters
    ----------
    estimator : BaseNetEstimator
        Fitted.
    X : array-like of shape (n, ...), Inputs, Sequences, Dataset or DatasetRows
        The rows.

    Raises
    ------
    ValueError
        If they are not valid, or differ from those of the fit.
    """
    net = estimator.net_
    checked = X if needs_no_check(estimator, X) else estimator._check_X(X, reset=False)
    kind = getattr(checked, "dtype", np.dtype(float)).kind
    dtype = net.dtype if net.encoder_ else net.dtype_of(checked)
    if hasattr(X, "columns") or kind in "iu" or net.lookups or isinstance(checked, Inputs):
        check_rows(checked, X, net)
    if net.tables is not None:
        checked = net.tables.encoded(checked, late=True)
    device = torch.device(net.device)
    if sparse.issparse(checked) and net.encoder_ is not None and net.encoder_.keeps_zeros:
        checked = encoded_rows(checked, net.encoder_)
    elif net.encoder_ is not None:
        return EncodedFeatures(checked, net.encoder_, device)
    return as_features(checked, dtype, device, resident=False)


def needs_no_check(estimator: Any, X: Any) -> bool:
    """Return whether ``_check_X`` would return these rows to predict as they are.

    For a single row scikit-learn's checks take longer than the net itself. They find nothing
    in a plain array of finite floats whose rows have the shape of the fit, if there were no
    names of columns; everything else gets all checks, and their errors and warnings.
    """
    if type(X) is not np.ndarray or X.dtype not in _FLOATS:
        return False
    if X.shape[1:] != estimator._input_shape or not 0 < X.size <= _QUICKLY_CHECKED:
        return False
    if getattr(estimator, "feature_names_in_", None) is not None:
        return False
    if estimator._columns is None:
        return bool(np.isfinite(X).all())
    columns = estimator._columns
    if not isinstance(columns, TableColumns) or columns.vocabulary:
        return False
    return not np.isinf(X).any()
