"""What is measured of a model on labelled rows, as text and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from imbtorch.compare import _metrics
from imbtorch.compare._metrics import METRICS, Predictions
from imbtorch.compare._numbers import number

__all__ = ["Bin", "Caught", "Measures", "as_text", "as_values", "measure"]

_BINS = 10


@dataclass(frozen=True)
class Caught:
    """What a budget of alarms catches: the rows with the highest scores."""

    budget: int
    alarms: int
    caught: int
    precision: float
    recall: float
    threshold: float  # the smallest probability among the alarms


@dataclass(frozen=True)
class Bin:
    """Rows of similar probability: its mean, and how many of them have the class."""

    rows: int
    probability: float
    frequency: float


@dataclass(frozen=True)
class Measures:
    """All measures of a model on labelled rows.

    Parameters
    ----------
    said : Predictions
        Predictions, with the class to catch last.
    classes : list
        The classes in this order.
    metrics : dict of str to float
        Metrics by title.
    caught : list of Caught
        What each budget catches.
    bins : list of Bin
        Rows by their probability of the class to catch.
    """

    said: Predictions
    classes: list[Any]
    metrics: dict[str, float]
    caught: list[Caught]
    bins: list[Bin]


def measure(said: Predictions, classes: NDArray[Any], budgets: Sequence[float]) -> Measures:
    """Measure predictions.

    Parameters
    ----------
    said : Predictions
        Predictions of labelled rows, with the class to catch last.
    classes : ndarray of shape (n_classes,)
        The classes in this order.
    budgets : sequence of float
        Numbers of alarms, or shares of the rows below 1.
    """
    found = _metrics.measure(said)
    kept = [name for name in METRICS if not name.endswith("train_prior")]
    metrics = {_title(name): found[name] for name in kept}
    proba = said.proba / said.proba.sum(axis=1, keepdims=True)  # float32 sums are a little off
    metrics["log-loss"] = float(log_loss(said.truth, proba, labels=range(len(classes))))
    positive = said.truth == len(classes) - 1
    predicted = said.predicted == len(classes) - 1
    right = int((positive & predicted).sum())
    metrics["recall of the decisions"] = right / int(positive.sum())
    metrics["precision of the decisions"] = right / max(int(predicted.sum()), 1)
    scores = said.scores if said.scores.ndim == 1 else said.scores[:, -1]
    caught = [_within(scores, said.proba[:, -1], positive, budget) for budget in budgets]
    return Measures(said, classes.tolist(), metrics, caught, _bins(said.proba[:, -1], positive))


def _title(name: str) -> str:
    """Return the title of a metric; a model has one kind of probabilities, as it was saved."""
    return METRICS[name].title.removesuffix(", as trained")


def _within(
    scores: NDArray[Any], proba: NDArray[Any], positive: NDArray[np.bool_], budget: float
) -> Caught:
    """Count what the highest scores catch; rows of equal scores are alarms together."""
    n_rows = len(scores)
    limit = min(n_rows, int(budget * n_rows) if budget < 1 else int(budget))
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True]) + 1
    alarms = int(max(ends[ends <= limit], default=0))
    n_caught = int(positive[order[:alarms]].sum())
    precision = n_caught / alarms if alarms else float("nan")
    recall = n_caught / int(positive.sum())
    threshold = float(proba[order[:alarms]].min()) if alarms else float("nan")
    return Caught(limit, alarms, n_caught, precision, recall, threshold)


def _bins(proba: NDArray[Any], positive: NDArray[np.bool_]) -> list[Bin]:
    """Divide the rows into bins of equally many, by their probability."""
    parts = np.array_split(np.argsort(proba, kind="stable"), min(_BINS, len(proba)))
    return [Bin(len(p), float(proba[p].mean()), float(positive[p].mean())) for p in parts]


def summary(found: Measures) -> str:
    """Describe the rows, and the ranking beside that by chance."""
    n_rows, last = len(found.said.truth), len(found.classes) - 1
    n_positive = int((found.said.truth == last).sum())
    text = (
        f"{n_rows:,} rows, {n_positive:,} of class {found.classes[-1]} ({n_positive / n_rows:.2%})."
    )
    if len(found.classes) > 2:
        return text
    precision = found.metrics[_title("average_precision")]
    return f"{text} Average precision {precision:.3f}; by chance it is {n_positive / n_rows:.3f}."


def as_text(found: Measures) -> str:
    """Return the measures as a table in text."""
    width = max(map(len, found.metrics))
    lines = [summary(found), ""]
    lines += [f"{title:<{width}}  {number(value, 4):>9}" for title, value in found.metrics.items()]
    lines += [
        "",
        f"{'budget':>8}{'alarms':>8}{'caught':>8}{'precision':>11}{'recall':>8}{'threshold':>11}",
    ]
    for row in found.caught:
        lines.append(
            f"{row.budget:>8,}{row.alarms:>8,}{row.caught:>8,}{row.precision:>11.3f}"
            f"{row.recall:>8.3f}{row.threshold:>11.3g}"
        )
    lines += ["", f"Probability of class {found.classes[-1]}, and its frequency among these rows:"]
    lines += [f"{'rows':>8}{'probability':>13}{'frequency':>11}"]
    lines += [f"{b.rows:>8,}{b.probability:>13.3g}{b.frequency:>11.4f}" for b in found.bins]
    return "\n".join(lines)


def as_values(found: Measures) -> dict[str, Any]:
    """Return the measures as plain values."""
    known = {_title(name): name for name in METRICS}
    names = {
        title: known.get(title, title.replace(" ", "_").replace("-", "_"))
        for title in found.metrics
    }
    return {
        "rows": len(found.said.truth),
        "positive": str(found.classes[-1]),
        "metrics": {names[title]: value for title, value in found.metrics.items()},
        "budgets": [vars(row) for row in found.caught],
        "calibration": [vars(row) for row in found.bins],
    }
