"""Convert the ``target_prior`` of an estimator to class frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["normalize", "resolve_label_prior", "resolve_target_prior"]

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


def resolve_target_prior(target_prior: Any, classes: NDArray[Any], class_prior: Floats) -> Floats:
    """Convert ``target_prior`` to one probability per class.

    Parameters
    ----------
    target_prior : {"train", "uniform"}, mapping or array-like of shape (n_classes,)
        Population that probabilities shall describe.
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
        If a label is missing or unknown, or the numbers are not a distribution.

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
    if isinstance(target_prior, Mapping):
        if set(target_prior) != set(labels):
            raise ValueError(
                f"target_prior must name every class once: it has {sorted(map(repr, target_prior))}"
                f", the classes are {labels}."
            )
        target_prior = [target_prior[label] for label in labels]
    prior = np.asarray(target_prior, dtype=np.float64)
    if prior.shape != (len(labels),):
        raise ValueError(
            f"target_prior has shape {prior.shape}, expected ({len(labels)},): one probability for "
            f"each of the classes {labels}."
        )
    if not (np.isfinite(prior).all() and (prior >= 0).all() and abs(prior.sum() - 1) < 1e-6):
        raise ValueError(
            f"target_prior must be probabilities >= 0 that sum to 1; got {prior.tolist()} with sum "
            f"{prior.sum():g}."
        )
    return normalize(prior)


def resolve_label_prior(target_prior: Any, class_prior: Floats) -> Floats:
    """Convert ``target_prior`` to the share of rows that have each label.

    Parameters
    ----------
    target_prior : {"train", "uniform"} or array-like of shape (n_labels,)
        Population that probabilities shall describe; ``"uniform"`` is one half for every label.
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
    shares = target_prior
    if isinstance(target_prior, Mapping):
        shares = [target_prior.get(label, np.nan) for label in range(len(class_prior))]
    prior = np.asarray(shares, dtype=np.float64)
    if prior.shape != class_prior.shape or not ((prior >= 0) & (prior <= 1)).all():
        raise ValueError(
            f"target_prior of {len(class_prior)} labels must have one share between 0 and 1 for "
            f"each label; got {target_prior!r}."
        )
    return prior
