"""Fit a strategy on every fold, as a stack of nets if possible, and compute its metrics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import cross_validate

from imbtorch._common.sklearn_private import _safe_indexing
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.compare._metrics import Predictions, measure, predict
from imbtorch.model_selection._stack_backend import StackBackend
from imbtorch.model_selection._stacked_tasks import can_be_stacked

__all__ = ["Fold", "Outcome", "evaluate"]

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]
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

    Returns
    -------
    list of Outcome
        Outcome of each fold. ``measures`` includes the ``"seconds"`` of the fit; if folds were
        trained together, each has an equal share of the time.
    """
    _warm_up()
    stacked = can_be_stacked(estimator)
    backend = joblib.parallel_config(backend=StackBackend(_MAX_MEMORY)) if stacked else None
    with backend or nullcontext():
        done = cross_validate(
            estimator, X, y, cv=folds, scoring=_later, return_estimator=True, error_score="raise"
        )
    outcomes = []
    for (_, test), model, seconds in zip(folds, done["estimator"], done["fit_time"], strict=True):
        X_test, y_test = _safe_indexing(X, test), y[test]
        said = predict(model, X_test, y_test, classes)
        measures = measure(said)
        if scorer is not None:
            measures[scorer[0]] = float(scorer[1](model, X_test, y_test))
        measures["seconds"] = float(seconds)
        chosen = getattr(model, "best_params_", {})
        outcomes.append(Outcome(said, measures, {_short(k): v for k, v in chosen.items()}))
    return outcomes


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
