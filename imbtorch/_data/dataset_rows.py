"""Rows of a torch Dataset that scikit-learn can divide, without reading their features."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset

from imbtorch._common.seed import private_generators
from imbtorch._data.dataset_items import chunks_of, parts_of, to_array

__all__ = ["DatasetRows"]

_COMPARED = 100  # largest number of items that are compared with the targets of their Dataset


class DatasetRows:
    """The items of a map-style torch Dataset as rows, which splitters and searches can divide.

    It has a length, a ``shape``, and ``X[rows]``, which is a view: features are read when a net
    trains on them or predicts, and are never in memory together. skorch's ``SliceDataset`` serves
    the same purpose.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Dataset with ``__len__`` and ``__getitem__``. Its items are ``(X, y)`` or ``(X, y,
        sample_weight)``, or whatever the estimator's ``collate_fn`` takes.
    y : array-like of shape (n,) or (n, k), or None, default=None
        Targets of the items. None takes the attribute ``targets`` of the Dataset, as those of
        torchvision have it (also below a ``Subset``), if the first and the last item of each
        class (at most 100 items) have these targets; otherwise all items are read once. Both happen
        when ``y`` is asked for first.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights of the items. None takes those of the items, if they have some. An estimator with a
        ``collate_fn`` takes what it returns instead of targets and weights that are not given here.

    Attributes
    ----------
    y : ndarray of shape (n,) or (n, k)
        Targets, which scikit-learn wants beside the rows; a read-only array, because all views
        share it. ``DatasetRows(dataset, changed)`` gives other targets to the same items.
        Without a given ``y`` they are those of the items, before any ``collate_fn``.
    sample_weight : ndarray of shape (n,) or None
        Weights. ``fit`` uses them unless it gets others, from the caller or from ``collate_fn``.
    shape : tuple of int
        ``(n,)``.

    Raises
    ------
    TypeError
        If it is no map-style Dataset.
    ValueError
        If there are more or fewer targets or weights than items. A fit raises it if ``y`` is given,
        there is no ``collate_fn``, and the second entry of the items is an array of another shape
        than that of a row of ``y``: another input would be lost.

    Examples
    --------
    >>> import torch
    >>> from sklearn.model_selection import cross_val_score
    >>> from torch.utils.data import TensorDataset
    >>> from imbtorch import DatasetRows, ImbalancedNetClassifier
    >>> y = torch.arange(60) % 3 % 2
    >>> dataset = TensorDataset(torch.randn(60, 4) + y[:, None], y)
    >>> rows = DatasetRows(dataset)
    >>> rows[:10]
    DatasetRows(10 items of TensorDataset)
    >>> rows.y[:6]
    array([0, 1, 0, 0, 1, 0])
    >>> clf = ImbalancedNetClassifier(max_epochs=2, random_state=0)
    >>> len(cross_val_score(clf, rows, rows.y, cv=3))
    3
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> None:
        by_position = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        if isinstance(dataset, IterableDataset | DatasetRows) or not by_position:
            raise TypeError(
                "DatasetRows needs a map-style Dataset, which has __len__ and __getitem__; got a "
                f"{type(dataset).__name__}."
            )
        self._whole = _Whole(dataset, y, sample_weight)
        self._positions: NDArray[np.intp] | None = None

    @property
    def dataset(self) -> Dataset[Any]:
        """The Dataset that holds the rows."""
        dataset: Dataset[Any] = self._whole.dataset
        return dataset

    @property
    def items(self) -> Dataset[Any]:
        """The rows as a Dataset: the given one, or a ``Subset`` of it."""
        if self._positions is None:
            return self.dataset
        return Subset(self.dataset, self._positions.tolist())

    @property
    def y(self) -> NDArray[Any]:
        """Targets of the rows, ``(n,)`` or ``(n, k)``."""
        return self._chosen(self._whole.y)

    @property
    def sample_weight(self) -> NDArray[np.float64] | None:
        """Weights of the rows, ``(n,)``; None if they have none."""
        weights = self._whole.sample_weight
        return None if weights is None else self._chosen(weights)

    @property
    def shape(self) -> tuple[int]:
        """Number of rows."""
        return (len(self),)

    def __len__(self) -> int:
        """Count the rows."""
        return self._whole.n_items if self._positions is None else len(self._positions)

    def __getitem__(self, rows: Any) -> DatasetRows:
        """Return a view of some rows: a slice, positions or a mask."""
        if isinstance(rows, tuple):  # (rows, ...) of scikit-learn
            rows = rows[0]
        if isinstance(rows, int | np.integer):
            raise TypeError(
                f"A single row is X[{rows}:{rows + 1}]: rows are taken by slices, positions or "
                "masks. An item of the Dataset is X.items[i]."
            )
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
            if not len(rows):  # an empty list would be of floats
                rows = rows.astype(np.intp)
        view = object.__new__(DatasetRows)
        view._whole = self._whole
        view._positions = self._chosen(np.arange(self._whole.n_items))[rows]
        return view

    def _chosen(self, values: NDArray[Any]) -> NDArray[Any]:
        if self._positions is None:
            return values
        chosen = values[self._positions]
        chosen.flags.writeable = False
        return chosen

    __iter__ = None

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        """Raise TypeError: the features are read when they are needed, and not all at once."""
        raise TypeError(
            f"{self!r} is no array: its features are read batch by batch. Only estimators of "
            "imbtorch take it, and what takes rows out of X, such as splitters and searches. "
            "Transform the items inside of the Dataset."
        )

    def __repr__(self) -> str:
        """Return the number of rows and the kind of the Dataset."""
        return f"DatasetRows({len(self)} items of {type(self.dataset).__name__})"

    def given(self, y: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Return targets and weights: those given here, or else to DatasetRows, or else None."""
        targets, weights = (
            None if part is None else self._chosen(part) for part in self._whole.given
        )
        return targets if y is None else y, weights if sample_weight is None else sample_weight

    def targets_and_weights(self, y: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Return targets and weights: those given here, or else those of the rows.

        Raises
        ------
        ValueError
            If the targets are given, and the items have an array of another shape in their place.
        """
        given, _ = self.given(y, None)
        if given is not None:
            self._check_targets(given)
        return (
            self.y if y is None else y,
            self.sample_weight if sample_weight is None else sample_weight,
        )

    def _check_targets(self, y: Any) -> None:
        """Raise ValueError if an array of another shape stands in the place of an item's target."""
        shape, row = (
            self._whole.first[1],
            tuple(y.shape if hasattr(y, "shape") else np.shape(y))[1:],
        )
        is_column = shape == (1,) and row == () and self._has_target(np.asarray(y)[0])
        if shape and shape != row and not is_column:
            raise ValueError(
                f"The second entry of the items is an array of shape {shape}, but the given y has "
                f"rows of shape {row}. Without a collate_fn the second entry is the target, and y "
                "replaces it. If it is another input, let the items be ((a, b), y), or give the "
                "estimator a collate_fn, which returns the inputs."
            )

    def _has_target(self, value: Any) -> bool:
        """Return whether the first row has this target, as the only entry of an array."""
        _, y, _ = parts_of(_item(self.items, 0))
        return bool(to_array(y)[0] == value)

    def joined(self, other: DatasetRows) -> DatasetRows:
        """Return these rows and, behind them, others."""
        return DatasetRows(ConcatDataset([self.items, other.items]))


class _Whole:
    """A Dataset with its targets and weights, which are looked for once, and shared by all views.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Map-style Dataset.
    y, sample_weight : array-like or None
        As the user gave them.
    """

    def __init__(self, dataset: Any, y: Any, sample_weight: Any) -> None:
        self.dataset, self.n_items = dataset, len(dataset)
        self.given = [None if part is None else _fixed(part) for part in (y, sample_weight)]
        for name, part in zip(("y", "sample_weight"), self.given, strict=True):
            if part is not None and part.shape[:1] != (self.n_items,):
                raise ValueError(
                    f"{name} has the shape {part.shape}, but the Dataset has {self.n_items} items; "
                    "each item needs one entry."
                )

    @cached_property
    def y(self) -> NDArray[Any]:
        """Targets of all items."""
        if self.given[0] is not None:
            return self.given[0]
        stated = None if self._items_have_weights else _stated_targets(self.dataset)
        return _fixed(self._read[0] if stated is None else stated)

    @cached_property
    def sample_weight(self) -> NDArray[np.float64] | None:
        """Weights of all items; None if they have none."""
        if self.given[1] is not None:
            return _fixed(self.given[1].astype(np.float64))
        weights = self._read[1] if self._items_have_weights else None
        return None if weights is None else _fixed(weights)

    @property
    def _items_have_weights(self) -> bool:
        return self.first[0]

    @cached_property
    def first(self) -> tuple[bool, tuple[int, ...]]:
        """Whether the first item has a weight, and the shape of the array that is its target."""
        item = _item(self.dataset, 0) if self.n_items else None
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            return False, ()
        is_array = isinstance(item[1], Tensor | np.ndarray)
        return len(item) == 3, tuple(item[1].shape) if is_array else ()

    @cached_property
    def _read(self) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        with private_generators(0):  # items may be random
            try:
                parts = list(chunks_of(self.dataset))
            except ValueError as error:
                raise ValueError(
                    f"{error} To keep the items as they are, give their targets: "
                    "DatasetRows(dataset, y)."
                ) from error
        if not parts:
            raise ValueError("The Dataset is empty (0 samples); at least one item is needed.")
        targets, weights = zip(*parts, strict=True)
        if any(w is None for w in weights):
            if any(w is not None for w in weights):
                raise ValueError(
                    "Either all items of the Dataset have a sample_weight, or none has."
                )
            return np.concatenate(targets), None
        return np.concatenate(targets), np.concatenate(weights)


def _fixed(values: Any) -> NDArray[Any]:
    """Return a copy that nobody can write into: all views share it."""
    copy = to_array(values).copy()
    copy.flags.writeable = False
    return copy


def _item(dataset: Any, i: int) -> Any:
    with private_generators(i):
        return dataset[i]


def _stated_targets(dataset: Any) -> NDArray[Any] | None:
    """Return the attribute ``targets`` of a Dataset; None if its items have other targets."""
    if type(dataset) is Subset:  # a class of the user below Subset may change the items
        inner = _stated_targets(dataset.dataset)
        return None if inner is None else inner[np.asarray(dataset.indices, dtype=np.intp)]
    stated = getattr(dataset, "targets", None)
    if stated is None or getattr(dataset, "target_transform", None) is not None:
        return None
    try:
        targets = to_array(stated)
        compared = _of_each_value(targets)
    except (TypeError, ValueError):  # rows of unequal length, or values that cannot be sorted
        return None
    if targets.shape[:1] != (len(dataset),):
        return None
    for i in compared:
        _, y, _ = parts_of(_item(dataset, i))
        if not np.array_equal(to_array(y), targets[i]):
            return None
    return targets


def _of_each_value(targets: NDArray[Any]) -> list[int]:
    """Return the first and the last position of each different target, or some of these."""
    n = len(targets)
    axis = 0 if targets.ndim > 1 else None
    first = np.unique(targets, axis=axis, return_index=True)[1]
    last = n - 1 - np.unique(targets[::-1], axis=axis, return_index=True)[1]
    positions = np.union1d(first, last)
    if len(positions) > _COMPARED:
        positions = np.random.default_rng(0).choice(positions, _COMPARED, replace=False)
    chosen: list[int] = positions.tolist()
    return chosen
