"""Fit a strategy on every fold, as a stack of nets if possible, and compute its metrics."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import cross_validate

from imbtorch._common.sklearn_private import _safe_indexing
from imbtorch._fit.estimator import BaseNetEstimator
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.compare._inner_folds import lost_groups, splitters, with_groups
from imbtorch.compare._metrics import Predictions, measure, predict
from imbtorch.compare._row_values import weight_name
from imbtorch.compare._trees import BoostingOfFoundLength
from imbtorch.ensemble import NetEnsembleClassifier
from imbtorch.model_selection._stack_backend import StackBackend
from imbtorch.model_selection._stacked_tasks import can_be_stacked, final_step

__all__ = ["Fold", "Outcome", "epochs_of", "evaluate"]

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]
Fitted = list[tuple[Any, float]]
_MAX_MEMORY = 2**30


@dataclass(frozen=True)
class Outcome:
    """Predictions and metrics of a strategy on the test rows of one fold."""

    said: Predictions
    measures: dict[str, float]
    chosen: dict[str, Any]  # parameters chosen by an inner search


def evaluate(
    estimator: Any,
    X: Any,
    y: NDArray[Any],
    folds: list[Fold],
    classes: NDArray[Any],
    scorer: tuple[str, Callable[..., float]] | None = None,
    groups: NDArray[Any] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> list[Outcome]:
    """Fit clones on the training rows of all folds, and compute metrics on the test rows.

    Parameters
    ----------
    estimator : classifier
        Strategy to evaluate.
    X : array-like of shape (n, ...)
        Features.
    y : ndarray of shape (n,)
        Labels.
    folds : list of (ndarray, ndarray)
        Positions of training and test rows.
    classes : ndarray of shape (n_classes,)
        All labels, the rarest one last.
    scorer : (str, callable) or None, default=None
        Name and scorer of an additional metric.
    groups : ndarray of shape (n,) or None, default=None
        Group of each row, for the splitters inside of the strategy.
    weights : ndarray of shape (n,) or None, default=None
        Weight of each row, in training and in the metrics.

    Returns
    -------
    list of Outcome
        Outcome of each fold. ``measures`` includes the ``"seconds"`` and the ``"epochs"`` of the
        fit; if folds were trained together, each has an equal share of the time.
    """
    _warm_up()
    if groups is not None:
        _warn_of_lost_groups(estimator)
    by_row = {} if weights is None else {weight_name(estimator): weights}
    if groups is not None and splitters(estimator):
        fitted = _fit_folds_with_groups(estimator, X, y, folds, groups, by_row)
    else:
        fitted = _fit_folds(estimator, X, y, folds, by_row)
    outcomes = []
    for (_, test), (model, seconds) in zip(folds, fitted, strict=True):
        X_test, y_test = _safe_indexing(X, test), y[test]
        said, weighted = predict(model, X_test, y_test, classes), {}
        if weights is not None:
            said, weighted = replace(said, weight=weights[test]), {"sample_weight": weights[test]}
        measures = measure(said)
        if scorer is not None:
            measures[scorer[0]] = float(scorer[1](model, X_test, y_test, **weighted))
        measures["seconds"], measures["epochs"] = float(seconds), epochs_of(model)
        chosen = getattr(model, "best_params_", {})
        outcomes.append(Outcome(said, measures, {_short(k): v for k, v in chosen.items()}))
    return outcomes


def _fit_folds(
    estimator: Any, X: Any, y: NDArray[Any], folds: list[Fold], by_row: Mapping[str, Any]
) -> Fitted:
    """Return the model of each fold and the seconds of its fit, of a stack if possible."""
    stacked = can_be_stacked(estimator)
    backend = joblib.parallel_config(backend=StackBackend(_MAX_MEMORY)) if stacked else None
    with backend or nullcontext():
        done = cross_validate(
            estimator,
            X,
            y,
            cv=folds,
            params=dict(by_row),
            scoring=_later,
            return_estimator=True,
            error_score="raise",
        )
    return list(zip(done["estimator"], done["fit_time"], strict=True))


def _fit_folds_with_groups(
    estimator: Any,
    X: Any,
    y: NDArray[Any],
    folds: list[Fold],
    groups: NDArray[Any],
    by_row: Mapping[str, Any],
) -> Fitted:
    """Do the same; the splitters inside of the strategy get the groups of the training rows."""
    fitted = []
    for train, _ in folds:
        model = with_groups(estimator, groups[train])
        start = time.perf_counter()
        of_fold = {name: values[train] for name, values in by_row.items()}
        model.fit(_safe_indexing(X, train), y[train], **of_fold)
        fitted.append((model, time.perf_counter() - start))
    return fitted


def _warn_of_lost_groups(estimator: Any) -> None:
    if lost := lost_groups(estimator):
        warnings.warn(
            f"{', '.join(lost)} of {type(estimator).__name__} makes folds that do not keep groups "
            "together. Name a splitter that does, such as GroupKFold(5).",
            UserWarning,
            stacklevel=5,
        )


def epochs_of(model: Any) -> float:
    """Return the number of epochs of a fitted strategy.

    Parameters
    ----------
    model : classifier
        Fitted net or ensemble of nets, gradient boosting of :mod:`imbtorch.compare`, or a pipeline
        or search of one of them.

    Returns
    -------
    float
        Epochs, the mean over the members of an ensemble; the number of trees of gradient boosting;
        NaN for any other model.
    """
    last = final_step(getattr(model, "best_estimator_", model))
    if isinstance(last, BoostingOfFoundLength):
        return float(last.n_trees_)
    nets = last.estimators_ if isinstance(last, NetEnsembleClassifier) else [last]
    if not all(isinstance(net, BaseNetEstimator) for net in nets):
        return float("nan")
    return float(np.mean([net.n_iter_ for net in nets]))


def _later(estimator: Any, X: Any, y: Any) -> float:
    """Return a dummy score, because metrics of the fitted estimators are computed later."""
    return 0.0


def _short(name: str) -> str:
    return name.removeprefix("classify__").removeprefix("loss__")


@cache
def _warm_up() -> None:
    """Fit small nets once, so that one-time costs do not count for the first strategy."""
    nets = ImbalancedNetClassifier(max_epochs=1, random_state=0)
    rows = np.arange(64)
    with joblib.parallel_config(backend=StackBackend(_MAX_MEMORY)):
        cross_validate(nets, rows[:, None] % 7.0, rows % 2, cv=2, scoring=_later)
