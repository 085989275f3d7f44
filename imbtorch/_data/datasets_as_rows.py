"""A torch Dataset in the place of ``X``: rows that are read when they are needed."""

from __future__ import annotations

from itertools import islice
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, IterableDataset

from imbtorch._data.class_counts import ClassCounts, as_class_counts
from imbtorch._data.dataset_items import collate_features, collate_targets

__all__ = ["DatasetRows", "DatasetStream", "as_rows", "refuse_dataset", "refuse_imblearn"]

_CHUNK = 1024  # items that are read together where only their targets count


class DatasetRows:
    """Features of the items of a Dataset; of an array it has the shape, and rows by position.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        With ``__len__`` and ``__getitem__``, or ``__getitems__``.
    num_workers : int
        Processes that read batches.
    """

    def __init__(self, dataset: Any, num_workers: int = 0) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise ValueError(
                "An IterableDataset has no rows to choose from: give its chunks as arrays, one "
                "after the other, or use a map-style Dataset, which has __len__ and __getitem__."
            )
        if not len(dataset):
            raise ValueError("The Dataset is empty (0 samples); at least one item is needed.")
        self.dataset, self.num_workers = dataset, num_workers
        self.shape: tuple[int, ...] = (len(dataset), *collate_features([dataset[0]]).shape[1:])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        """Count the rows."""
        return self.shape[0]

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        """Read rows at a slice or at positions, all of them at once."""
        rows: NDArray[Any] = self.read(np.arange(len(self))[chosen].tolist()).numpy()
        return rows

    def read(self, positions: list[int]) -> torch.Tensor:
        """Read rows into memory, in this process."""
        if hasattr(self.dataset, "__getitems__"):
            return collate_features(self.dataset.__getitems__(positions))
        return collate_features([self.dataset[i] for i in positions])

    def targets(self) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Read the targets and weights of all items, in one pass that keeps no features.

        Raises
        ------
        ValueError
            If an item is not ``(X, y)`` or ``(X, y, sample_weight)``, or its features are not
            finite or not of one shape.
        """
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_size=_CHUNK,
            num_workers=self.num_workers,
            collate_fn=collate_targets,
            generator=torch.Generator(),  # the default one belongs to the user
        )
        targets, weights = [], []
        for shape, y, w in loader:
            if shape != self.shape[1:]:
                raise ValueError(
                    f"Features of the Dataset's items must be of one shape; got {shape} and "
                    f"{self.shape[1:]}."
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
    """An IterableDataset, whose rows come in an order of its own, and what is known of them.

    Parameters
    ----------
    dataset : torch.utils.data.IterableDataset
        Each pass over it yields the same rows. Its first items are read once more, for the shape.
    counts : ClassCounts
        Of all its rows.
    num_workers : int
        Processes that read batches.
    """

    def __init__(self, dataset: Any, counts: ClassCounts, num_workers: int = 0) -> None:
        first = list(islice(iter(dataset), 2))
        if not first or not counts.n_rows:
            raise ValueError("The Dataset is empty (0 samples); at least one item is needed.")
        self.dataset, self.counts, self.num_workers = dataset, counts, num_workers
        self._first = collate_features(first).numpy()
        self.shape: tuple[int, ...] = (counts.n_rows, *self._first.shape[1:])

    def identity(self) -> dict[str, str]:
        """Describe the data: shape, hash of the first rows, and counts."""
        told = {"X": joblib.hash(self._first), "y": joblib.hash(self.counts)}
        return {**told, "shape of X": str(self.shape)}

    def __getitem__(self, few: slice) -> NDArray[Any]:
        """Show the first two rows, on which a module is tried out."""
        return self._first[few]


def as_rows(
    X: Any, y: Any, sample_weight: Any, num_workers: int, class_counts: Any = None
) -> tuple[Any, Any, Any]:
    """Let a torch Dataset take the place of ``X``; leave arrays as they are.

    Parameters
    ----------
    X : array-like or torch Dataset
        A Dataset has items ``(X, y)`` or ``(X, y, sample_weight)``.
    y, sample_weight : array-like or None
        None where ``X`` is a Dataset.
    num_workers : int
        Processes that read a Dataset.
    class_counts : ClassCounts, mapping or None, default=None
        Of an IterableDataset.

    Returns
    -------
    X : array-like, DatasetRows or DatasetStream
    y, sample_weight : array-like or None

    Raises
    ------
    ValueError
        If ``y`` or ``sample_weight`` come beside a Dataset, or ``class_counts`` are missing for
        an IterableDataset, or given for anything else.
    """
    streams = isinstance(X, IterableDataset)
    if class_counts is not None and not streams:
        raise ValueError(
            "class_counts belong to an IterableDataset: arrays and map-style Datasets are counted."
        )
    if not isinstance(X, Dataset):
        return X, y, sample_weight
    if y is not None or sample_weight is not None:
        raise ValueError(
            "A Dataset brings its own targets and weights: its items are (X, y) or (X, y, "
            "sample_weight). Leave out y and sample_weight."
        )
    if not streams:
        rows = DatasetRows(X, num_workers)
        return rows, *rows.targets()
    if class_counts is None:
        raise ValueError(
            "An IterableDataset needs class_counts, since class weights and priors must be known "
            "before the first row: fit(dataset, class_counts=imbtorch.weights.class_counts("
            "dataset)), which goes through it once, or a dict of label -> number of rows."
        )
    return DatasetStream(X, as_class_counts(class_counts), num_workers), None, None


def refuse_imblearn(X: Any, sampler: Any) -> None:
    """Complain of a sampler that makes a copy of a Dataset's rows.

    Raises
    ------
    ValueError
        If ``X`` is a Dataset and the sampler is one of imbalanced-learn.
    """
    if isinstance(X, DatasetRows) and hasattr(sampler, "fit_resample"):
        raise ValueError(
            f"{type(sampler).__name__} makes new rows from arrays, and would read the whole "
            "Dataset into memory. Use one of imbtorch.samplers, which choose rows by position, or "
            "give arrays."
        )


def refuse_dataset(X: Any, name: str) -> None:
    """Complain of a Dataset where arrays are needed.

    Raises
    ------
    ValueError
        If ``X`` is one.
    """
    if isinstance(X, Dataset):
        raise ValueError(
            f"{name} takes arrays here, not a {type(X).__name__}. fit of ImbalancedNetClassifier "
            "and ImbalancedNetRegressor takes a torch Dataset, and their predict methods a "
            "map-style one; partial_fit takes chunks as arrays."
        )
