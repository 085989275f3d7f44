"""Fit every strategy on every fold, and measure."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from data_sets import DataSet
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from imbtorch import ImbalancedNetClassifier

NET = "imbalancednetclassifier"  # what make_pipeline calls it


@dataclass(frozen=True)
class Outcome:
    """How a strategy did on test rows.

    Parameters
    ----------
    truth, predicted : ndarray of int, shape (n,)
        Class of each test row.
    score : ndarray of shape (n,)
        Probability of the rarest class.
    measures : dict of float
        The measures by name.
    gamma : float or None
        Of the focal loss, where it was searched.
    """

    truth: NDArray[np.intp]
    predicted: NDArray[np.intp]
    score: NDArray[np.float64]
    measures: dict[str, float]
    gamma: float | None = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: batches this small are not worth sharing out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def warm_up() -> None:
    """Bear the cost of the first fit of a process, lest the first strategy is charged for it."""
    ImbalancedNetClassifier(max_epochs=1).fit([[0.0], [1.0]] * 8, [0, 1] * 8)


def run_fold(
    data: DataSet, estimator: Any, train: NDArray[np.intp], test: NDArray[np.intp]
) -> Outcome:
    """Fit a strategy on some rows and measure it on others.

    Parameters
    ----------
    data : DataSet
        The rows.
    estimator : Pipeline or search over a Pipeline
        The strategy.
    train, test : ndarray of int
        Positions of the rows.
    """
    with one_thread():
        warm_up()
        start = time.perf_counter()
        model = clone(estimator).fit(data.X[train], data.y[train])
        seconds = time.perf_counter() - start
        gamma = getattr(model, "best_params_", {}).get(f"{NET}__loss__gamma")
        model = getattr(model, "best_estimator_", model)
        as_trained = model.predict_proba(data.X[test]).astype(np.float64)
        model.set_params(**{f"{NET}__target_prior": "train"})  # acts without refitting
        proba = model.predict_proba(data.X[test]).astype(np.float64)
    truth, predicted = data.y[test], as_trained.argmax(axis=1)
    scores = proba[:, 1] if proba.shape[1] == 2 else proba
    measures = {
        "roc_auc": roc_auc_score(truth, scores, multi_class="ovr"),
        "average_precision": average_precision_score(truth, scores),
        "balanced_accuracy": balanced_accuracy_score(truth, predicted),
        "brier": brier_score(truth, proba),
        "brier_as_trained": brier_score(truth, as_trained),
        "seconds": seconds,
    }
    return Outcome(truth, predicted, proba[:, -1], measures, gamma)


def brier_score(truth: NDArray[np.intp], proba: NDArray[np.float64]) -> float:
    """Half the squared distance between probabilities and outcome, of any number of classes."""
    return float(((proba - np.eye(proba.shape[1])[truth]) ** 2).sum(axis=1).mean() / 2)


def run(data: DataSet, strategies: dict[str, Any], jobs: int) -> dict[str, list[Outcome]]:
    """Run every strategy on every fold of the data, ``jobs`` at a time."""
    tasks = [(name, fold) for name in strategies for fold in data.folds]
    outcomes = Parallel(n_jobs=jobs, return_as="generator")(
        delayed(run_fold)(data, strategies[name], *fold) for name, fold in tasks
    )
    results: dict[str, list[Outcome]] = {name: [] for name in strategies}
    for done, ((name, _), outcome) in enumerate(zip(tasks, outcomes, strict=True), start=1):
        results[name].append(outcome)
        if sys.stderr.isatty():
            end = "\r" if done < len(tasks) else "\r\033[K"
            print(f"  {done} of {len(tasks)} done", end=end, file=sys.stderr, flush=True)
    return results


def pool(outcomes: Sequence[Outcome]) -> Outcome:
    """Put the test rows of all folds together; of each measure, take the mean."""
    keys = outcomes[0].measures
    return Outcome(
        np.concatenate([outcome.truth for outcome in outcomes]),
        np.concatenate([outcome.predicted for outcome in outcomes]),
        np.concatenate([outcome.score for outcome in outcomes]),
        {key: float(np.mean([outcome.measures[key] for outcome in outcomes])) for key in keys},
    )
