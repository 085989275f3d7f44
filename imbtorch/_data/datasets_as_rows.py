"""Use a torch Dataset instead of an array ``X``; its rows are read when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any
from zlib import crc32

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, IterableDataset

from imbtorch._common.seed import private_generators
from imbtorch._data.batch_loader import BatchLoader
from imbtorch._data.class_counts import ClassCounts, as_class_counts
from imbtorch._data.collating import Collate, has_form
from imbtorch._data.dataset_items import row_shape
from imbtorch._data.dataset_rows import DatasetRows

__all__ = ["DatasetReader", "DatasetStream", "as_rows", "own_targets", "refuse_dataset"]

_CHUNK = 1024  # number of items that are read together if only their targets are needed
_FIRST = 10_000  # number of items of a stream from which the encoding of a table is learned


class DatasetReader:
    """Features of the items of a Dataset, with a shape and indexing by rows like an array.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Dataset with ``__len__`` and ``__getitem__`` or ``__getitems__``.
    num_workers : int
        Number of processes that read batches.
    collate_fn : callable(items) -> batch or None, default=None
        Function of the user that makes a batch of items.
    allow_nan : bool, default=False
        Whether NaN stands for a missing value, in rows of one dimension.
    """

    def __init__(
        self,
        dataset: Any,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        *,
        allow_nan: bool = False,
    ) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise ValueError(
                "The rows of an IterableDataset cannot be read by position: give its chunks as "
                "arrays, one after the other, or use a map-style Dataset, which has __len__ and "
                "__getitem__."
            )
        if not len(dataset):
            raise ValueError("The Dataset is empty (0 samples); at least one item is needed.")
        self.dataset, self.num_workers = dataset, num_workers
        self.collate = Collate(allow_nan, collate_fn)
        self.input_shape: Any = None
        first = self.read([0])
        self.shape: tuple[int, ...] = (len(dataset), *first.shape[1:])
        self.input_shape, self.ndim = row_shape(first), len(self.shape)
        self.row_bytes = max(first.numel() * first.element_size(), 1)
        # only the columns of a table are filled
        self.collate = Collate(allow_nan and self.ndim == 2, collate_fn)

    def __len__(self) -> int:
        """Count the rows."""
        return self.shape[0]

    def __getitem__(self, chosen: Any) -> Any:
        """Read the rows of a slice or at these positions into one array, or one for each input."""
        return self.read(np.arange(len(self))[chosen].tolist()).numpy()

    def read(self, positions: list[int], seed: int = 0) -> Any:
        """Read rows into memory, in this process.

        Parameters
        ----------
        positions : list of int
            Positions of the rows.
        seed : int, default=0
            Items that draw random numbers get others for another seed, and for other positions.
        """
        with private_generators(_own_seed(positions, seed)):
            rows = self.collate.features(self._items(positions))
        self._check_shape(row_shape(rows))
        return rows

    def _items(self, positions: list[int]) -> Any:
        if hasattr(self.dataset, "__getitems__"):
            return self.dataset.__getitems__(positions)
        return [self.dataset[i] for i in positions]

    def _read_targets(self, positions: list[int], seed: int) -> tuple[Any, Any, Any]:
        with private_generators(_own_seed(positions, seed)):
            return self.collate.targets(self._items(positions))

    def _check_shape(self, shape: Any) -> None:
        """Raise ValueError if the rows of a batch have another shape than the first one."""
        if self.input_shape in (None, shape) or self.continues(shape):
            return
        raise ValueError(
            f"Features of the Dataset's items must have the same shape; got {shape} and "
            f"{self.input_shape}."
        )

    def continues(self, input_shape: Any) -> bool:
        """Return whether rows may follow rows of another shape: those that a user pads may."""
        return self.collate.collate_fn is not None and has_form(self.input_shape, input_shape)

    def collates_weights(self) -> bool:
        """Return whether the function of the user returns weights; it is asked for one item."""
        if self.collate.collate_fn is None:
            return False
        with private_generators(_own_seed([0], 0)):
            made = self.collate.collate_fn(list(self._items([0])))
        return isinstance(made, tuple | list) and len(made) == 3 and made[2] is not None

    def targets(self) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Read the targets and weights of all items, in one pass that keeps no features.

        Raises
        ------
        ValueError
            If an item is not ``(X, y)`` or ``(X, y, sample_weight)``, or features are not finite or
            differ in shape.
        """
        load = BatchLoader(self._read_targets, self.num_workers)
        targets, weights = [], []
        for shape, y, w in load(torch.arange(len(self)).split(_CHUNK), 0):
            self._check_shape(shape)
            targets.append(y)
            weights.append(w)
        if any(w is None for w in weights):
            if any(w is not None for w in weights):
                raise ValueError(
                    "Either all items of the Dataset have a sample_weight, or none has."
                )
            return np.concatenate(targets), None
        return np.concatenate(targets), np.concatenate(weights)


