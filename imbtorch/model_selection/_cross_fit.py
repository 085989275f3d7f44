"""Cross-fitting: a model for each fold, and predictions of the rows that it did not train on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import check_cv
from sklearn.utils.parallel import Parallel, delayed

from imbtorch._common.memo import Memo
from imbtorch._common.sklearn_private import (
    _safe_split,
)
from imbtorch._fit.fit import Stackable
from imbtorch.training.stack import train_stacked

__all__ = [
    "Fold",
    "aligned",
    "fit_folds",
    "fold_predictions",
    "fold_values",
    "mean_over_folds",
    "out_of_fold",
    "positive_proba",
    "refuse_lost_groups",
    "refuse_no_splits",
]

Floats = NDArray[np.float64]
Positions = NDArray[np.intp]
_MAX_MEMORY = 2**30  # bytes that the nets of a stack may take together


@dataclass(frozen=True)
class Fold:
    """A model and the rows that it has, and has not, been trained on.

    Attributes
    ----------
    estimator : classifier or regressor
        Fitted estimator.
    train, test : ndarray of int
        Positions of the rows of the two parts.
    """

    estimator: BaseEstimator
    train: Positions
    test: Positions


def fit_folds(
    estimator: Any,
    X: Any,
    y: NDArray[Any],
    *,
    cv: Any,
    groups: Any = None,
    n_jobs: int | None = None,
    sample_weight: NDArray[Any] | None = None,
    has_classes: bool = True,
) -> list[Fold]:
    """Fit clones of an estimator on the training parts of all folds.

    Parameters
    ----------
    estimator : classifier or regressor
        Estimator of the user.
    X, y, groups, sample_weight
        Features, targets, group and weight of each row.
    cv : splitter or iterable of splits
        Cross-validation.
    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time, where they are not a stack.
    has_classes : bool, default=True
        Whether targets are classes or labels, and not continuous.

    Returns
    -------
    list of Fold
        The fitted models.

    Raises
    ------
    ValueError
        If the splitter cannot divide the rows, there are no splits, or a fit fails.
    """
    everything, given = np.arange(len(y)), y
    if has_classes and y.dtype.kind == "f" and y.ndim == 2:  # labels, some of which are not known
        given = np.nan_to_num(y).astype(np.intp)
    splits = [
        (everything[train], everything[test])
        for train, test in check_cv(cv, given, classifier=has_classes).split(X, given, groups)
    ]
    refuse_no_splits(splits)
    parts = [train for train, _ in splits]
    if isinstance(estimator, Stackable) and n_jobs in (None, 1):
        fitted = _fit_stacked(estimator, X, y, sample_weight, parts)
    else:
        fitted = Parallel(n_jobs=n_jobs)(
            delayed(_fit_part)(estimator, X, y, sample_weight, part) for part in parts
        )
    pairs = zip(fitted, splits, strict=True)
    return [Fold(estimator, *split) for estimator, split in pairs]


def refuse_no_splits(splits: Sequence[Any]) -> None:
    """Raise ValueError if a cross-validation has no splits."""
    if not splits:
        raise ValueError(
            "cv holds no splits, but at least one is needed. Give a splitter, such as KFold(5), or "
            "a list of pairs of training and test rows."
        )


def refuse_lost_groups(cv: Any, groups: Any) -> None:
    """Raise ValueError if there are groups, but ``cv`` makes folds that do not keep them whole."""
    if groups is not None and (cv is None or isinstance(cv, int | np.integer)):
        raise ValueError(
            f"groups were given, but the folds of cv={cv!r} do not keep groups together. Name a "
            "splitter that does, such as cv=GroupKFold(5) or cv=StratifiedGroupKFold(5)."
        )


def _fit_part(estimator: Any, X: Any, y: Any, sample_weight: Any, part: Positions) -> Any:
    fitted = clone(estimator)
    X_part, y_part = _safe_split(fitted, X, y, part)
    weights = {} if sample_weight is None else {"sample_weight": sample_weight[part]}
    return fitted.fit(X_part, y_part, **weights)


def _fit_stacked(
    estimator: Stackable, X: Any, y: Any, sample_weight: Any, parts: Sequence[Positions]
) -> list[Any]:
    """Train the nets of all folds as a stack."""
    memo, clones = Memo(), [clone(estimator) for _ in parts]
    with ExitStack() as undo:
        fits = [
            undo.enter_context(one._prepare_fit(X, y, sample_weight, rows=part, memo=memo))
            for one, part in zip(clones, parts, strict=True)
        ]
        train_stacked([run for fit in fits for run in fit.runs], _MAX_MEMORY)
        interrupted = [fit.publish() for fit in fits]
    if any(interrupted):
        raise KeyboardInterrupt
    return clones


def fold_predictions(folds: Sequence[Fold], X: Any, y: NDArray[Any]) -> list[Floats]:
    """Predict the test rows of each fold by its model.

    Parameters
    ----------
    folds : sequence of Fold
        Fitted models.
    X : array-like of shape (n, ...)
        Features.
    y : ndarray of shape (n,) or (n, n_labels)
        Labels.

    Returns
    -------
    list of ndarray of shape (n_test, n_classes) or (n_test, n_labels)
        Probabilities in the order of the sorted classes.
    """
    labels = [np.unique(column) for column in np.atleast_2d(y.T)]
    parts = (_safe_split(f.estimator, X, None, f.test, f.train)[0] for f in folds)
    pairs = zip(folds, parts, strict=True)
    return [aligned(fold.estimator, part, labels, y.ndim == 2) for fold, part in pairs]


def fold_values(folds: Sequence[Fold], X: Any, y: NDArray[Any]) -> list[Floats]:
    """Predict the continuous targets of the test rows of each fold by its model.

    Parameters
    ----------
    folds : sequence of Fold
        Fitted regressors.
    X : array-like of shape (n, ...)
        Features.
    y : ndarray of shape (n,) or (n, n_targets)
        Targets.

    Returns
    -------
    list of ndarray of shape (n_test, n_targets)
        Predictions.
    """
    parts = (_safe_split(f.estimator, X, None, f.test, f.train)[0] for f in folds)
    width = y[:1].size
    return [
        np.asarray(fold.estimator.predict(part), dtype=np.float64).reshape(len(fold.test), width)
        for fold, part in zip(folds, parts, strict=True)
    ]


def out_of_fold(
    folds: Sequence[Fold], predictions: Sequence[Floats], n_rows: int
) -> tuple[Floats, Positions]:
    """Average the predictions of rows by the models that were not trained on them.

    Parameters
    ----------
    folds : sequence of Fold
        Fitted models.
    predictions : sequence of ndarray of shape (n_test, n_columns)
        What :func:`fold_predictions` returned.
    n_rows : int
        Number of all rows.

    Returns
    -------
    proba : ndarray of shape (n_rows, n_columns)
        Mean of the probabilities; NaN for rows in no test part.
    rows : ndarray of int
        Positions of the rows that have predictions.
    """
    return mean_over_folds([fold.test for fold in folds], predictions, n_rows)


def mean_over_folds(
    tests: Sequence[Any], predictions: Sequence[Floats], n_rows: int
) -> tuple[Floats, Positions]:
    """Average the predictions of rows over the folds that they are a test row of.

    Parameters
    ----------
    tests : sequence of ndarray of int
        Positions of the test rows of each fold.
    predictions : sequence of ndarray of shape (n_test, n_columns)
        What the model of each fold predicts of its test rows.
    n_rows : int
        Number of all rows.

    Returns
    -------
    mean : ndarray of shape (n_rows, n_columns)
        Mean of the predictions; NaN for rows in no test part.
    rows : ndarray of int
        Positions of the rows that have predictions.
    """
    total, times = np.zeros((n_rows, predictions[0].shape[1])), np.zeros((n_rows, 1))
    for test, found in zip(tests, predictions, strict=True):
        total[test] += found
        times[test] += 1
    with np.errstate(invalid="ignore"):
        return total / times, np.flatnonzero(times)


def aligned(estimator: Any, X: Any, labels: Sequence[NDArray[Any]], multilabel: bool) -> Floats:
    """Predict probabilities in the order of all labels; 0 for classes that training lacked.

    Parameters
    ----------
    estimator : classifier
        Fitted classifier.
    X : array-like of shape (n, ...)
        Features.
    labels : sequence of ndarray
        All classes; or the values of each label, if a row has several.
    multilabel : bool
        Whether a row has several labels.

    Returns
    -------
    ndarray of shape (n, n_classes) or (n, n_labels)
        Probabilities.

    Warns
    -----
    UserWarning
        If the training part had no row of a class.
    """
    proba = estimator.predict_proba(X)
    if multilabel:
        classes = getattr(estimator, "classes_", labels)
        known = classes if isinstance(classes, list) else labels
        return positive_proba(proba, known)
    found = np.asarray(proba, dtype=np.float64)
    classes = np.asarray(estimator.classes_)
    if len(classes) == len(labels[0]):
        return found
    lacking = np.setdiff1d(labels[0], classes).tolist()
    warnings.warn(
        f"The training part of a fold has no row of the classes {lacking}, whose probability is 0 "
        "there. Use fewer folds, or a splitter that is stratified by class.",
        UserWarning,
        stacklevel=2,
    )
    aligned = np.zeros((len(found), len(labels[0])))
    aligned[:, np.searchsorted(labels[0], classes)] = found
    return aligned


def positive_proba(proba: Any, labels: Sequence[NDArray[Any]]) -> Floats:
    """Convert the probabilities of multi-label classifiers to one column for each label.

    Parameters
    ----------
    proba : ndarray of shape (n, n_labels), or a list with an array (n, n_values) for each label
        Result of ``predict_proba``.
    labels : sequence of ndarray
        The values of each label: 0 and 1, or only one of them.

    Returns
    -------
    ndarray of shape (n, n_labels)
        Probability that each label is 1.
    """
    if not isinstance(proba, list):
        return np.asarray(proba, dtype=np.float64)
    # the column of value 1 is the last; a label that is 0 everywhere has no such column
    columns = [p[:, -1] * values[-1] for p, values in zip(proba, labels, strict=True)]
    return np.column_stack(columns).astype(np.float64)
