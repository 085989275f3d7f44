"""Folds of an ensemble: the rows that each member is scored on and does not train on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import check_cv
from sklearn.utils import indexable

from imbtorch._fit.validation_rows import ValidationRows
from imbtorch.model_selection._cross_fit import refuse_no_splits

__all__ = ["member_folds"]

Positions = NDArray[np.integer[Any]]
_SMOOTHING = 3  # epochs whose mean score decides which epoch of a member is kept


def member_folds(
    splitter: Any, targets: NDArray[Any], chosen: Positions, groups: Any
) -> list[ValidationRows]:
    """Divide the rows of a fit into folds, one for each member.

    Parameters
    ----------
    splitter : splitter or iterable of splits
        Splitter of scikit-learn, or pairs of training and test positions among the chosen rows.
    targets : ndarray of shape (n, ...)
        Targets of all rows.
    chosen : ndarray of int
        Positions of the rows of the fit.
    groups : array-like of shape (n,) or None
        Group of each row, for the splitter.

    Returns
    -------
    list of ValidationRows
        For each member the rows that it is scored on, and those that it trains on.

    Raises
    ------
    ValueError
        If the splitter cannot divide the rows, or there are no splits.
    """
    indexable(targets, groups)  # raises ValueError if there are more or fewer groups than rows
    grouped = None if groups is None else np.asarray(groups)[chosen]
    splits = list(check_cv(splitter).split(np.zeros((len(chosen), 1)), targets[chosen], grouped))
    refuse_no_splits(splits)
    return [
        ValidationRows(chosen[test], training=chosen[train], smoothing=_SMOOTHING)
        for train, test in splits
    ]
