"""From labels to integer codes and back, and the stratified hold-out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets, type_of_target

__all__ = [
    "encode_known_labels",
    "encode_label_matrix",
    "encode_labels",
    "has_several_columns",
    "stratified_holdout",
]

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
    if type_of_target(y, input_name="y").startswith("continuous"):
        raise ValueError(
            "Unknown label type: continuous. y holds continuous values; use "
            "imbtorch.ImbalancedNetRegressor for them, or cut them into classes."
        )
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
            f"y holds the labels {unknown.tolist()}, which are not among the known classes "
            f"{classes.tolist()}."
        )
    return _compact(np.searchsorted(classes, y), len(classes))


def has_several_columns(y: Any) -> bool:
    """Tell a matrix of labels, or of values, from one target per row."""
    try:
        shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    except ValueError:  # rows of unequal length, which the validation of y reports
        return False
    return len(shape) > 1 and shape[1] > 1


def encode_label_matrix(y: Any) -> Any:
    """Store a matrix of labels as CSR, whatever it came as.

    Parameters
    ----------
    y : ndarray or sparse matrix of shape (n, n_labels)
        Zeros and ones.

    Returns
    -------
    csr_array of uint8, shape (n, n_labels)
        Ones are stored, zeros are not.

    Raises
    ------
    ValueError
        If there is another value.
    """
    values = y.data if sparse.issparse(y) else np.asarray(y)
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        odd = np.unique(values[~np.isin(values, (0, 1))])[:5].tolist()
        raise ValueError(
            f"y has {y.shape[1]} columns, so it must be a matrix of labels, 0 or 1; got {odd}. Use "
            "ImbalancedNetRegressor for continuous targets, or fit one classifier for each column "
            "(sklearn.multioutput.MultiOutputClassifier). Unknown label type."
        )
    matrix = sparse.csr_array(y, dtype=np.uint8)
    matrix.eliminate_zeros()
    return matrix


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
