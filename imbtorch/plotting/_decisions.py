"""Thresholds of decisions: the one in use, and the ones with the smallest cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from imbtorch.plotting._threshold_metrics import Counts
from imbtorch.plotting._unwrap import decision_maker

__all__ = [
    "cheapest_expected",
    "cheapest_here",
    "check_costs",
    "interval_of_threshold",
    "mean_cost",
    "threshold_in_use",
]

Floats = NDArray[np.float64]


def check_costs(cost_matrix: ArrayLike) -> Floats:
    costs = np.asarray(cost_matrix, dtype=np.float64)
    if costs.shape != (2, 2) or not np.isfinite(costs).all():
        raise ValueError(
            "cost_matrix must be 2 x 2 finite numbers, [[true negative, false positive], [false "
            f"negative, true positive]]; got {costs.tolist()}."
        )
    if costs[0, 1] <= costs[0, 0] or costs[1, 0] <= costs[1, 1]:
        raise ValueError(
            "in each row of cost_matrix an error must cost more than the right decision; got "
            f"{costs.tolist()}. Otherwise the same decision is best for all rows."
        )
    return costs


def mean_cost(counts: Counts, thresholds: Floats, costs: Floats) -> Floats:
    tp, fp, fn, tn = counts.at(thresholds)
    total: Floats = tn * costs[0, 0] + fp * costs[0, 1] + fn * costs[1, 0] + tp * costs[1, 1]
    return total / (tp + fp + fn + tn)


def cheapest_here(counts: Counts, costs: Floats) -> float:
    """Return the threshold with the smallest cost for these rows, midway between two scores."""
    thresholds = counts.thresholds
    best = int(mean_cost(counts, thresholds, costs).argmin())
    if best == len(thresholds) - 1:  # no row is positive
        return float(np.nextafter(thresholds[-2], np.inf))
    if best == 0:
        return float(thresholds[0])
    middle = (thresholds[best - 1] + thresholds[best]) / 2
    return float(middle if middle > thresholds[best - 1] else thresholds[best])


def cheapest_expected(costs: Floats) -> float:
    """Return the threshold on calibrated probabilities with the smallest expected cost."""
    false_positive, false_negative = costs[0, 1] - costs[0, 0], costs[1, 0] - costs[1, 1]
    return float(false_positive / (false_positive + false_negative))


def threshold_in_use(
    estimator: Any, pos_label: Any, response_method: str, *, of_labels: bool
) -> float | None:
    """Return the threshold on the score that ``predict`` uses for ``pos_label``, or None."""
    is_proba = response_method == "predict_proba"
    default = 0.5 if is_proba else 0.0
    decider = decision_maker(estimator)
    offsets = getattr(decider, "offsets_", None)
    if of_labels:
        return default if offsets is None else float(expit(-offsets[pos_label]))
    classes = np.asarray(decider.classes_).tolist()
    place = classes.index(pos_label)
    if len(classes) > 2:
        bounds = getattr(decider, "thresholds_", None) if is_proba else None
        if bounds is not None and bounds[place] > 0:
            return float(bounds[place])  # of a class with a constraint
        return None  # predict chooses the class of the largest score
    tuned = getattr(decider, "best_threshold_", getattr(decider, "threshold", "auto"))
    asked = getattr(decider, "response_method", "auto")
    if tuned != "auto":
        return float(tuned) if place == 1 and asked in {"auto", response_method} else None
    if getattr(decider, "cost_matrix", None) is not None and is_proba:
        order = [1 - place, place]
        return cheapest_expected(np.asarray(decider.cost_matrix)[np.ix_(order, order)])
    if offsets is not None:
        return float(expit(offsets[1 - place] - offsets[place])) if is_proba else None
    return default


def interval_of_threshold(
    estimator: Any, pos_label: Any, response_method: str, *, of_labels: bool
) -> tuple[float, float] | None:
    """Return between which scores the best threshold of resamples is, or None if not known."""
    decider = decision_maker(estimator)
    intervals = getattr(decider, "thresholds_interval_", None)
    if intervals is None or response_method != "predict_proba":
        return None
    if of_labels:
        low, high = intervals[pos_label]
    elif np.asarray(decider.classes_).tolist().index(pos_label) == 1:
        low, high = intervals[0]
    else:
        low, high = 1 - intervals[0][::-1]
    return (float(low), float(high)) if np.isfinite(low) else None
