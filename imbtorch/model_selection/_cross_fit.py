"""Cross-fitting: a model for each fold, and predictions of the rows that it did not train on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.model_selection import check_cv
from sklearn.utils import get_tags, indexable
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.memo import Memo
from imbtorch._common.sklearn_private import (
    HasMethods,
    _check_sample_weight,
    _safe_split,
    fit_context,
)
from imbtorch._data.folds import as_folds
from imbtorch._fit.conformal import calibration_scores, conformal_sets
from imbtorch._fit.fit import Stackable
from imbtorch.training.stack import train_stacked

__all__ = [
    "CrossFittedClassifier",
    "Fold",
    "cross_fit",
    "fit_folds",
    "out_of_fold",
    "positive_proba",
]

Floats = NDArray[np.float64]
Positions = NDArray[np.intp]
_MAX_MEMORY = 2**30  # bytes that the nets of a stack may take together


@dataclass(frozen=True)
class Fold:
    """A model and the rows that it has, and has not, been trained on.

    Attributes
    ----------
    estimator : classifier
        Fitted classifier.
    train, test : ndarray of int
        Positions of the rows of the two parts.
    """

    estimator: Any
    train: Positions
    test: Positions


def cross_fit(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    cv: Any = None,
    groups: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> CrossFittedClassifier:
    """Fit a classifier on each fold's training part, and predict the rows that it has not seen.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Any classifier, also a pipeline; clones of it are fitted. The nets of one estimator of this
        package are trained as a stack.
    X : array-like of shape (n, ...)
        Features.
    y : array-like of shape (n,) or (n, n_labels)
        Labels; or 0 and 1 for each of several labels.
    cv : int, splitter, iterable of splits or None, default=None
        Cross-validation; a number of folds is stratified by class, None is 5 folds. Rows that are
        in several test parts get the mean of their predictions, rows in none get NaN.
    groups : array-like of shape (n,) or None, default=None
        Group of each row, for splitters that keep groups together.
    sample_weight : array-like of shape (n,) or None, default=None
        Row weights, which are passed to the fits.
    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time, where they are not a stack.
    random_state : int, RandomState or None, default=None
        Seed that shuffles the rows before they are divided into a number of folds.

    Returns
    -------
    CrossFittedClassifier
        The fitted folds, whose mean predicts new rows.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from imbtorch.model_selection import cross_fit
    >>> X, y = make_classification(500, weights=[0.9], random_state=0)
    >>> folds = cross_fit(LogisticRegression(), X, y, cv=4)
    >>> len(folds.estimators_), folds.oof_predict_proba_.shape
    (4, (500, 2))
    """
    model = CrossFittedClassifier(estimator, cv=cv, n_jobs=n_jobs, random_state=random_state)
    return model.fit(X, y, sample_weight, groups=groups)


class CrossFittedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Classifier that consists of the models of all folds of a cross-validation.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Any classifier, also a pipeline; clones of it are fitted. The nets of one estimator of this
        package are trained as a stack.
    cv : int, splitter, iterable of splits or None, default=None
        Cross-validation; a number of folds is stratified by class, None is 5 folds.
    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time, where they are not a stack.
    random_state : int, RandomState or None, default=None
        Seed that shuffles the rows before they are divided into a number of folds.

    Attributes
    ----------
    estimators_ : list of classifiers
        One for each fold.
    folds_ : list of Fold
        The same with the positions of their rows.
    classes_ : ndarray of shape (n_classes,)
        The labels; numbers of the labels if a row has several.
    oof_predict_proba_ : ndarray of shape (n, n_classes) or (n, n_labels)
        Probabilities of each row by the models that were not trained on it, their mean if there
        are several; NaN for rows that are in no test part.
    oof_rows_ : ndarray of int
        Positions of the rows that have such predictions.

    See Also
    --------
    cross_fit : The same in one call.
    TunedDecisionClassifierCV, ScaledClassifierCV : With ``cv="oof"`` they learn from the
        out-of-fold predictions, and fit nothing more.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from imbtorch.model_selection import CrossFittedClassifier, TunedDecisionClassifierCV
    >>> X, y = make_classification(500, weights=[0.9], random_state=0)
    >>> folds = CrossFittedClassifier(LogisticRegression()).fit(X, y)
    >>> tuned = TunedDecisionClassifierCV(folds, scoring="f1", cv="oof").fit(X, y)
    >>> tuned.estimator_ is folds
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "cv": ["cv_object"],
        "n_jobs": [int, np.integer, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        cv: Any = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> CrossFittedClassifier:
        """Fit a clone on the training part of each fold, and predict the rows of its test part.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.
        y : array-like of shape (n,) or (n, n_labels)
            Labels; or 0 and 1 for each of several labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Row weights, which are passed to the fits.
        groups : array-like of shape (n,) or None, default=None
            Group of each row, for splitters that keep groups together.

        Returns
        -------
        CrossFittedClassifier
            The fitted estimator.

        Warns
        -----
        UserWarning
            If the training part of a fold has no row of a class.
        """
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None."
            )
        X, y = indexable(X, y)
        targets = np.asarray(y)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        self.folds_ = fit_folds(
            self.estimator,
            X,
            targets,
            cv=as_folds(self.cv, targets, self.random_state),
            groups=groups,
            n_jobs=self.n_jobs,
            sample_weight=weights,
        )
        self.estimators_ = [fold.estimator for fold in self.folds_]
        self._labels = [np.unique(column) for column in np.atleast_2d(targets.T)]
        self._multilabel = targets.ndim == 2
        self.classes_ = np.arange(targets.shape[1]) if self._multilabel else self._labels[0]
        self.oof_predict_proba_, self.oof_rows_ = out_of_fold(self.folds_, X, targets)
        if not self._multilabel:
            codes = np.searchsorted(self.classes_, targets)
            self._scores = []
            for fold in self.folds_:
                X_test, _ = _safe_split(fold.estimator, X, None, fold.test, fold.train)
                proba = _aligned(fold.estimator, X_test, self._labels, False)
                self._scores.append(calibration_scores(proba, codes[fold.test]))
        return self

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Mean of the probabilities of the models.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.

        Returns
        -------
        ndarray of shape (n, n_classes) or (n, n_labels)
            In the order of ``classes_``.
        """
        check_is_fitted(self)
        proba = [_aligned(e, X, self._labels, self._multilabel) for e in self.estimators_]
        mean: Floats = np.mean(proba, axis=0)
        return mean

    def predict_set(self, X: ArrayLike, alpha: float = 0.1) -> NDArray[np.bool_]:
        """Classes of each row that cannot be ruled out, with a guarantee for each class.

        Class-conditional cross-conformal prediction, see
        :func:`imbtorch.model_selection.conformal_sets`.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.
        alpha : float, default=0.1
            Largest share of the rows of each class whose set may lack this class.

        Returns
        -------
        ndarray of bool, shape (n, n_classes)
            Whether each class is in the set of each row.

        Raises
        ------
        ValueError
            If ``alpha`` is invalid, or a row has several labels.
        """
        check_is_fitted(self)
        if self._multilabel:
            raise ValueError("predict_set works for one label per row; fit one model per label.")
        proba = (_aligned(e, X, self._labels, False) for e in self.estimators_)
        return conformal_sets(zip(proba, self._scores, strict=True), alpha)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row, or the labels more probable than not.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.

        Returns
        -------
        ndarray of shape (n,) or (n, n_labels)
            Labels.
        """
        proba = self.predict_proba(X)
        if self._multilabel:
            return (proba > 0.5).astype(np.intp)
        return np.asarray(self.classes_[proba.argmax(axis=1)])


def fit_folds(
    estimator: Any,
    X: Any,
    y: NDArray[Any],
    *,
    cv: Any,
    groups: Any = None,
    n_jobs: int | None = None,
    sample_weight: NDArray[Any] | None = None,
) -> list[Fold]:
    """Fit clones of a classifier on the training parts of all folds.

    Parameters
    ----------
    estimator : classifier
        Classifier of the user.
    X, y, groups, sample_weight
        Features, labels, group and weight of each row.
    cv : splitter or iterable of splits
        Cross-validation.
    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time, where they are not a stack.

    Returns
    -------
    list of Fold
        The fitted models.

    Raises
    ------
    ValueError
        If the splitter cannot divide the rows, or a fit fails.
    """
    everything = np.arange(len(y))
    given = np.nan_to_num(y).astype(np.intp) if y.dtype.kind == "f" and y.ndim == 2 else y
    splits = [
        (everything[train], everything[test])
        for train, test in check_cv(cv, given, classifier=True).split(X, given, groups)
    ]
    parts = [train for train, _ in splits]
    if isinstance(estimator, Stackable) and n_jobs in (None, 1):
        fitted = _fit_stacked(estimator, X, y, sample_weight, parts)
    else:
        fitted = Parallel(n_jobs=n_jobs)(
            delayed(_fit_part)(estimator, X, y, sample_weight, part) for part in parts
        )
    pairs = zip(fitted, splits, strict=True)
    return [Fold(estimator, *split) for estimator, split in pairs]


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


def out_of_fold(folds: Sequence[Fold], X: Any, y: NDArray[Any]) -> tuple[Floats, Positions]:
    """Predict rows by the models that were not trained on them.

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
    proba : ndarray of shape (n, n_classes) or (n, n_labels)
        Mean of the probabilities in the order of the sorted classes; NaN without any.
    rows : ndarray of int
        Positions of the rows that have predictions.
    """
    labels, multilabel = [np.unique(column) for column in np.atleast_2d(y.T)], y.ndim == 2
    width = y.shape[1] if multilabel else len(labels[0])
    total, times = np.zeros((len(y), width)), np.zeros(len(y))
    for fold in folds:
        X_test, _ = _safe_split(fold.estimator, X, None, fold.test, fold.train)
        found = _aligned(fold.estimator, X_test, labels, multilabel)
        np.add.at(total, fold.test, found)
        np.add.at(times, fold.test, 1)
    rows = np.flatnonzero(times)
    proba = np.full((len(y), width), np.nan)
    proba[rows] = total[rows] / times[rows, None]
    return proba, rows


def _aligned(estimator: Any, X: Any, labels: Sequence[NDArray[Any]], multilabel: bool) -> Floats:
    """Predict probabilities in the order of all labels; 0 for classes that training lacked."""
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
