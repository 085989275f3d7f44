"""Compute the metrics of a strategy on rows that it was not fitted to."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.dummy import DummyClassifier
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    get_scorer,
    roc_auc_score,
    roc_curve,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target

from imbtorch._common.sklearn_private import accepts_sample_weight
from imbtorch.metrics import adaptive_ece

__all__ = [
    "METRICS",
    "Metric",
    "Predictions",
    "as_scorer",
    "by_frequency",
    "check_weighted",
    "measure",
    "predict",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """Title and decimals of a metric, and whether greater (+1) or smaller (-1) is better."""

    title: str
    sign: int = 1
    decimals: int = 3


PRECISION_RECALL, ALARMS_RECALL = 0.8, 0.9  # recalls of the rarest class
METRICS = {
    "average_precision": Metric("average precision"),
    "roc_auc": Metric("ROC AUC"),
    "precision_at_recall_80": Metric("precision at recall 0.8"),
    "alarms_for_recall_90": Metric("alarms per 1,000 rows for recall 0.9", -1, 1),
    "balanced_accuracy": Metric("balanced accuracy"),
    "brier": Metric("Brier score, as trained", -1, 4),
    "brier_train_prior": Metric("Brier score, train prior", -1, 4),
    "ece": Metric("ECE, as trained", -1, 4),
    "ece_train_prior": Metric("ECE, train prior", -1, 4),
}


@dataclass(frozen=True)
class Predictions:
    """Predictions of a fitted classifier for test rows, with the rarest class last.

    Parameters
    ----------
    truth, predicted : ndarray of int, shape (n,)
        True and predicted classes, as positions in the order of the classes.
    scores : ndarray of shape (n,) or (n, n_classes)
        Scores to rank rows by; for two classes the score of the rarer one.
    proba : ndarray of shape (n, n_classes)
        Probabilities as trained.
    restated : ndarray of shape (n, n_classes) or None
        Probabilities with ``target_prior="train"``; None if the classifier has no such parameter.
    weight : ndarray of shape (n,) or None, default=None
        Weight of each row in all metrics; None if all rows count alike.
    """

    truth: NDArray[np.intp]
    predicted: NDArray[np.intp]
    scores: Floats
    proba: Floats
    restated: Floats | None
    weight: Floats | None = None


def by_frequency(y: ArrayLike) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the classes by decreasing frequency, and their numbers of rows."""
    labels = column_or_1d(y)
    if (kind := type_of_target(labels)) not in {"binary", "multiclass"}:
        raise ValueError(f"y must hold at least two classes; got a target of type {kind!r}.")
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"y has one class only, {classes.tolist()[0]!r}; a comparison needs two.")
    order = np.argsort(-counts, kind="stable")
    return classes[order], counts[order]


def predict(model: Any, X: Any, y: NDArray[Any], classes: NDArray[Any]) -> Predictions:
    """Compute all predictions of a fitted classifier that the metrics need.

    Parameters
    ----------
    model : classifier
        Fitted classifier with ``predict_proba``, which may be a search or a pipeline.
    X : array-like of shape (n, ...)
        Features of the test rows.
    y : ndarray of shape (n,)
        Labels of the test rows.
    classes : ndarray of shape (n_classes,)
        All labels, the rarest one last.
    """
    columns = _positions(classes, model.classes_)
    proba = np.asarray(model.predict_proba(X), dtype=np.float64)[:, columns]
    scores = proba if len(classes) > 2 else proba[:, 1]
    if len(classes) == 2 and hasattr(model, "decision_function"):
        # float32 probabilities near 1 are often equal where log-odds differ
        sign = 1 if columns[1] == 1 else -1
        scores = sign * np.asarray(model.decision_function(X), dtype=np.float64)
    predicted = _positions(np.asarray(model.predict(X)), classes)
    restated = _restated(model, X)
    if restated is not None:
        restated = restated[:, columns]
    return Predictions(_positions(y, classes), predicted, scores, proba, restated)


def measure(said: Predictions) -> dict[str, float]:
    """Compute all metrics of :data:`METRICS`; NaN if they need probabilities that are missing."""
    truth, classes = said.truth, range(said.proba.shape[1])
    restated, weight = said.restated, said.weight
    precision, alarms = decisions(said)
    return {
        "average_precision": float(
            average_precision_score(truth, said.scores, sample_weight=weight)
        ),
        "roc_auc": float(
            roc_auc_score(truth, said.scores, multi_class="ovr", sample_weight=weight)
        ),
        "precision_at_recall_80": precision,
        "alarms_for_recall_90": alarms,
        "balanced_accuracy": float(
            balanced_accuracy_score(truth, said.predicted, sample_weight=weight)
        ),
        "brier": brier_score(truth, said.proba, weight),
        "brier_train_prior": np.nan if restated is None else brier_score(truth, restated, weight),
        "ece": adaptive_ece(truth, said.proba, labels=classes, sample_weight=weight),
        "ece_train_prior": np.nan
        if restated is None
        else adaptive_ece(truth, restated, labels=classes, sample_weight=weight),
    }


