"""Decisions from out-of-fold predictions: a threshold, its alarms and what they catch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch.compare._metrics import Predictions

__all__ = ["Alarms", "alarms_for", "out_of_fold", "recall_error", "rounded_down", "weights_of"]


@dataclass(frozen=True)
class Alarms:
    """The rows whose probability of the rarest class reaches a threshold.

    Parameters
    ----------
    threshold : float
        The smallest probability that is an alarm.
    precision : float
        Share of the alarms that have the rarest class.
    recall : float
        Share of the rarest class that is among the alarms.
    per_thousand : float
        Number of alarms in 1,000 rows.
    """

    threshold: float
    precision: float
    recall: float
    per_thousand: float


def out_of_fold(folds: Sequence[Predictions]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Put the test rows of all folds together.

    Parameters
    ----------
    folds : sequence of Predictions
        Predictions of the test rows of each fold.

    Returns
    -------
    is_rare : ndarray of bool, shape (n,)
        Whether each row has the rarest class.
    probability : ndarray of shape (n,)
        Its probability of the rarest class, by a model that was not trained on the row.
    """
    last: Any = folds[0].proba.shape[1] - 1
    is_rare = np.concatenate([said.truth == last for said in folds])
    return is_rare, np.concatenate([said.proba[:, last] for said in folds])


def weights_of(folds: Sequence[Predictions]) -> NDArray[np.float64]:
    """Return the weight of each row of :func:`out_of_fold`, ``(n,)``; 1 if all count alike."""
    given = [np.ones(len(said.truth)) if said.weight is None else said.weight for said in folds]
    return np.concatenate(given)


def alarms_for(folds: Sequence[Predictions], recall: float) -> Alarms:
    """Find the highest threshold whose alarms catch a share of the rarest class.

    Rows of equal probabilities are alarms together. Each row counts with its weight.

    Parameters
    ----------
    folds : sequence of Predictions
        Predictions of the test rows of each fold.
    recall : float
        Share of the rarest class to catch.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.compare._alarms import alarms_for
    >>> from imbtorch.compare._metrics import Predictions
    >>> truth, score = np.array([1, 0, 1, 0]), np.array([0.9, 0.7, 0.6, 0.1])
    >>> said = Predictions(truth, truth, score, np.column_stack([1 - score, score]), None)
    >>> found = alarms_for([said], 0.9)
    >>> found.threshold, found.recall, found.per_thousand
    (0.6, 1.0, 750.0)
    """
    is_rare, probability = out_of_fold(folds)
    weights = weights_of(folds)
    order = np.argsort(-probability[is_rare], kind="stable")
    caught = np.cumsum(weights[is_rare][order])  # by thresholds that let in row after row
    of_rare = float(caught[-1])
    last = int(np.searchsorted(caught, recall * of_rare * (1 - 1e-9)))  # less rounding errors
    threshold = float(probability[is_rare][order][last])
    is_alarm = probability >= threshold
    alarms, right = float(weights[is_alarm].sum()), float(weights[is_alarm & is_rare].sum())
    per_thousand = 1000 * alarms / float(weights.sum())
    return Alarms(threshold, right / alarms, right / of_rare, per_thousand)


def recall_error(recall: float, n_rare: int) -> float:
    """Return the standard error of a recall that is measured on ``n_rare`` new rows."""
    return float(np.sqrt(recall * (1 - recall) / n_rare))


def rounded_down(threshold: float, digits: int = 6) -> float:
    """Round a threshold to some digits so that no alarm is lost.

    Examples
    --------
    >>> from imbtorch.compare._alarms import rounded_down
    >>> rounded_down(0.0123456789), rounded_down(0.5)
    (0.0123456, 0.5)
    """
    if threshold < 1e-290:  # the power of ten below has no floating-point number
        return threshold
    scale = 10.0 ** (digits - 1 - int(np.floor(np.log10(threshold))))
    nearest = round(threshold * scale) / scale
    return nearest if nearest <= threshold else float(np.floor(threshold * scale) / scale)