def _own_seed(positions: list[int], seed: int) -> int:
    """Return a seed for a batch; it is the same in every process that may read the batch."""
    return (seed + crc32(np.asarray(positions, dtype=np.int64).tobytes())) % 2**63


class DatasetStream:
    """An IterableDataset, which decides the order of its rows itself, with its class counts.

    Parameters
    ----------
    dataset : torch.utils.data.IterableDataset
        Dataset that yields the same rows in each pass. The first items are read once more, to
        learn the shape.
    counts : ClassCounts
        Counts of the classes of all rows.
    num_workers : int
        Number of processes that read batches.
    collate_fn : callable(items) -> batch or None, default=None
        Function of the user that makes a batch of items.
    n_first : int, default=2
        Number of items that are read once more.
    allow_nan : bool, default=False
        Whether NaN stands for a missing value.

    Attributes
    ----------
    first_weights : ndarray or None
        Weights of the first items; None if they have none.
    """

    def __init__(
        self,
        dataset: Any,
        counts: ClassCounts,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        *,
        n_first: int = 2,
        allow_nan: bool = False,
    ) -> None:
        self.collate = Collate(allow_nan, collate_fn).batch
        with private_generators(0):  # items may be random
            first = list(islice(iter(dataset), n_first))
            if not first or not counts.n_rows:
                raise ValueError("The Dataset is empty (0 samples); at least one item is needed.")
            features, _, self.first_weights = self.collate(first)
        self.dataset, self.counts, self.num_workers = dataset, counts, num_workers
        self._first = features.numpy()
        self.shape: tuple[int, ...] = (counts.n_rows, *self._first.shape[1:])
        self.input_shape, self.ndim = row_shape(features), len(self.shape)

    def identity(self) -> dict[str, str]:
        """Describe the data by their shape, a hash of the first rows, and a hash of the counts."""
        hashes = {"X": joblib.hash(self._first[:2]), "y": joblib.hash(self.counts)}
        return {**hashes, "shape of X": str(self.shape)}

    def __getitem__(self, few: slice) -> Any:
        """Return some of the first rows, for a trial of the module or to learn an encoding."""
        return self._first[few]


