"""Summaries of the recalls of all classes that show a class with a low recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets

from imbtorch.metrics._inputs import (
    as_labels,
    encode,
    frequency_groups,
    is_text,
    row_weights,
)

__all__ = ["min_class_recall", "recall_by_frequency"]

Floats = NDArray[np.float64]


def recall_by_frequency(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    y_train: ArrayLike | Mapping[Any, float],
    *,
    thresholds: Sequence[float] = (20, 100),
    sample_weight: ArrayLike | None = None,
) -> dict[str, float]:
    """Compute the mean recall of classes with many, a medium number of, and few training rows.

    Work on long-tailed recognition reports these numbers beside the overall accuracy. There they
    are called "many-shot", "medium-shot" and "few-shot" accuracy, which is the same on a balanced
    test set.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels, of any type. Classes that do not occur here are left out.
    y_pred : array-like of shape (n,)
        Predicted labels.
    y_train : array-like of shape (n_train,) or mapping of label to count
        Labels of the training rows, or the number of rows of each label. A class without training
        rows belongs to the group "few".
    thresholds : pair of numbers, default=(20, 100)
        "few" means fewer rows than the first number, "many" more than the second.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights >= 0 of the rows that are evaluated.

    Returns
    -------
    dict of str to float
        ``{"many": ..., "medium": ..., "few": ...}``, each in [0, 1]; NaN for a group without
        classes.

    Raises
    ------
    ValueError
        If lengths differ, labels are missing or of different types, ``y_train`` has none of the
        classes, or the thresholds are not an ascending pair.

    References
    ----------
    .. [1] Liu et al. (2019). "Large-Scale Long-Tailed Recognition in an Open World".
           :arxiv:`1904.05160`

    Examples
    --------
    >>> from imbtorch.metrics import recall_by_frequency
    >>> y_true, y_pred = ["a", "a", "b", "b", "c", "c"], ["a", "a", "b", "a", "a", "c"]
    >>> recall_by_frequency(y_true, y_pred, {"a": 900, "b": 90, "c": 9})
    {'many': 1.0, 'medium': 0.5, 'few': 0.5}

    A function that returns a dictionary is a scorer of several metrics:

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_validate
    >>> X, y = load_iris(return_X_y=True)
    >>> X, y = X[:115], y[:115]
    >>> def shots(clf, X_test, y_test):
    ...     return recall_by_frequency(y_test, clf.predict(X_test), y, thresholds=(20, 40))
    >>> scores = cross_validate(LogisticRegression(max_iter=1000), X, y, scoring=shots)
    >>> bool(scores["test_many"].mean() > scores["test_few"].mean())
    True
    """
    classes, recalls = class_recalls(y_true, y_pred, sample_weight)
    groups = frequency_groups(training_rows(y_train, classes), thresholds)
    return {
        name: float(recalls[group].mean()) if group.any() else float("nan")
        for name, group in groups.items()
    }


def min_class_recall(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the smallest recall of all classes.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels, of any type.
    y_pred : array-like of shape (n,)
        Predicted labels.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights >= 0 of the rows. A class whose rows all have weight 0 is left out.

    Returns
    -------
    float
        The smallest recall, in [0, 1].

    Raises
    ------
    ValueError
        If lengths differ, or labels are missing or of different types.

    Examples
    --------
    >>> from imbtorch.metrics import min_class_recall
    >>> min_class_recall(["a", "a", "a", "a", "b", "b"], ["a", "a", "a", "b", "b", "a"])
    0.5

    As a scorer, for searches and cross-validation:

    >>> from sklearn.metrics import make_scorer
    >>> scorer = make_scorer(min_class_recall)
    """
    _, recalls = class_recalls(y_true, y_pred, sample_weight)
    return float(recalls.min())


def class_recalls(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], Floats]:
    """Return the classes of ``y_true`` with a positive total weight, and their recalls."""
    truth = as_labels(y_true, "y_true")
    predicted = as_labels(y_pred, "y_pred", len(truth))
    check_classification_targets(truth)
    if is_text(truth) != is_text(predicted):  # strings never equal numbers
        raise ValueError(
            "y_true and y_pred must both hold strings or both hold numbers; got "
            f"{truth[0]!r} and {predicted[0]!r}."
        )
    classes, codes = encode(truth)
    weights = row_weights(sample_weight, len(truth))
    mass = np.bincount(codes, weights, len(classes))
    hits = np.bincount(codes, weights * (truth == predicted), len(classes))
    seen = mass > 0
    return classes[seen], hits[seen] / mass[seen]


def training_rows(y_train: ArrayLike | Mapping[Any, float], classes: NDArray[Any]) -> Floats:
    """Return the number of training rows of each class."""
    if isinstance(y_train, Mapping):
        rows = y_train
    else:
        labels, codes = encode(as_labels(y_train, "y_train"))
        rows = dict(zip(labels.tolist(), np.bincount(codes).tolist(), strict=True))
    counts = np.array([rows.get(label, 0) for label in classes.tolist()], dtype=np.float64)
    if not (np.isfinite(counts).all() and (counts >= 0).all() and counts.any()):
        raise ValueError(
            "y_train must hold labels of the training rows, or map each label to a count >= 0; for "
            f"the classes {classes[:10].tolist()} it has {counts[:10].tolist()} rows."
        )
    return counts
