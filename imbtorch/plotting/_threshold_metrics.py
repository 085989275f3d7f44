"""Compute metrics of decisions at all thresholds at once, from cumulative counts."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer, get_scorer_names, roc_curve

from imbtorch._common.counted import COUNTED, fbeta
from imbtorch._common.sklearn_private import accepts_sample_weight
from imbtorch.plotting._scores import BinaryScores

__all__ = ["COUNTED", "N_CALLS", "Counts", "named_metrics"]

Floats = NDArray[np.float64]
N_CALLS = 64  # number of thresholds at which a metric is called that counts cannot give
_FBETA = re.compile(r"f(\d+(?:\.\d+)?)")


class Counts:
    """Weighted numbers of true and false positives and negatives of ``score >= threshold``.

    Parameters
    ----------
    rows : BinaryScores
        Truth, scores and weights of the rows.
    """

    def __init__(self, rows: BinaryScores) -> None:
        # roc_curve sorts thresholds downwards; at the first, infinity, no row is positive
        fpr, tpr, thresholds = roc_curve(
            rows.positive, rows.score, sample_weight=rows.weight, drop_intermediate=False
        )
        n_positive = rows.weight[rows.positive].sum()
        n_negative = rows.weight[~rows.positive].sum()
        self.thresholds: Floats = thresholds[::-1]
        self._tp, self._fp = tpr[::-1] * n_positive, fpr[::-1] * n_negative
        self._n = n_positive, n_negative

    def at(self, thresholds: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return true positives, false positives, false negatives and true negatives."""
        # the smallest score that is not below the threshold
        place = np.searchsorted(self.thresholds[:-1], thresholds, side="left")
        tp, fp = self._tp[place], self._fp[place]
        return tp, fp, self._n[0] - tp, self._n[1] - fp


class _Decided(ClassifierMixin, BaseEstimator):
    """A classifier that predicts given labels, so that a scorer can evaluate decisions."""

    def __init__(self, labels: Any = None) -> None:
        self.labels = labels
        self.classes_ = np.unique(labels) if labels is not None else None

    def predict(self, X: Any) -> Any:
        return self.labels

    def __sklearn_is_fitted__(self) -> bool:
        return True


Curve = Callable[[Counts, Floats], Floats]


def named_metrics(metrics: Any, rows: BinaryScores) -> dict[str, Curve]:
    """Convert the user's metrics to functions of counts and thresholds, by name."""
    if isinstance(metrics, Mapping):
        listed = [(str(name), metric) for name, metric in metrics.items()]
    else:
        is_one = isinstance(metrics, str) or not isinstance(metrics, Sequence)
        listed = [(_name_of(metric), metric) for metric in ([metrics] if is_one else metrics)]
    if not listed:
        raise ValueError("metrics is empty; give at least one, such as 'recall'.")
    return {name: _curve(name, metric, rows) for name, metric in listed}


def _name_of(metric: Any) -> str:
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", repr(metric))
    return str(name)


def _curve(name: str, metric: Any, rows: BinaryScores) -> Curve:
    if isinstance(metric, str):
        beta = _FBETA.fullmatch(metric)
        counted = fbeta(float(beta[1])) if beta else COUNTED.get(metric)
        if counted is not None:
            return lambda counts, thresholds: counted(*counts.at(thresholds))
        if metric not in get_scorer_names():
            raise ValueError(
                f"Unknown metric {metric!r}. Known are {', '.join(map(repr, sorted(COUNTED)))}, "
                "'f1', 'f2', 'f0.5' and so on, the names of scikit-learn's scorers, scorers, and "
                "functions of y_true and y_pred."
            )
        metric = get_scorer(metric)
    if not callable(metric):
        raise ValueError(f"metrics must hold names and callables; got {metric!r}.")
    score = _decision_score(name, metric, rows)

    def called(counts: Counts, thresholds: Floats) -> Floats:
        few = thresholds[np.unique(np.linspace(0, len(thresholds) - 1, N_CALLS).astype(int))]
        return np.interp(thresholds, few, [score(t) for t in few])

    return called


def _decision_score(name: str, metric: Any, rows: BinaryScores) -> Callable[[float], float]:
    """Score the decisions at a threshold with a scorer, or with a function of two vectors."""
    truth = rows.labels[rows.positive.astype(int)]
    weighted = accepts_sample_weight(metric) and (rows.weight != rows.weight[0]).any()
    weights = {"sample_weight": rows.weight} if weighted else {}
    required = [
        parameter
        for parameter in inspect.signature(metric).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    is_scorer = len(required) == 3  # estimator, X and y; a metric takes two vectors

    def score(threshold: float) -> float:
        predicted = rows.labels[(rows.score >= threshold).astype(int)]
        if not is_scorer:
            return float(metric(truth, predicted, **weights))
        try:
            return float(metric(_Decided(predicted), np.zeros((len(truth), 1)), truth, **weights))
        except AttributeError as error:
            raise ValueError(
                f"the metric {name!r} needs more than predicted labels ({error}), so it does not "
                "depend on a threshold. Choose a metric of predicted labels."
            ) from error

    return score
