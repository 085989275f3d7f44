"""A map-style torch Dataset in the place of ``X``: rows that are read when they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, IterableDataset

from imbtorch._dataset_items import collate_features, collate_targets

__all__ = ["DatasetRows", "as_rows", "refuse_dataset"]

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
        self.shape = (len(dataset), *collate_features([dataset[0]]).shape[1:])
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


def as_rows(X: Any, y: Any, sample_weight: Any, num_workers: int) -> tuple[Any, Any, Any]:
    """Let rows of a map-style Dataset take the place of ``X``; leave arrays as they are.

    Parameters
    ----------
    X : array-like or torch Dataset
        A Dataset has items ``(X, y)`` or ``(X, y, sample_weight)``.
    y, sample_weight : array-like or None
        None where ``X`` is a Dataset.
    num_workers : int
        Processes that read a Dataset.

    Returns
    -------
    X : array-like or DatasetRows
    y, sample_weight : array-like or None

    Raises
    ------
    ValueError
        If ``y`` or ``sample_weight`` come beside a Dataset.
    """
    if not isinstance(X, Dataset):
        return X, y, sample_weight
    if y is not None or sample_weight is not None:
        raise ValueError(
            "A Dataset brings its own targets and weights: its items are (X, y) or (X, y, "
            "sample_weight). Leave out y and sample_weight."
        )
    rows = DatasetRows(X, num_workers)
    return rows, *rows.targets()


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
