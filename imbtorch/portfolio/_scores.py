"""What makes a blend of recipes good: a loss of each row, or a scorer of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import check_scoring

from imbtorch._common.sklearn_private import (
    _safe_indexing,
    accepts_sample_weight,
    asks_for_labels,
)
from imbtorch._data.targets import split_unknown
from imbtorch._fit.scoring import check_knows_labels
from imbtorch.model_selection._label_scorer import Answers, tolerant
from imbtorch.portfolio._blend import Scores

__all__ = [
    "OutOfFold",
    "Scorer",
    "by_loss",
    "classifying_scorer",
    "log_loss",
    "regressing_scorer",
    "weights_of",
]

Floats = NDArray[np.float64]
_FLOOR = 1e-9  # smaller probabilities count as this one


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold predictions of all recipes, and how they are scored.

    Attributes
    ----------
    predictions : ndarray of shape (n_recipes, n, ...)
        Predictions of each row by each recipe.
    scores : callable(predictions, rows, times) -> scores
        See :func:`imbtorch.portfolio._blend.blend_shares`.
    strata : ndarray of int, shape (n,)
        Class of each row; zeros for no classes.
    """

    predictions: Floats
    scores: Scores
    strata: NDArray[np.intp]

    def of_recipes(self) -> Floats:
        """Return the score of each recipe on all rows, ``(n_recipes,)``."""
        n = self.predictions.shape[1]
        return self.scores(self.predictions, np.arange(n), np.ones(n))


@dataclass(frozen=True)
class Scorer:
    """A scorer of scikit-learn that is shown known predictions.

    Attributes
    ----------
    score : callable(estimator, X, y) -> float
        The scorer.
    answers : callable(predictions) -> estimator
        Returns an estimator with these predictions.
    needs_features : bool
        Whether the scorer may look at ``X``.
    """

    score: Callable[..., float]
    answers: Callable[[Floats], Any]
    needs_features: bool

    def out_of_fold(
        self, predictions: Floats, X: Any, y: NDArray[Any], sample_weight: Any, strata: Any
    ) -> OutOfFold:
        """Return what the blend looks at, of the rows that are predicted and have a weight.

        Parameters
        ----------
        predictions : ndarray of shape (n_recipes, n, ...)
            Out-of-fold predictions; NaN for rows that are in no fold.
        X : array-like of shape (n, ...)
            Features.
        y : ndarray of shape (n,) or (n, n_outputs)
            Labels or targets.
        sample_weight : array-like of shape (n,) or None
            Weights of the rows, for scorers that take weights.
        strata : ndarray of int, shape (n,)
            Class of each row; zeros for no classes.
        """
        known = np.isfinite(predictions[0].reshape(len(y), -1)).all(axis=1)
        weights = None
        if sample_weight is not None:
            known &= np.asarray(sample_weight) > 0
            weights = np.asarray(sample_weight, dtype=np.float64)[known]
        chosen = np.flatnonzero(known)
        rows = _safe_indexing(X, chosen) if self.needs_features else chosen[:, None]
        scores = self._scores(rows, y[chosen], weights)
        return OutOfFold(predictions[:, chosen], scores, strata[chosen])

    def _scores(self, X: Any, y: NDArray[Any], weights: Floats | None) -> Scores:
        """Return a function that scores predictions of some of these rows."""
        takes_weights = accepts_sample_weight(self.score)

        def scores(predictions: Floats, rows: NDArray[np.intp], times: Floats) -> Floats:
            given: dict[str, Any] = {}
            if takes_weights and (weights is not None or (times != 1).any()):
                given["sample_weight"] = times if weights is None else times * weights[rows]
            elif (times != 1).any():  # a row stands for several ones
                places = np.repeat(np.arange(len(rows)), np.round(times).astype(np.intp))
                rows, predictions = rows[places], predictions[:, places]
            seen = _safe_indexing(X, rows)
            with tolerant():
                found = [self.score(self.answers(p), seen, y[rows], **given) for p in predictions]
            return np.array(found, dtype=np.float64)

        return scores


def by_loss(loss: Callable[[Floats], Floats], weights: Floats) -> Scores:
    """Return a function that scores predictions by minus the mean loss of the rows.

    Parameters
    ----------
    loss : callable(predictions) -> losses
        Loss of each row, elementwise.
    weights : ndarray of shape (n,)
        Weights of the rows.
    """

    def scores(predictions: Floats, rows: NDArray[np.intp], times: Floats) -> Floats:
        counts = weights[rows] * times
        return np.asarray(-loss(predictions) @ counts / counts.sum())

    return scores


def log_loss(own: Floats) -> Floats:
    """Return the log-loss of the probabilities of what has come true."""
    return np.asarray(-np.log(np.maximum(own, _FLOOR)))


def weights_of(sample_weight: Any, shape: tuple[int, ...]) -> Floats:
    """Return the weight of each label or target, ``(n, n_columns)``, from those of the rows."""
    weights = np.ones(shape[0]) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    return np.broadcast_to(weights[:, None], shape)


def classifying_scorer(scoring: Any, targets: NDArray[Any]) -> Scorer:
    """Return a scorer of probabilities.

    Parameters
    ----------
    scoring : str or callable
        Scorer of scikit-learn.
    targets : ndarray of shape (n,) or (n, n_labels)
        All labels.

    Raises
    ------
    ValueError
        If the scorer looks at labels instead of probabilities, or cannot score these labels.
    """
    several = targets.ndim == 2
    if several and isinstance(scoring, str) and split_unknown(targets) is not None:
        raise ValueError(
            f"scoring={scoring!r} is a metric of scikit-learn, which cannot leave out labels that "
            "are not known (NaN in y). Use scoring=None, the log-loss of the known labels, or a "
            "callable(estimator, X, y) that leaves them out."
        )
    classes = np.array([0, 1]) if several else np.unique(targets)

    def answers(proba: Floats) -> Answers:
        known = Answers([classes] * targets.shape[1] if several else classes, proba)
        known.labels_ = (proba > 0.5).astype(np.intp) if several else classes[proba.argmax(axis=1)]
        return known

    scorer = check_scoring(Answers(classes, np.empty((0, len(classes)))), scoring=scoring)
    if asks_for_labels(scorer):
        raise ValueError(
            f"scoring={scoring!r} looks at decisions, but a blend is chosen by its probabilities: "
            "use a scorer such as 'average_precision', 'roc_auc' or 'neg_log_loss'. Decisions are "
            "tuned afterwards, by TunedDecisionClassifierCV(portfolio, scoring=..., cv='oof')."
        )
    check_knows_labels(scorer, scoring, targets)
    return Scorer(scorer, answers, not isinstance(scoring, str))


class _Predictions(RegressorMixin, BaseEstimator):
    """A regressor that returns given predictions, because scorers require an estimator."""

    def __init__(self, values: Any = None) -> None:
        self.values = values

    def fit(self, X: Any, y: Any) -> _Predictions:  # check_scoring requires it
        return self

    def predict(self, X: Any) -> Any:
        return self.values


def regressing_scorer(scoring: Any) -> Scorer:
    """Return a scorer of predictions."""
    scorer = check_scoring(_Predictions(), scoring=scoring)
    return Scorer(scorer, _Predictions, not isinstance(scoring, str))
