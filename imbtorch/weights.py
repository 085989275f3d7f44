"""Compute one weight per class from ``class_weight``, and count the rows of the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imbtorch._common.registry import unknown_name
from imbtorch._data.class_counts import ClassCounts, as_class_counts, class_counts
from imbtorch.priors._resolve import by_label

__all__ = [
    "CLASS_WEIGHT_STRATEGIES",
    "ClassCounts",
    "class_counts",
    "class_weight_from_counts",
    "class_weights",
    "depends_on_counts",
    "label_weights",
]

Floats = NDArray[np.float64]


def _balanced(counts: Floats) -> Floats:
    weights: Floats = counts.sum() / (len(counts) * counts)
    return weights


def _sum_to_n_classes(weights: Floats) -> Floats:
    scaled: Floats = weights * len(weights) / weights.sum()
    return scaled


def _sqrt(counts: Floats) -> Floats:
    return _sum_to_n_classes(1 / np.sqrt(counts))


def _effective_number(counts: Floats, beta: float = 0.9999) -> Floats:
    # Cui et al. (2019), arXiv:1901.05555; expm1 keeps 1 - beta**n exact for small n
    return _sum_to_n_classes((1 - beta) / -np.expm1(counts * np.log(beta)))


def _log(counts: Floats) -> Floats:
    # Paszke et al. (2016), arXiv:1606.02147
    weights: Floats = 1 / np.log(1.02 + counts / counts.sum())
    return weights


CLASS_WEIGHT_STRATEGIES: dict[str, Callable[[Floats], Floats]] = {
    "balanced": _balanced,
    "effective_number": _effective_number,
    "log": _log,
    "sqrt": _sqrt,
}


def depends_on_counts(class_weight: Any) -> bool:
    """Return whether a ``class_weight`` can only be computed from the whole training set.

    Examples
    --------
    >>> from imbtorch.weights import depends_on_counts
    >>> depends_on_counts("balanced"), depends_on_counts({"rare": 5})
    (True, False)
    """
    return isinstance(class_weight, str) or callable(class_weight)


def labels_without_class(named: Any, classes: ArrayLike) -> list[Any]:
    """Return the labels that a mapping, or a pandas Series, names and that are no class.

    Parameters
    ----------
    named : object
        Numbers keyed by labels; anything else names no labels.
    classes : array-like of shape (n_classes,)
        Labels of the classes.

    Examples
    --------
    >>> from imbtorch.weights import labels_without_class
    >>> labels_without_class({"rare": 10, "common": 1}, ["common", "other"])
    ['rare']
    """
    named = by_label(named)
    if not isinstance(named, Mapping):
        return []
    known = {key for label in np.asarray(classes).tolist() for key in _spellings(label)}
    return [label for label in named if label not in known]


def class_weights(
    class_weight: Any, counts: ArrayLike, classes: ArrayLike, *, strict: bool = True
) -> Floats:
    """Compute the weight of each class.

    Parameters
    ----------
    class_weight : None, str, mapping, Series, array-like of shape (n_classes,) or callable
        ``"balanced"`` is ``n / (n_classes * n_c)``; ``"sqrt"`` the inverse square root of the
        counts and ``"effective_number"`` the inverse effective number of rows (``beta`` 0.9999),
        both scaled to sum to ``n_classes``; ``"log"`` is ``1 / log(1.02 + n_c / n)``. A mapping is
        keyed by the user's labels, and a pandas Series is read by its index; missing labels have
        weight 1. Arrays and polars Series are in the order of ``classes``. A callable receives the
        counts.
    counts : array-like of shape (n_classes,)
        Number of rows, or total ``sample_weight``, of each class. The named strategies give weight
        0 to classes without rows.
    classes : array-like of shape (n_classes,)
        The labels, in the order of ``counts``.
    strict : bool, default=True
        Whether a mapping that names another label is an error; False leaves such labels out, as for
        the classes that a fold lacks.

    Returns
    -------
    ndarray of shape (n_classes,)
        Weights, which are finite, non-negative and not all zero.

    Raises
    ------
    ValueError
        If the strategy or a label is unknown, or a weight is negative, NaN or infinite.

    References
    ----------
    .. [1] King & Zeng (2001). "Logistic Regression in Rare Events Data".
           :doi:`10.1093/oxfordjournals.pan.a004868` ("balanced")
    .. [2] Cui et al. (2019). "Class-Balanced Loss Based on Effective Number of Samples".
           :arxiv:`1901.05555` ("effective_number")
    .. [3] Paszke et al. (2016). "ENet". :arxiv:`1606.02147` ("log")

    Examples
    --------
    >>> from imbtorch.weights import class_weights
    >>> class_weights("balanced", counts=[90, 10], classes=["no", "yes"]).round(3)
    array([0.556, 5.   ])
    >>> class_weights({"yes": 10}, counts=[90, 10], classes=["no", "yes"])
    array([ 1., 10.])
    """
    counts = np.asarray(counts, dtype=np.float64)
    labels = np.asarray(classes).tolist()
    if class_weight is None:
        return np.ones(len(labels))
    class_weight = by_label(class_weight)
    if isinstance(class_weight, str):
        weights = _from_strategy(class_weight, counts)
    elif isinstance(class_weight, Mapping):
        weights = _from_mapping(class_weight, labels, strict=strict)
    else:
        weights = _from_array(class_weight, counts, labels)
    for label, weight in zip(labels, weights, strict=True):
        if not (np.isfinite(weight) and weight >= 0):
            raise ValueError(
                f"class_weight of class {label!r} is {weight}; weights must be finite and >= 0."
            )
    if not weights.any():
        raise ValueError(
            f"class_weight is zero for every class ({labels}); at least one class needs a weight "
            "> 0."
        )
    return weights


def class_weight_from_counts(
    counts: ClassCounts | Mapping[Any, float], class_weight: Any = "balanced"
) -> dict[Any, float] | Floats:
    """Compute ``class_weight`` for an estimator from counts of the whole data set.

    Parameters
    ----------
    counts : ClassCounts or mapping of label to number of rows
        Counts of the classes, such as the result of :func:`class_counts`.
    class_weight : None, str, mapping, array-like or callable, default="balanced"
        Kind of the weights; see :func:`class_weights`.

    Returns
    -------
    dict, or ndarray of shape (n_labels, 2)
        Weight of each label, in a dict that every scikit-learn estimator with ``class_weight``
        accepts. If a row may have several labels, the weights of absence and presence of each
        label; see :func:`label_weights`.

    Raises
    ------
    ValueError
        If there are no counts, or ``class_weight`` is invalid.

    Examples
    --------
    >>> from imbtorch.weights import class_counts, class_weight_from_counts
    >>> class_weight_from_counts(class_counts(["no", "no", "no", "yes"]))
    {'no': 0.66..., 'yes': 2.0}
    """
    counted = as_class_counts(counts, of_chunks=False)
    if not counted:
        raise ValueError(
            "The counts are empty: class_counts was given data with no row. Give it the data set."
        )
    if counted.multilabel:
        return label_weights(class_weight, counted.counts)
    weights = class_weights(class_weight, counted.counts, counted.classes)
    return dict(zip(counted, weights.tolist(), strict=True))


def _from_strategy(name: str, counts: Floats) -> Floats:
    if name not in CLASS_WEIGHT_STRATEGIES:
        otherwise = "give a dict keyed by your labels, an array, or a callable of the class counts"
        raise ValueError(unknown_name("class_weight", name, CLASS_WEIGHT_STRATEGIES, otherwise))
    seen = counts > 0
    weights = np.zeros(len(counts))
    weights[seen] = CLASS_WEIGHT_STRATEGIES[name](counts[seen])
    return weights


def _from_mapping(class_weight: Mapping[Any, float], labels: list[Any], *, strict: bool) -> Floats:
    weights = np.ones(len(labels))
    unused = set(class_weight) if strict else set()
    for i, label in enumerate(labels):
        key = next((key for key in _spellings(label) if key in class_weight), None)
        if key is not None:
            weights[i] = _number(class_weight[key], label)
            unused.discard(key)
    if unused:
        raise ValueError(
            f"class_weight names {sorted(map(repr, unused))}, which are not among the classes "
            f"{labels}. Key it by the labels that y holds."
        )
    return weights


def _number(weight: Any, label: Any) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError):
        raise ValueError(
            f"class_weight of class {label!r} must be a number; got {weight!r}."
        ) from None


def _spellings(label: Any) -> list[Any]:
    """Return the keys for a label: the label and, as in scikit-learn, the number 1 for "1"."""
    try:
        return [label, int(label)] if isinstance(label, str) else [label]
    except ValueError:
        return [label]


def _from_array(class_weight: Any, counts: Floats, labels: list[Any]) -> Floats:
    given = class_weight(counts.copy()) if callable(class_weight) else class_weight
    if isinstance(given, list | tuple) and any(isinstance(item, Mapping) for item in given):
        raise ValueError(
            "A list of dicts is a class_weight for several labels, but y holds one label per row; "
            "give one dict keyed by the labels."
        )
    given = by_label(given)
    if isinstance(given, Mapping):  # what a callable has returned
        return _from_mapping(given, labels, strict=True)
    weights = np.asarray(given, dtype=np.float64)
    if weights.shape != (len(labels),):
        raise ValueError(
            f"class_weight has shape {weights.shape}, expected ({len(labels)},): one weight for "
            f"each of the classes {labels}."
        )
    return weights


def _series_of_labels(class_weight: Any, n_labels: int) -> Any:
    """Put a pandas Series of one weight per label into the order of the labels."""
    named = by_label(class_weight)
    if named is class_weight:
        return class_weight
    if set(named) != set(range(n_labels)):
        raise ValueError(
            f"class_weight is a Series with the index {list(named)}, but labels are numbered from "
            f"0 to {n_labels - 1}, as the columns of y. Give it these numbers as index, or "
            "class_weight.to_numpy() in the order of the columns."
        )
    return [named[label] for label in range(n_labels)]


def label_weights(class_weight: Any, counts: ArrayLike) -> Floats:
    """Compute the weights of absence and presence of each label.

    Parameters
    ----------
    class_weight : None, str, mapping, list of mappings, array-like or callable
        A strategy of :func:`class_weights` is applied to each label separately. A mapping with the
        keys 0 and 1 is used for every label; a list has one mapping for each label. An array of
        shape (n_labels,) holds the weights of presence, an array of shape (n_labels, 2) the weights
        of absence and presence; the index of a pandas Series holds the numbers of the labels. A
        callable receives the counts and returns an array.
    counts : array-like of shape (n_labels, 2)
        Number of rows, or total ``sample_weight``, without and with each label. Rows in which a
        label is not known count in neither. A label without any row has equal weights, if a
        strategy is named.

    Returns
    -------
    ndarray of shape (n_labels, 2)
        Finite weights >= 0 of absence and presence of each label.

    Raises
    ------
    ValueError
        If the strategy is unknown, a length does not fit, or a weight is negative, NaN or
        infinite.

    Examples
    --------
    >>> from imbtorch.weights import label_weights
    >>> label_weights("balanced", counts=[[90, 10], [50, 50]]).round(3)
    array([[0.556, 5.   ],
           [1.   , 1.   ]])
    """
    counts = np.asarray(counts, dtype=np.float64)
    n_labels = len(counts)
    if class_weight is None:
        return np.ones((n_labels, 2))
    class_weight = _series_of_labels(class_weight, n_labels)
    if isinstance(class_weight, str | Mapping):
        class_weight = [class_weight] * n_labels
    given = class_weight(counts.copy()) if callable(class_weight) else class_weight
    each = list(given)
    if len(each) != n_labels:
        raise ValueError(
            f"class_weight has {len(each)} entries, but y has {n_labels} labels: give one for each."
        )
    if isinstance(each[0], str | Mapping):
        return np.stack(
            [
                np.ones(2)
                if isinstance(one, str) and not row.any()
                else class_weights(one, row, [0, 1])
                for one, row in zip(each, counts, strict=True)
            ]
        )
    weights = np.asarray(given, dtype=np.float64)
    if weights.ndim == 1:
        weights = np.stack([np.ones(n_labels), weights], axis=1)
    valid = weights.shape == (n_labels, 2) and np.isfinite(weights).all() and (weights >= 0).all()
    if not valid:
        raise ValueError(
            f"class_weight of {n_labels} labels must be finite numbers >= 0 of shape "
            f"({n_labels},), for the rows that have each label, or ({n_labels}, 2), for the rows "
            f"without and with it; got {given!r}."
        )
    return weights