def as_rows(
    X: Any,
    y: Any,
    sample_weight: Any,
    num_workers: int,
    class_counts: Any = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    allow_nan: bool = False,  # noqa: FBT001, FBT002 - a memo passes arguments by position
) -> tuple[Any, Any, Any]:
    """Replace a torch Dataset by its rows, targets and weights; return arrays unchanged.

    Parameters
    ----------
    X : array-like, torch Dataset or DatasetRows
        Features, or a Dataset of items ``(X, y)`` or ``(X, y, sample_weight)``.
    y, sample_weight : array-like or None
        Targets and weights; None if ``X`` is a Dataset. Those of DatasetRows, or those that
        ``collate_fn`` returns for them, take the place of None.
    num_workers : int
        Number of processes that read a Dataset.
    class_counts : ClassCounts, mapping or None, default=None
        Counts of the classes of an IterableDataset; None for all other data.
    collate_fn : callable(items) -> batch or None, default=None
        Function of the user that makes a batch of items.
    allow_nan : bool, default=False
        Whether NaN stands for a missing value; the first rows of an IterableDataset then serve to
        learn how a table is encoded.

    Returns
    -------
    X : array-like, DatasetReader or DatasetStream
        Features.
    y, sample_weight : array-like or None
        Targets and weights; None for an IterableDataset.

    Raises
    ------
    ValueError
        If ``y`` or ``sample_weight`` is given with a Dataset, or if ``class_counts`` is missing
        for an IterableDataset or given with any other data.
    """
    streams = isinstance(X, IterableDataset)
    if class_counts is not None and not streams:
        raise ValueError(
            "class_counts can be given only with an IterableDataset: for arrays and map-style "
            "Datasets imbtorch counts the classes itself. Leave out class_counts."
        )
    if isinstance(X, DatasetRows):
        reader = DatasetReader(X.items, num_workers, collate_fn, allow_nan=allow_nan)
        return reader, *_targets_and_weights(X, reader, y, sample_weight)
    if not isinstance(X, Dataset):
        return X, y, sample_weight
    if y is not None or sample_weight is not None:
        raise ValueError(
            "A Dataset holds its own targets and weights: its items are (X, y) or (X, y, "
            "sample_weight). Leave out y and sample_weight, or give them with "
            "imbtorch.DatasetRows(dataset), whose rows a search can divide."
        )
    if not streams:
        rows = DatasetReader(X, num_workers, collate_fn, allow_nan=allow_nan)
        return rows, *rows.targets()
    if class_counts is None:
        raise ValueError(
            "An IterableDataset needs class_counts, because class weights and priors must be known "
            "before the first row: fit(dataset, class_counts=imbtorch.weights.class_counts("
            "dataset)), which reads it once, or a dict of label -> number of rows."
        )
    counts = as_class_counts(class_counts, of_chunks=False)
    n_first = _FIRST if allow_nan else 2
    stream = DatasetStream(X, counts, num_workers, collate_fn, n_first=n_first, allow_nan=allow_nan)
    return stream, None, None


def _targets_and_weights(
    X: DatasetRows, reader: DatasetReader, y: Any, sample_weight: Any
) -> tuple[Any, Any]:
    """Return targets and weights of rows; all items are read only if something is missing."""
    if reader.collate.collate_fn is None:
        return X.targets_and_weights(y, sample_weight)
    y, sample_weight = X.given(y, sample_weight)
    if y is None or (sample_weight is None and reader.collates_weights()):
        targets, weights = reader.targets()
        y = targets if y is None else y
        sample_weight = weights if sample_weight is None else sample_weight
    return y, sample_weight


def own_targets(
    X: Any,
    y: Any,
    sample_weight: Any,
    estimator: Any,
) -> tuple[Any, Any, Any]:
    """Return X, targets and weights; a Dataset brings those along that are missing.

    Parameters
    ----------
    X : object
        Features as the user gave them. A map-style Dataset is returned as DatasetRows.
    y, sample_weight : array-like or None
        Targets and weights as the user gave them.
    estimator : estimator
        Net whose ``num_workers`` and ``collate_fn`` count, or an estimator around it.
    """
    if not isinstance(X, Dataset | DatasetRows):
        return X, y, sample_weight
    num_workers, collate_fn = _reading(estimator)
    # gaps are allowed here: the fit, which knows whether they may be there, checks the features
    _, y, sample_weight = as_rows(
        X, y, sample_weight, num_workers, collate_fn=collate_fn, allow_nan=True
    )
    return X if isinstance(X, DatasetRows) else DatasetRows(X), y, sample_weight


def _reading(estimator: Any) -> tuple[int, Callable[[list[Any]], Any] | None]:
    """Return ``num_workers`` and ``collate_fn`` of a net, or of the net inside of an estimator."""
    params = {} if estimator is None else estimator.get_params()
    for name, value in params.items():
        net, _, last = name.rpartition("collate_fn")
        if last == "" and f"{net}num_workers" in params:
            return params[f"{net}num_workers"], value
    return 0, None


def refuse_dataset(X: Any, name: str) -> None:
    """Raise ValueError if a Dataset is given to a method that divides its rows, or needs arrays.

    Raises
    ------
    ValueError
        If ``X`` is a Dataset.
    """
    if isinstance(X, IterableDataset):
        raise ValueError(
            f"{name} takes no IterableDataset, whose rows come in an order of their own. fit of "
            "ImbalancedNetClassifier takes it, with class_counts; partial_fit takes chunks of it "
            "as arrays."
        )
    if isinstance(X, Dataset):
        raise ValueError(
            f"{name} divides the rows of X, which a {type(X).__name__} does not allow: give rows = "
            "imbtorch.DatasetRows(dataset), and rows.y as y."
        )
