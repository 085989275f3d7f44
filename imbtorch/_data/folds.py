"""Divide rows into folds, stratified by class or by the rarest label of a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, PredefinedSplit, StratifiedKFold
from sklearn.utils import check_random_state

from imbtorch._data.targets import encode_label_matrix, rarest_label

__all__ = ["as_folds"]


def as_folds(cv: Any, y: NDArray[Any], random_state: Any) -> Any:
    """Convert None or a number of folds to a splitter; return anything else unchanged."""
    if not (cv is None or isinstance(cv, int | np.integer)):
        return cv
    n_folds = 5 if cv is None else int(cv)
    if y.ndim == 2:
        return _label_folds(n_folds, y, 0 if random_state is None else random_state)
    return StratifiedKFold(n_folds, shuffle=random_state is not None, random_state=random_state)


def _label_folds(n_folds: int, y: NDArray[Any], random_state: Any) -> PredefinedSplit:
    """Spread the rows over the folds, shuffled and stratified by the rarest label of each row."""
    next(KFold(n_folds).split(y))  # raises ValueError if there are too few rows or folds
    codes, _ = rarest_label(encode_label_matrix(y))
    shuffled = check_random_state(random_state).permutation(len(y))
    # rows of one group are neighbours here, so that each fold gets its share of them
    grouped = shuffled[np.argsort(codes[shuffled], kind="stable")]
    fold = np.empty(len(y), dtype=np.intp)
    fold[grouped] = np.arange(len(y)) % n_folds
    return PredefinedSplit(fold)
