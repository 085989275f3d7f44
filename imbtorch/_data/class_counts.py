"""Count the rows of each class chunk by chunk; counts of chunks can be added in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch.utils.data import Dataset

from imbtorch._data.dataset_items import chunks_of, to_array
from imbtorch._data.targets import (
    absent_masses,
    encode_label_matrix,
    present_labels,
    split_unknown,
    unknown_labels,
)
from imbtorch.priors._resolve import by_label

__all__ = ["ClassCounts", "as_class_counts", "class_counts"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts(Mapping[Any, float]):
    """Number of rows, or total ``sample_weight``, of each label.

    This is a mapping from labels to counts, sorted by label. Counts of two parts of the data can be
    added to get the counts of both: ``a + b``, ``sum(parts)``. If a row may have several labels,
    it counts for each label that it has.

    Attributes
    ----------
    masses : dict
        Count of each label.
    n_rows : int
        Number of rows with a weight above 0.
    total : float
        Number of all rows, or their total ``sample_weight``.
    multilabel : bool
        Whether a row may have several labels, which are numbered from 0.
    unknown : dict or None
        Count of the rows in which each label is not known; None if all labels are known.

    Examples
    --------
    >>> from imbtorch.weights import class_counts
    >>> counts = class_counts(["no", "no", "yes"]) + class_counts(["no"])
    >>> dict(counts), counts.n_rows
    ({'no': 3.0, 'yes': 1.0}, 4)
    """

    masses: Mapping[Any, float] = field(default_factory=dict)
    n_rows: int = 0
    total: float = 0.0
    multilabel: bool = False
    unknown: Mapping[Any, float] | None = None

    def __getitem__(self, label: Any) -> float:
        """Return the count of a label."""
        return self.masses[label]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the labels in sorted order."""
        return iter(self.masses)

    def __len__(self) -> int:
        """Count the labels."""
        return len(self.masses)

    def __add__(self, other: object) -> ClassCounts:
        """Add the counts of two parts of the data."""
        if not isinstance(other, ClassCounts):
            return NotImplemented
        if not self.masses or not other.masses:  # counts of no data fit data with any labels
            one = other if other.masses else self
            return ClassCounts(
                one.masses,
                self.n_rows + other.n_rows,
                self.total + other.total,
                one.multilabel,
                one.unknown,
            )
        if self.multilabel != other.multilabel or (self.multilabel and set(self) != set(other)):
            raise ValueError(
                f"Cannot add counts of {_described(self)} and of {_described(other)}: both parts "
                "of the data must have the same kind of targets."
            )
        unknown = [counts.unknown for counts in (self, other) if counts.unknown is not None]
        return ClassCounts(
            _in_order(_sum(self.masses, other.masses)),
            self.n_rows + other.n_rows,
            self.total + other.total,
            self.multilabel,
            _in_order(_sum(*unknown)) if unknown else None,
        )

    def __radd__(self, other: object) -> ClassCounts:
        """Return the counts unchanged for ``0 + counts``, which ``sum`` begins with."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    @property
    def classes(self) -> NDArray[Any]:
        """The labels, sorted."""
        return np.array(list(self.masses))

    @property
    def counts(self) -> Floats:
        """Counts in the order of ``classes``; for several labels per row, without and with each."""
        masses = np.array(list(self.masses.values()), dtype=np.float64)
        if not self.multilabel:
            return masses
        if self.unknown is None:
            return np.stack([self.total - masses, masses], axis=1)
        unknown = np.array([self.unknown[label] for label in self.masses], dtype=np.float64)
        return np.stack([absent_masses(self.total, masses, unknown), masses], axis=1)


def class_counts(y: Any, sample_weight: ArrayLike | None = None) -> ClassCounts:
    """Count the rows of each class, in arrays or in data too large for memory.

    Parameters
    ----------
    y : array-like, torch Dataset, or iterable of chunks
        Either an array of labels of any type that can be sorted, ``(n,)``, or a matrix of labels 0
        and 1, ``(n, l)``, dense or sparse, with NaN where a label is not known; or a Dataset of
        items ``(X, y)`` or ``(X, y, sample_weight)``, which is read once; or an iterable of chunks,
        such as a generator or a ``DataLoader``, where a chunk is an array of labels or a tuple of
        arrays like an item.
    sample_weight : array-like of shape (n,) or None, default=None
        Finite weights >= 0 of the rows, if ``y`` is an array.

    Returns
    -------
    ClassCounts
        A mapping from labels to counts. Counts of parts of the data can be added in any order.

    Raises
    ------
    ValueError
        If targets are continuous, of mixed types or missing, or weights are invalid.

    Examples
    --------
    >>> from imbtorch.weights import class_counts
    >>> parts = [class_counts(["no", "no", "yes"]), class_counts(["no"])]
    >>> dict(sum(parts))
    {'no': 3.0, 'yes': 1.0}
    >>> class_counts(labels for labels in (["no", "no", "yes"], ["no"])) == sum(parts)
    True
    """
    if _is_target(y):
        return _of_array(y, sample_weight)
    if sample_weight is not None:
        raise ValueError(
            "sample_weight can be given only with an array y; chunks and items hold their own "
            "weights: (X, y, sample_weight)."
        )
    if not isinstance(y, Dataset | Iterable):
        raise ValueError(
            f"y must be an array, a torch Dataset or an iterable of chunks; got {type(y).__name__}."
        )
    total = ClassCounts()
    for labels, weights in chunks_of(y):
        total += _of_array(labels, weights)
    return total


def _sum(*parts: Mapping[Any, float]) -> dict[Any, float]:
    sums: dict[Any, float] = {}
    for part in parts:
        for label, mass in part.items():
            sums[label] = sums.get(label, 0.0) + mass
    return sums


def as_class_counts(counts: Any, *, of_chunks: bool = True) -> ClassCounts:
    """Convert the ``class_counts`` that a user gives.

    Parameters
    ----------
    counts : ClassCounts, mapping or Series
        Counts of the classes; in a plain mapping from labels to counts every row has weight 1. A
        pandas Series, such as ``y.value_counts()``, is read by its index.
    of_chunks : bool, default=True
        Whether they are the counts of the chunks of ``partial_fit``.

    Raises
    ------
    ValueError
        If ``counts`` is something else, or a plain mapping whose values are not whole numbers >= 0;
        or if they count labels that are not known, for ``partial_fit``.
    """
    if isinstance(counts, ClassCounts):
        if of_chunks and counts.unknown is not None:
            raise ValueError(
                "class_counts count labels that are not known, which partial_fit cannot take. "
                "Leave class_counts out, and give the weights that follow from them: class_weight="
                "imbtorch.weights.class_weight_from_counts(class_counts, 'balanced')."
            )
        return counts
    counts = by_label(counts)
    if not isinstance(counts, Mapping):
        raise ValueError(
            "class_counts must be what imbtorch.weights.class_counts returns, or a dict of label "
            f"-> number of rows; got {type(counts).__name__}."
        )
    masses = {_plain(label): float(count) for label, count in counts.items()}
    odd = {label: count for label, count in masses.items() if count < 0 or count % 1 != 0}
    if odd:
        raise ValueError(
            f"class_counts must be whole numbers of rows, >= 0; got {odd}. Weighted rows are "
            "counted by imbtorch.weights.class_counts."
        )
    total = sum(masses.values())
    return ClassCounts(_in_order(masses), int(total), total)


def _is_target(y: Any) -> bool:
    """Return whether ``y`` is an array of labels, and not an iterable of chunks."""
    if isinstance(y, list | tuple):
        return not y or not (np.ndim(y[0]) or isinstance(y[0], list | tuple))
    return sparse.issparse(y) or (hasattr(y, "__array__") and not isinstance(y, Dataset))


def _of_array(y: Any, sample_weight: Any) -> ClassCounts:
    labels: Any = y if sparse.issparse(y) else to_array(y)
    if labels.ndim == 2 and labels.dtype.kind not in "biu":
        found = split_unknown(y)
        labels = labels if found is None else found[0]
    n = labels.shape[0]
    weights = None if sample_weight is None else to_array(sample_weight).astype(np.float64).ravel()
    if weights is not None:
        if weights.shape != (n,):
            raise ValueError(f"sample_weight has shape {weights.shape}, but y has {n} rows.")
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("sample_weight must be finite and >= 0.")
    n_rows = n if weights is None else int(np.count_nonzero(weights))
    if labels.ndim == 2 and labels.shape[1] > 1:
        return _of_labels(labels, weights, n_rows)
    labels = labels.toarray().ravel() if sparse.issparse(labels) else labels.ravel()
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        raise ValueError("Unknown label type: continuous. y holds continuous or missing values.")
    try:
        names, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise ValueError("y holds labels of types that cannot be sorted together.") from error
    masses = np.bincount(codes, weights=weights, minlength=len(names)).astype(np.float64)
    total = float(n if weights is None else weights.sum())
    return ClassCounts(dict(zip(names.tolist(), masses.tolist(), strict=True)), n_rows, total)


def _of_labels(labels: Any, weights: Floats | None, n_rows: int) -> ClassCounts:
    values = labels.data if sparse.issparse(labels) else labels
    masses = np.ones(labels.shape[0]) if weights is None else weights
    unknown = None
    if not np.isin(values, (0, 1)).all():
        encoded = encode_label_matrix(labels)
        unknown = _column_sums(unknown_labels(encoded), masses)
        labels = present_labels(encoded)
    present = _column_sums(labels, masses)
    return ClassCounts(present, n_rows, float(masses.sum()), True, unknown)


def _column_sums(matrix: Any, masses: Floats) -> dict[Any, float]:
    """Add up the weights of the rows that are 1 in each column."""
    sums = np.asarray(matrix.T @ masses, dtype=np.float64).ravel()
    return dict(enumerate(sums.tolist()))


def _in_order(masses: dict[Any, float]) -> dict[Any, float]:
    try:
        return {label: masses[label] for label in sorted(masses)}
    except TypeError as error:
        raise ValueError(
            f"Labels of types that cannot be sorted together: {list(masses)}."
        ) from error


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _described(counts: ClassCounts) -> str:
    return f"{len(counts)} labels per row" if counts.multilabel else "one label per row"