def decisions(said: Predictions) -> tuple[float, float]:
    """Compute what it takes to catch the rarest class, where rows of the highest scores are alarms.

    Rows of equal scores are alarms together. Of several classes the score is the probability of the
    rarest one.

    Parameters
    ----------
    said : Predictions
        Predictions of test rows.

    Returns
    -------
    precision : float
        The best precision of all thresholds that catch 80% of the rarest class, or more.
    alarms : float
        Number of alarms, per 1,000 rows, that catch 90% of the rarest class.

    Raises
    ------
    ValueError
        If no test row, or each of them, has the rarest class.
    """
    rare = said.truth == said.proba.shape[1] - 1
    if not 0 < (n_rare := np.count_nonzero(rare)) < len(rare):
        raise ValueError(
            f"{n_rare} of the {len(rare)} test rows have the rarest class; decisions are measured "
            "where some rows have it, and others have not. Use stratified folds, or fewer."
        )
    scores = said.scores if said.scores.ndim == 1 else said.scores[:, -1]
    weight = np.ones(len(rare)) if said.weight is None else said.weight
    of_rare, of_others = weight[rare].sum(), weight[~rare].sum()
    false_alarms, recall, _ = roc_curve(rare, scores, drop_intermediate=False, sample_weight=weight)
    right, wrong = recall * of_rare, false_alarms * of_others
    if said.weight is None:
        right, wrong = np.rint(right), np.rint(wrong)
    alarms = right + wrong
    levels = (PRECISION_RECALL, ALARMS_RECALL)
    caught, most = (right >= level * of_rare * (1 - 1e-9) for level in levels)  # rounding errors
    precision = float((right[caught] / alarms[caught]).max())
    return precision, 1000 * float(alarms[most].min()) / float(weight.sum())


def brier_score(truth: NDArray[np.intp], proba: Floats, weight: Floats | None = None) -> float:
    """Compute half the mean squared distance of the probabilities from the true classes.

    For two classes it equals scikit-learn's ``brier_score_loss``.
    """
    distances = ((proba - np.eye(proba.shape[1])[truth]) ** 2).sum(axis=1)
    return float(np.average(distances, weights=weight) / 2)


def as_scorer(scoring: str | Callable[..., float], classes: NDArray[Any]) -> Any:
    """Convert a name of :data:`METRICS`, a name of a scikit-learn scorer or a callable to a scorer.

    The metrics of :data:`METRICS` use the rarest class as the positive class, whatever its label.

    Raises
    ------
    ValueError
        If the name is unknown, or the scikit-learn scorer does not fit these labels.
    """
    if not isinstance(scoring, str):
        return get_scorer(scoring)
    if scoring in METRICS:
        return _Scorer(scoring, classes)
    scorer = get_scorer(scoring)
    _try_out(scorer, scoring, classes)
    return scorer


def check_weighted(name: str, scorer: Callable[..., float]) -> None:
    """Raise ValueError if a scorer takes no weights of rows."""
    if not accepts_sample_weight(scorer):
        raise ValueError(
            f"sample_weight is given, but the scorer {name!r} takes none. Give another one, such "
            f"as {', '.join(METRICS)}; or compare without weights."
        )


def _try_out(scorer: Callable[..., float], name: str, classes: NDArray[Any]) -> None:
    """Raise ValueError if a scorer fails for a dummy classifier, before strategies are trained."""
    X = np.zeros((len(classes), 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scorer(DummyClassifier().fit(X, classes), X, classes)
    except (ValueError, TypeError) as error:
        rarest = classes.tolist()[-1]
        advice = (
            f"a scorer that names the positive label: make_scorer(..., pos_label={rarest!r})"
            if len(classes) == 2
            else "a metric of several classes, such as 'f1_macro'"
        )
        raise ValueError(
            f"scoring={name!r} does not suit these labels ({error}). Give {advice}, or one of "
            f"{', '.join(METRICS)}."
        ) from error


@dataclass(frozen=True)
class _Scorer:
    """A metric of :data:`METRICS` as a scorer; greater is better."""

    name: str
    classes: NDArray[Any]

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        said = predict(estimator, X, np.asarray(y), self.classes)
        return METRICS[self.name].sign * measure(said)[self.name]


def _positions(labels: NDArray[Any], among: NDArray[Any]) -> NDArray[np.intp]:
    """Return the position of each label in ``among``."""
    order = np.argsort(among)
    found: NDArray[np.intp] = order[np.searchsorted(among[order], labels)]
    return found


def _restated(model: Any, X: Any) -> Floats | None:
    """Return the probabilities for the class frequencies of the training data, or None."""
    last = getattr(model, "best_estimator_", model)
    while isinstance(last, Pipeline):
        last = last[-1]
    for name in ("target_prior", "estimator__target_prior"):
        parameters = last.get_params()
        if name not in parameters:
            continue
        before = parameters[name]
        try:
            last.set_params(**{name: "train"})
            return np.asarray(model.predict_proba(X), dtype=np.float64)
        except (ValueError, AttributeError):  # the loss has no posterior
            return None
        finally:
            last.set_params(**{name: before})
    return None
