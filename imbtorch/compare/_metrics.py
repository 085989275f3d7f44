"""What a strategy is measured by, on rows that it was not fitted to."""

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
)
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target

from imbtorch.metrics import adaptive_ece

__all__ = ["METRICS", "Metric", "Predictions", "as_scorer", "by_frequency", "measure", "predict"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """How a metric is shown, and whether greater (+1) or smaller (-1) is better."""

    title: str
    sign: int = 1
    decimals: int = 3


METRICS = {
    "average_precision": Metric("average precision"),
    "roc_auc": Metric("ROC AUC"),
    "balanced_accuracy": Metric("balanced accuracy"),
    "brier": Metric("Brier score, as trained", -1, 4),
    "brier_train_prior": Metric("Brier score, train prior", -1, 4),
    "ece": Metric("ECE, as trained", -1, 4),
    "ece_train_prior": Metric("ECE, train prior", -1, 4),
}


@dataclass(frozen=True)
class Predictions:
    """What a fitted classifier says of test rows; classes are ordered, the rarest one last.

    Parameters
    ----------
    truth, predicted : ndarray of int, shape (n,)
        Positions in the order of the classes.
    scores : ndarray of shape (n,) or (n, n_classes)
        To rank by: of two classes, for the rarer one.
    proba : ndarray of shape (n, n_classes)
        Probabilities as trained.
    restated : ndarray of shape (n, n_classes) or None
        Probabilities under ``target_prior="train"``, where the classifier has that.
    """

    truth: NDArray[np.intp]
    predicted: NDArray[np.intp]
    scores: Floats
    proba: Floats
    restated: Floats | None


def by_frequency(y: ArrayLike) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Order the classes by frequency, the rarest one last, with their numbers of rows."""
    labels = column_or_1d(y)
    if (kind := type_of_target(labels)) not in {"binary", "multiclass"}:
        raise ValueError(f"y must hold classes, of two kinds at least; its type is {kind!r}.")
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"y has one class only, {classes.tolist()[0]!r}; a comparison needs two.")
    order = np.argsort(-counts, kind="stable")
    return classes[order], counts[order]


def predict(model: Any, X: Any, y: NDArray[Any], classes: NDArray[Any]) -> Predictions:
    """Ask a fitted classifier for all that is measured.

    Parameters
    ----------
    model : classifier
        With ``predict_proba``; a search or a pipeline as well.
    X : array-like of shape (n, ...)
        Test rows.
    y : ndarray of shape (n,)
        Their labels.
    classes : ndarray of shape (n_classes,)
        All labels, the rarest one last.
    """
    columns = _positions(classes, model.classes_)
    proba = np.asarray(model.predict_proba(X), dtype=np.float64)[:, columns]
    scores = proba if len(classes) > 2 else proba[:, 1]
    if len(classes) == 2 and hasattr(model, "decision_function"):
        # float32 probabilities near 1 are tied, log-odds are not
        sign = 1 if columns[1] == 1 else -1
        scores = sign * np.asarray(model.decision_function(X), dtype=np.float64)
    predicted = _positions(np.asarray(model.predict(X)), classes)
    restated = _restated(model, X)
    if restated is not None:
        restated = restated[:, columns]
    return Predictions(_positions(y, classes), predicted, scores, proba, restated)


def measure(said: Predictions) -> dict[str, float]:
    """Compute every metric of :data:`METRICS`; NaN where a classifier cannot restate its prior."""
    truth, n_classes = said.truth, said.proba.shape[1]
    restated = said.restated
    return {
        "average_precision": float(average_precision_score(truth, said.scores)),
        "roc_auc": float(roc_auc_score(truth, said.scores, multi_class="ovr")),
        "balanced_accuracy": float(balanced_accuracy_score(truth, said.predicted)),
        "brier": brier_score(truth, said.proba),
        "brier_train_prior": np.nan if restated is None else brier_score(truth, restated),
        "ece": adaptive_ece(truth, said.proba, labels=range(n_classes)),
        "ece_train_prior": np.nan
        if restated is None
        else adaptive_ece(truth, restated, labels=range(n_classes)),
    }


def brier_score(truth: NDArray[np.intp], proba: Floats) -> float:
    """Half the mean squared distance of the probabilities from the outcome, any number of classes.

    For two classes it is scikit-learn's ``brier_score_loss``.
    """
    return float(((proba - np.eye(proba.shape[1])[truth]) ** 2).sum(axis=1).mean() / 2)


def as_scorer(scoring: str | Callable[..., float], classes: NDArray[Any]) -> Any:
    """Turn a name of ours, a name of scikit-learn's or a callable into a scorer.

    Ours take the rarest class for the positive one, whatever its label.

    Raises
    ------
    ValueError
        If the name is unknown, or one of scikit-learn's that these labels do not suit.
    """
    if not isinstance(scoring, str):
        return get_scorer(scoring)
    if scoring in METRICS:
        return _Scorer(scoring, classes)
    scorer = get_scorer(scoring)
    _try_out(scorer, scoring, classes)
    return scorer


def _try_out(scorer: Callable[..., float], name: str, classes: NDArray[Any]) -> None:
    """Score a classifier that knows nothing, lest every strategy is trained and fails then."""
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
    """One of our metrics as a scorer; greater is better."""

    name: str
    classes: NDArray[Any]

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        said = predict(estimator, X, np.asarray(y), self.classes)
        return METRICS[self.name].sign * measure(said)[self.name]


def _positions(labels: NDArray[Any], among: NDArray[Any]) -> NDArray[np.intp]:
    """Where each label stands among the others."""
    order = np.argsort(among)
    found: NDArray[np.intp] = order[np.searchsorted(among[order], labels)]
    return found


def _restated(model: Any, X: Any) -> Floats | None:
    """Probabilities for the class frequencies of the training data, without refitting."""
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
        except (ValueError, AttributeError):  # a loss without a posterior
            return None
        finally:
            last.set_params(**{name: before})
    return None
