"""The outer folds of a comparison, each of which has every class in both of its parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, check_cv

from imbtorch.compare._folds import Fold

__all__ = ["outer_folds"]


def outer_folds(
    X: Any,
    y: NDArray[Any],
    cv: Any,
    groups: NDArray[Any] | None,
    weights: NDArray[np.float64] | None,
    classes: NDArray[Any],
    seed: int,
) -> list[Fold]:
    """Return the positions of the training and test rows of each fold.

    Parameters
    ----------
    X : array-like of shape (n, ...)
        Features.
    y : ndarray of shape (n,)
        Labels.
    cv : int, splitter or iterable
        Number of folds, stratified by class, or what makes them.
    groups : ndarray of shape (n,) or None
        Group of each row.
    weights : ndarray of shape (n,) or None
        Weight of each row; a row of weight 0 does not count as a row of its class.
    classes : ndarray of shape (n_classes,)
        All labels, the rarest one last.
    seed : int
        Seed of the order of the rows.

    Raises
    ------
    ValueError
        If there are no folds, or a class lacks in a part of one of them.
    """
    if isinstance(cv, int | np.integer):
        cv = _stratified(int(cv), y, groups, classes, seed)
    everything = np.arange(len(y))
    folds = [
        (everything[np.asarray(train)], everything[np.asarray(test)])
        for train, test in check_cv(cv, y, classifier=True).split(X, y, groups)
    ]
    if not folds:
        raise ValueError("cv holds no splits; give a splitter, such as StratifiedKFold(5).")
    counted = np.ones(len(y), dtype=bool) if weights is None else weights > 0
    for number, fold in enumerate(folds):
        for part, rows in zip(("training", "test"), fold, strict=True):
            lacking = np.setdiff1d(classes, y[rows[counted[rows]]]).tolist()
            if lacking:
                above = "" if weights is None else " with a weight above 0"
                raise ValueError(
                    f"fold {number} has no {part} row of class {lacking[0]!r}{above}: every class "
                    "must be in both parts of each fold. Use fewer folds, or stratified folds."
                )
    return folds


def _stratified(
    n_folds: int, y: NDArray[Any], groups: Any, classes: NDArray[Any], seed: int
) -> StratifiedKFold | StratifiedGroupKFold:
    rarest = classes.tolist()[-1]
    if (count := np.count_nonzero(y == rarest)) < n_folds:
        raise ValueError(
            f"class {rarest!r} has {count} rows, fewer than the {n_folds} folds. Leave it out, "
            "merge it with another class, or use fewer folds."
        )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    return kind(n_folds, shuffle=True, random_state=seed)
