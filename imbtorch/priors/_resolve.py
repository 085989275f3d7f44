"""Convert the ``target_prior`` of an estimator to class frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["by_label", "normalize", "resolve_label_prior", "resolve_target_prior"]

Floats = NDArray[np.float64]


def normalize(masses: Floats) -> Floats:
    """Scale non-negative masses of shape ``(c,)`` to sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.priors import normalize
    >>> normalize(np.array([30.0, 10.0])).tolist()
    [0.75, 0.25]
    """
    prior: Floats = masses / masses.sum()
    return prior


def by_label(values: Any) -> Any:
    """Read a pandas Series by its index, as a dict; return anything else unchanged.

    A polars Series has no index: it is read by position, as arrays are.

    Raises
    ------
    ValueError
        If a label occurs twice in the index.

    Examples
    --------
    >>> import pandas as pd
    >>> from imbtorch.priors._resolve import by_label
    >>> by_label(pd.Series([0.9, 0.1], index=["ok", "fraud"]))
    {'ok': 0.9, 'fraud': 0.1}
    """
    is_series = type(values).__module__.split(".")[0] == "pandas" and hasattr(values, "items")
    if not is_series or getattr(values, "ndim", 0) != 1 or not hasattr(values, "index"):
        return values
    labelled = dict(values.items())
    if len(labelled) < len(values):
        raise ValueError(
            f"A Series of one number per label has labels twice in its index: "
            f"{values.index[values.index.duplicated()].tolist()}."
        )
    return labelled


def resolve_target_prior(target_prior: Any, classes: NDArray[Any], class_prior: Floats) -> Floats:
    """Convert ``target_prior`` to one probability per class.

    Parameters
    ----------
    target_prior : {"train", "uniform"}, mapping, Series or array-like of shape (n_classes,)
        Population that probabilities shall describe. A mapping is keyed by labels, a pandas Series
        is read by its index. Both may name further labels, such as a class that a fold lacks: the
        shares of the classes are then scaled to sum to 1.
    classes : ndarray of shape (n_classes,)
        The labels.
    class_prior : ndarray of shape (n_classes,)
        Class frequencies of the training data.

    Returns
    -------
    ndarray of shape (n_classes,)
        Class frequencies, which sum to 1.

    Raises
    ------
    ValueError
        If a label is missing, or the numbers are not a distribution.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.priors import resolve_target_prior
    >>> classes, frequencies = np.array(["bad", "good"]), np.array([0.1, 0.9])
    >>> resolve_target_prior({"good": 0.7, "bad": 0.3}, classes, frequencies).tolist()
    [0.3, 0.7]
    """
    labels = classes.tolist()
    if isinstance(target_prior, str):
        if target_prior == "train":
            return class_prior
        return np.full(len(labels), 1 / len(labels))
    target_prior = by_label(target_prior)
    if isinstance(target_prior, Mapping):
        if not set(labels) <= set(target_prior):
            raise ValueError(
                f"target_prior must name every class once: it has {sorted(map(repr, target_prior))}"
                f", the classes are {labels}."
            )
        others = sorted(set(target_prior) - set(labels), key=repr)
        return _named_shares([target_prior[label] for label in [*labels, *others]], len(labels))
    prior = np.asarray(target_prior, dtype=np.float64)
    if prior.shape != (len(labels),):
        raise ValueError(
            f"target_prior has shape {prior.shape}, expected ({len(labels)},): one probability for "
            f"each of the classes {labels}."
        )
    _check_distribution(prior)
    return normalize(prior)


def _named_shares(shares: list[Any], n_classes: int) -> Floats:
    """Return the shares of the classes, which come first, after a check of all shares."""
    prior = np.asarray(shares, dtype=np.float64)
    _check_distribution(prior)
    prior = prior[:n_classes]
    if not prior.any():
        raise ValueError(
            "target_prior gives the share 0 to every class that y holds; at least one of them "
            "needs a share > 0."
        )
    return normalize(prior)


def _check_distribution(prior: Floats) -> None:
    if not (np.isfinite(prior).all() and (prior >= 0).all() and abs(prior.sum() - 1) < 1e-6):
        raise ValueError(
            f"target_prior must be probabilities >= 0 that sum to 1; got {prior.tolist()} with sum "
            f"{prior.sum():g}."
        )


def resolve_label_prior(target_prior: Any, class_prior: Floats) -> Floats:
    """Convert ``target_prior`` to the share of rows that have each label.

    Parameters
    ----------
    target_prior : {"train", "uniform"}, mapping, Series or array-like of shape (n_labels,)
        Population that probabilities shall describe; ``"uniform"`` is one half for every label. A
        mapping, or the index of a pandas Series, holds the numbers of the labels.
    class_prior : ndarray of shape (n_labels,)
        Share of the training rows that have each label.

    Returns
    -------
    ndarray of shape (n_labels,)
        Share of rows with each label, between 0 and 1.

    Raises
    ------
    ValueError
        If the number of labels does not fit, or a share is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.priors import resolve_label_prior
    >>> resolve_label_prior("uniform", np.array([0.01, 0.2])).tolist()
    [0.5, 0.5]
    """
    if isinstance(target_prior, str):
        return class_prior if target_prior == "train" else np.full(len(class_prior), 0.5)
    shares = target_prior = by_label(target_prior)
    if isinstance(target_prior, Mapping):
        numbers = range(len(class_prior))
        if not set(target_prior) <= set(numbers):
            raise ValueError(
                f"target_prior names {list(target_prior)}, but labels are numbered from 0 to "
                f"{len(class_prior) - 1}, as the columns of y. Key it by these numbers, or give an "
                "array in the order of the columns."
            )
        shares = [target_prior.get(label, np.nan) for label in numbers]
    prior = np.asarray(shares, dtype=np.float64)
    if prior.shape != class_prior.shape or not ((prior >= 0) & (prior <= 1)).all():
        raise ValueError(
            f"target_prior of {len(class_prior)} labels must have one share between 0 and 1 for "
            f"each label; got {target_prior!r}."
        )
    return prior
