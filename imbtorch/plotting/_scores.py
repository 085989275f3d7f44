"""Scores of one class or one label against the rest, with the true classes of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from imbtorch.metrics._inputs import (
    as_labels,
    as_numbers,
    encode,
    is_positive,
    row_weights,
)
from imbtorch.plotting._unwrap import compared_proba, votes

__all__ = ["BinaryScores", "binary_scores", "column_of", "scores_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BinaryScores:
    """Truth, scores and weights of rows, all of shape ``(n,)``, and the labels of the classes.

    ``labels`` holds the label of a negative and of a positive prediction; ``pos_label`` is the
    label of the positive class.
    """

    positive: NDArray[np.bool_]
    score: Floats
    weight: Floats
    labels: NDArray[Any]
    pos_label: object


def binary_scores(
    y_true: ArrayLike,
    y_score: ArrayLike,
    pos_label: Any = None,
    sample_weight: ArrayLike | None = None,
) -> BinaryScores:
    """Check the scores of one class against the rest, which may be several classes."""
    truth = as_labels(y_true, "y_true")
    score = as_numbers(y_score, "y_score", len(truth))
    classes, _ = encode(truth)
    if len(classes) < 2:
        raise ValueError(
            f"y_true holds only one class, {classes.tolist()}; rows of at least two are needed."
        )
    if pos_label is None:
        if len(classes) > 2:
            raise ValueError(
                f"y_true holds {len(classes)} classes, {classes[:10].tolist()}; choose one of them "
                "with pos_label, which is compared with the rest."
            )
        pos_label = classes[1]
    positive = is_positive(truth, pos_label)
    weight = row_weights(sample_weight, len(truth))
    if not (weight[positive].sum() > 0 and weight[~positive].sum() > 0):
        raise ValueError(
            f"class {pos_label!r} and the rest must both have rows of positive sample_weight."
        )
    labels = np.array([0, 1])
    if len(classes) == 2:
        labels = np.array([label for label in classes if label != pos_label] + [pos_label])
    return BinaryScores(positive, score, weight, labels, pos_label)


def scores_of(
    estimator: Any,
    X: Any,
    pos_label: Any,
    response_method: str = "predict_proba",
    *,
    in_use: bool = False,
) -> tuple[Floats, Any]:
    """Return the scores of ``pos_label``, by default the second of two classes, and that label.

    With ``in_use`` they are the scores that the threshold of ``predict`` is compared with, which
    are medians where the models of folds decide by a majority.

    If a row has several labels, ``pos_label`` is the position of one of them.
    """
    check_is_fitted(estimator)
    if not hasattr(estimator, response_method):
        raise ValueError(f"{type(estimator).__name__} has no {response_method}.")
    if in_use and response_method == "predict_proba" and votes(estimator):
        response = compared_proba(estimator, X)
    else:
        response = getattr(estimator, response_method)(X)
    if isinstance(response, list):  # form of scikit-learn's classifiers for several labels
        response = np.column_stack([columns[:, -1] for columns in response])
    scores = np.asarray(response, dtype=np.float64)
    classes = _label_names(estimator, scores)
    if pos_label is None:
        if len(classes) != 2:
            raise ValueError(
                f"{type(estimator).__name__} has {len(classes)} classes or labels, "
                f"{classes[:10]}; choose one of them with pos_label."
            )
        pos_label = classes[1]
    if pos_label not in classes:
        raise ValueError(f"pos_label={pos_label!r} is not one of the classes, {classes[:10]}.")
    place = classes.index(pos_label)
    if scores.ndim == 1:  # decision_function of two classes
        return (scores if place else -scores), pos_label
    return scores[:, place], pos_label


def _label_names(estimator: Any, scores: Floats) -> list[Any]:
    """Return the classes, or the positions of the labels if a row has several."""
    classes = getattr(estimator, "classes_", None)
    if classes is None or isinstance(classes, list):
        return list(range(scores.shape[1]))
    return list(np.asarray(classes).tolist())


def column_of(y: Any, pos_label: Any) -> Any:
    """Return the truth of ``pos_label``: its column of a label matrix, or ``y`` itself."""
    if np.ndim(y) != 2 and not hasattr(y, "toarray"):
        return y
    matrix = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
    return matrix[:, pos_label]
