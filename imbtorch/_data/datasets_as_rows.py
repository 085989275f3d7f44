"""Use a torch Dataset instead of an array ``X``; its rows are read when they are needed."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, IterableDataset

from imbtorch._common.seed import private_torch_rng
from imbtorch._data.class_counts import ClassCounts, as_class_counts
from imbtorch._data.dataset_items import collate, collate_features, collate_targets, row_shape

__all__ = ["DatasetRows", "DatasetStream", "as_rows", "refuse_dataset", "refuse_imblearn"]

_CHUNK = 1024  # number of items that are read together if only their targets are needed
_FIRST = 10_000  # number of items of a stream from which the encoding of a table is learned


class DatasetRows:
    """Features of the items of a Dataset, with a shape and indexing by rows like an array.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Dataset with ``__len__`` and ``__getitem__`` or ``__getitems__``.
    num_workers : int
        Number of processes that read batches.
    allow_nan : bool, default=False
        Whether NaN stands for a missing value, in rows of one dimension.
    """

    def __init__(self, dataset: Any, num_workers: int = 0, *, allow_nan: bool = False) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise ValueError(
                "The rows of an IterableDataset cannot be read by position: give its chunks as "
                "arrays, one after the other, or use a map-style Dataset, which has __len__ and "
                "__getitem__."
            )
        if not len(dataset):
            raise ValueError("The Dataset is empty (0 samples); at least one item is needed.")
        self.dataset, self.num_workers = dataset, num_workers
        first = collate_features([dataset[0]], allow_nan=allow_nan)
        self.shape: tuple[int, ...] = (len(dataset), *first.shape[1:])
        self.input_shape, self.ndim = row_shape(first), len(self.shape)
        self.allow_nan = allow_nan and self.ndim == 2  # only the columns of a table are filled
        self.collate = partial(collate_features, allow_nan=self.allow_nan)

    def __len__(self) -> int:
        """Count the rows."""
        return self.shape[0]

    def __getitem__(self, chosen: Any) -> Any:
        """Read the rows of a slice or at these positions into one array, or one for each input."""
        return self.read(np.arange(len(self))[chosen].tolist()).numpy()

    def read(self, positions: list[int]) -> Any:
        """Read rows into memory, in this process."""
        if hasattr(self.dataset, "__getitems__"):
            return self.collate(self.dataset.__getitems__(positions))
        return self.collate([self.dataset[i] for i in positions])

    def targets(self) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Read the targets and weights of all items, in one pass that keeps no features.

        Raises
        ------
        ValueError
            If an item is not ``(X, y)`` or ``(X, y, sample_weight)``, or features are not finite or
            differ in shape.
        """
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_size=_CHUNK,
            num_workers=self.num_workers,
            collate_fn=partial(collate_targets, allow_nan=self.allow_nan),
            generator=torch.Generator(),  # leaves torch's default generator unchanged
        )
        targets, weights = [], []
        for shape, y, w in loader:
            if shape != self.input_shape:
                raise ValueError(
                    f"Features of the Dataset's items must have the same shape; got {shape} and "
                    f"{self.input_shape}."
                )
            targets.append(y)
            weights.append(w)
        if any(w is None for w in weights):
            if any(w is not None for w in weights):
                raise ValueError(
                    "Either all items of the Dataset have a sample_weight, or none has."
                )
            return np.concatenate(targets), None
        return np.concatenate(targets), np.concatenate(weights)


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
        *,
        n_first: int = 2,
        allow_nan: bool = False,
    ) -> None:
        with private_torch_rng(0, torch.device("cpu")):  # items may be random
            first = list(islice(iter(dataset), n_first))
        self.collate = partial(collate, allow_nan=allow_nan)
        if not first or not counts.n_rows:
            raise ValueError("The Dataset is empty (0 samples); at least one item is needed.")
        self.dataset, self.counts, self.num_workers = dataset, counts, num_workers
        features, _, self.first_weights = self.collate(first)
        self._first = features.numpy()
        self.shape: tuple[int, ...] = (counts.n_rows, *self._first.shape[1:])
        self.input_shape, self.ndim = row_shape(features), len(self.shape)

    def identity(self) -> dict[str, str]:
        """Describe the data by their shape, a hash of the first rows, and a hash of the counts."""
        told = {"X": joblib.hash(self._first[:2]), "y": joblib.hash(self.counts)}
        return {**told, "shape of X": str(self.shape)}

    def __getitem__(self, few: slice) -> Any:
        """Return some of the first rows, for a trial of the module or to learn an encoding."""
        return self._first[few]


def as_rows(
    X: Any,
    y: Any,
    sample_weight: Any,
    num_workers: int,
    class_counts: Any = None,
    *,
    allow_nan: bool = False,
) -> tuple[Any, Any, Any]:
    """Replace a torch Dataset by its rows, targets and weights; return arrays unchanged.

    Parameters
    ----------
    X : array-like or torch Dataset
        Features, or a Dataset of items ``(X, y)`` or ``(X, y, sample_weight)``.
    y, sample_weight : array-like or None
        Targets and weights; None if ``X`` is a Dataset.
    num_workers : int
        Number of processes that read a Dataset.
    class_counts : ClassCounts, mapping or None, default=None
        Counts of the classes of an IterableDataset; None for all other data.
    allow_nan : bool, default=False
        Whether NaN stands for a missing value; the first rows of an IterableDataset then serve to
        learn how a table is encoded.

    Returns
    -------
    X : array-like, DatasetRows or DatasetStream
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
    if not isinstance(X, Dataset):
        return X, y, sample_weight
    if y is not None or sample_weight is not None:
        raise ValueError(
            "A Dataset holds its own targets and weights: its items are (X, y) or (X, y, "
            "sample_weight). Leave out y and sample_weight."
        )
    if not streams:
        rows = DatasetRows(X, num_workers, allow_nan=allow_nan)
        return rows, *rows.targets()
    if class_counts is None:
        raise ValueError(
            "An IterableDataset needs class_counts, because class weights and priors must be known "
            "before the first row: fit(dataset, class_counts=imbtorch.weights.class_counts("
            "dataset)), which reads it once, or a dict of label -> number of rows."
        )
    counts = as_class_counts(class_counts, of_chunks=False)
    n_first = _FIRST if allow_nan else 2
    stream = DatasetStream(X, counts, num_workers, n_first=n_first, allow_nan=allow_nan)
    return stream, None, None


def refuse_imblearn(X: Any, sampler: Any) -> None:
    """Raise ValueError if a sampler would have to copy the rows of a Dataset.

    Raises
    ------
    ValueError
        If ``X`` is a Dataset and the sampler is from imbalanced-learn.
    """
    if isinstance(X, DatasetRows) and hasattr(sampler, "fit_resample"):
        raise ValueError(
            f"{type(sampler).__name__} makes new rows from arrays, and would read the whole "
            "Dataset into memory. Use one of imbtorch.samplers, which choose rows by position, or "
            "give arrays."
        )


def refuse_dataset(X: Any, name: str) -> None:
    """Raise ValueError if a Dataset is given to a method that needs arrays.

    Raises
    ------
    ValueError
        If ``X`` is a Dataset.
    """
    if isinstance(X, Dataset):
        raise ValueError(
            f"{name} takes arrays here, not a {type(X).__name__}. fit of ImbalancedNetClassifier "
            "and ImbalancedNetRegressor takes a torch Dataset, and their predict methods a "
            "map-style one; partial_fit takes chunks as arrays."
        )
