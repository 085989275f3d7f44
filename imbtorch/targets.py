"""From labels to integer codes and back, and the stratified hold-out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets, type_of_target

__all__ = ["encode_known_labels", "encode_labels", "stratified_holdout"]

Codes = NDArray[np.integer[Any]]


def _compact(codes: NDArray[Any], n_classes: int) -> Codes:
    """Store codes in the smallest of uint8, int16 and int32 that holds every class."""
    if n_classes <= 256:
        return codes.astype(np.uint8)
    return codes.astype(np.int16 if n_classes <= 2**15 else np.int32)


def encode_labels(y: NDArray[Any]) -> tuple[NDArray[Any], Codes]:
    """Sort the labels and number them.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels of any type that can be sorted.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        The distinct labels, sorted.
    codes : ndarray of int, shape (n,)
        ``classes[codes]`` is ``y``.

    Raises
    ------
    ValueError
        If ``y`` is continuous, or not one label per row.
    """
    _check_labels(y)
    classes = np.unique(y)
    # searching few classes is several times faster than the sort behind return_inverse
    return classes, _compact(np.searchsorted(classes, y), len(classes))


def _check_labels(y: NDArray[Any]) -> None:
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind not in {"binary", "multiclass"}:
        raise ValueError(
            f"y must hold one label per row (binary or multiclass); got a {kind} target of shape "
            f"{np.shape(y)}."
        )


def encode_known_labels(y: NDArray[Any], classes: NDArray[Any]) -> Codes:
    """Give labels the numbers of their place in sorted ``classes``.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels.
    classes : ndarray of shape (n_classes,)
        Sorted labels, of which ``y`` may lack some.

    Returns
    -------
    ndarray of int, shape (n,)
        ``classes[codes]`` is ``y``.

    Raises
    ------
    ValueError
        If ``y`` holds another label.
    """
    _check_labels(y)
    unknown = np.setdiff1d(y, classes)
    if unknown.size:
        raise ValueError(
            f"y holds the labels {unknown.tolist()}, which are not among the classes "
            f"{classes.tolist()} of the first call to partial_fit."
        )
    return _compact(np.searchsorted(classes, y), len(classes))


def stratified_holdout(
    codes: Codes, fraction: float, seed: int, classes: NDArray[Any]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split row numbers into a training and a validation part, class by class.

    Every class with at least two rows has at least one row on each side. A class with a single
    row stays in the training part.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Class of each row.
    fraction : float in (0, 1)
        Share of each class to hold out.
    seed : int
        Seed of the draw.
    classes : ndarray of shape (n_classes,)
        Labels, for the warning.

    Returns
    -------
    train, valid : ndarray of int
        Sorted row numbers.

    Warns
    -----
    UserWarning
        Names the classes that are too rare to be held out.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(codes, minlength=len(classes))
    holdout = np.clip(np.rint(fraction * counts), 1, counts - 1).astype(int)
    holdout[counts < 2] = 0
    alone = classes[counts == 1].tolist()
    if alone:
        warnings.warn(
            f"The classes {alone} have a single row each: they stay in the training part, and the "
            "validation score does not see them.",
            UserWarning,
            stacklevel=2,
        )
    by_class = np.argsort(codes, kind="stable")
    ends = np.cumsum(counts)
    drawn = [
        rng.choice(by_class[end - count : end], size=size, replace=False)
        for end, count, size in zip(ends, counts, holdout, strict=True)
    ]
    held_out = np.zeros(len(codes), dtype=bool)
    held_out[np.concatenate(drawn)] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
