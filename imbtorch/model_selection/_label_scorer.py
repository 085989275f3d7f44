"""Score the labels of rows whose probabilities are known."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import check_scoring

from imbtorch._common.sklearn_private import accepts_sample_weight, asks_for_labels

__all__ = ["Answers", "Score", "label_scorer", "log_probabilities", "tolerant"]

Floats = NDArray[np.float64]
Score = Callable[[NDArray[np.intp]], float]  # predicted codes -> greater is better


def log_probabilities(proba: Floats, floor: float) -> Floats:
    """Return the logarithm of probabilities; smaller ones than ``floor`` are replaced by it."""
    if not np.isfinite(proba).all():
        raise ValueError("predict_proba of the estimator returned NaN or infinity.")
    logs: Floats = np.log(np.maximum(proba, floor))
    return logs


class Answers(ClassifierMixin, BaseEstimator):
    """A classifier that returns given predictions, because scorers require an estimator."""

    labels_: NDArray[Any]

    def __init__(self, classes: Any, proba: Floats) -> None:
        self.classes = classes
        self.proba = proba

    def fit(self, X: Any, y: Any) -> Answers:  # check_scoring requires it, but never calls it
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
    answers = Answers([classes] * y.shape[1] if multilabel else classes, proba)
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
        with tolerant():
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
        answers = Answers(classes, np.empty((len(taken), n_classes)))
        answers.labels_ = classes[taken % n_classes]
        y = classes[taken // n_classes]
        with tolerant():
            return float(scorer(answers, taken[:, None], y, sample_weight=cells[taken]))

    return score


@contextmanager
def tolerant() -> Iterator[None]:
    """Skip parameter validation, and ignore warnings about classes that are never predicted."""
    with warnings.catch_warnings(), config_context(skip_parameter_validation=True):
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        yield
