"""Predict rows with models that were not trained on them, and score labels of these rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import KFold, PredefinedSplit, StratifiedKFold, cross_val_predict
from sklearn.utils import check_random_state, get_tags

from imbtorch._common.sklearn_private import accepts_sample_weight, asks_for_labels
from imbtorch._data.targets import encode_label_matrix, rarest_label

__all__ = [
    "Score",
    "as_folds",
    "label_scorer",
    "log_probabilities",
    "out_of_fold_proba",
    "positive_proba",
]

Floats = NDArray[np.float64]
Score = Callable[[NDArray[np.intp]], float]  # predicted codes -> greater is better


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


def out_of_fold_proba(
    estimator: Any,
    X: Any,
    y: NDArray[Any],
    *,
    cv: Any,
    n_jobs: int | None,
    sample_weight: NDArray[Any] | None,
) -> Floats:
    """Predict every row with a model that was trained on the other folds.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Classifier; clones of it are fitted.
    X : array-like of shape (n, ...)
        Features.
    y : ndarray of shape (n,) or (n, n_labels)
        Labels.
    cv : cross-validation splitter or iterable
        Cross-validation, in which every row must be in exactly one test fold.
    n_jobs : int or None
        Number of folds that are fitted at the same time.
    sample_weight : ndarray of shape (n,) or None
        Row weights, which are passed to the fits.

    Returns
    -------
    ndarray of shape (n, n_classes) or (n, n_labels)
        Probabilities in the order of the sorted classes; if a row has several labels, the
        probability that each label is 1.
    """
    labels = [np.unique(column) for column in np.atleast_2d(y.T)]
    proba = cross_val_predict(
        _KeepsLabels(estimator, labels),
        X,
        y,
        cv=cv,
        n_jobs=n_jobs,
        params=None if sample_weight is None else {"sample_weight": sample_weight},
        method="predict_proba",
    )
    return positive_proba(proba, labels) if y.ndim == 2 else np.asarray(proba, dtype=np.float64)


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


def log_probabilities(proba: Floats, floor: float) -> Floats:
    """Return the logarithm of probabilities; smaller ones than ``floor`` are replaced by it."""
    if not np.isfinite(proba).all():
        raise ValueError("predict_proba of the estimator returned NaN or infinity.")
    logs: Floats = np.log(np.maximum(proba, floor))
    return logs


class _KeepsLabels(ClassifierMixin, BaseEstimator):
    """Wrapper that gives the estimator the labels, which ``cross_val_predict`` replaces by codes.

    Without it, a ``class_weight`` or ``target_prior`` keyed by labels would not work.
    """

    # with metadata routing, sample weights given to the meta-estimator are passed to this fit
    __metadata_request__fit: ClassVar[dict[str, Any]] = {"sample_weight": True}

    def __init__(self, estimator: Any, labels: Sequence[NDArray[Any]]) -> None:
        self.estimator = estimator
        self.labels = labels

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)  # for example, a pairwise X is also split by columns

    def fit(self, X: Any, y: NDArray[Any], sample_weight: Any = None) -> _KeepsLabels:
        codes = np.atleast_2d(y.T)
        columns = [values[code] for values, code in zip(self.labels, codes, strict=True)]
        given = columns[0] if y.ndim == 1 else np.column_stack(columns)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.estimator_ = clone(self.estimator).fit(X, given, **weights)
        classes = self.estimator_.classes_
        if y.ndim == 1:
            classes = np.searchsorted(self.labels[0], classes)
        elif isinstance(classes, list):
            classes = [np.searchsorted(*pair) for pair in zip(self.labels, classes, strict=True)]
        self.classes_ = classes
        return self

    def predict(self, X: Any) -> Any:  # cross_val_predict requires it, but never calls it
        return self.estimator_.predict(X)

    def predict_proba(self, X: Any) -> Any:
        return self.estimator_.predict_proba(X)


class _Answers(ClassifierMixin, BaseEstimator):
    """A classifier that returns given predictions, because scorers require an estimator."""

    labels_: NDArray[Any]

    def __init__(self, classes: Any, proba: Floats) -> None:
        self.classes = classes
        self.proba = proba

    def fit(self, X: Any, y: Any) -> _Answers:  # check_scoring requires it, but never calls it
        return self

    @property
    def classes_(self) -> Any:
        return self.classes

    def _checked(self, X: Any, answers: Any) -> Any:
        if (n := X.shape[0] if hasattr(X, "shape") else len(X)) != len(self.proba):
            raise ValueError(
                f"scoring asked for predictions of {n} rows, but there are out-of-fold predictions "
                f"only for all {len(self.proba)} rows: predict on the whole X, then select rows."
            )
        return answers

    def predict(self, X: Any) -> Any:
        return self._checked(X, self.labels_)

    def predict_proba(self, X: Any) -> Any:
        return self._checked(X, self.proba)


def label_scorer(
    scoring: Any,
    X: Any,
    y: NDArray[Any],
    proba: Floats,
    sample_weight: Floats | None,
) -> Score:
    """Return a function that scores predictions of the rows of ``X``.

    Parameters
    ----------
    scoring : str or callable
        scikit-learn scorer.
    X : array-like of shape (n, ...)
        Features, which some scorers need.
    y : ndarray of shape (n,) or (n, n_labels)
        True labels; NaN among several labels is a label that is not known. The scorer sees it as
        absent, and its decision as right, so that it counts for nothing in F-measures, precision
        and recall.
    proba : ndarray of shape (n, n_classes) or (n, n_labels)
        Probabilities for scorers that call ``predict_proba``.
    sample_weight : ndarray of shape (n,) or None
        Row weights, which are passed to the scorer if it takes weights.

    Returns
    -------
    callable
        Function ``score(codes)`` of positions among the sorted labels; or of 0 and 1 for each
        label, if a row has several.
    """
    multilabel = y.ndim == 2
    classes = np.array([0, 1]) if multilabel else np.unique(y)
    answers = _Answers([classes] * y.shape[1] if multilabel else classes, proba)
    scorer = check_scoring(answers, scoring=scoring)
    weighted = accepts_sample_weight(scorer)
    if isinstance(scoring, str) and weighted and asks_for_labels(scorer) and not multilabel:
        return _confusion_scorer(scorer, np.searchsorted(classes, y), classes, sample_weight)
    weights = {"sample_weight": sample_weight} if weighted and sample_weight is not None else {}
    known = None
    if multilabel and np.isnan(y).any():
        known = ~np.isnan(y)
        y = np.where(known, y, 0).astype(np.intp)
        answers.proba = proba * known

    def score(codes: NDArray[np.intp]) -> float:
        answers.labels_ = classes[codes] if known is None else codes * known
        with _tolerant():
            return float(scorer(answers, X, y, **weights))

    return score


def _confusion_scorer(
    scorer: Any, truth: NDArray[np.intp], classes: NDArray[Any], sample_weight: Floats | None
) -> Score:
    """Score one weighted row for each cell of the confusion matrix instead of each row.

    This is faster in a search, which calls the scorer many times. scikit-learn's own metrics of
    labels have the same value.
    """
    n_classes = len(classes)
    known: dict[bytes, float] = {}  # the last pass of a search repeats the one before

    def score(codes: NDArray[np.intp]) -> float:
        cells = np.bincount(truth * n_classes + codes, sample_weight, n_classes**2)
        key = cells.tobytes()
        if key not in known:
            known[key] = score_cells(cells)
        return known[key]

    def score_cells(cells: NDArray[Any]) -> float:
        taken = np.flatnonzero(cells)
        answers = _Answers(classes, np.empty((len(taken), n_classes)))
        answers.labels_ = classes[taken % n_classes]
        y = classes[taken // n_classes]
        with _tolerant():
            return float(scorer(answers, taken[:, None], y, sample_weight=cells[taken]))

    return score


@contextmanager
def _tolerant() -> Iterator[None]:
    """Skip parameter validation, and ignore warnings about classes that are never predicted."""
    with warnings.catch_warnings(), config_context(skip_parameter_validation=True):
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        yield
