"""Batches that a torch DataLoader reads while the net trains on the one before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from imbtorch._data.dataset_items import collate_features
from imbtorch._data.datasets_as_rows import DatasetRows
from imbtorch.training.data.arrays import cast_tensor

__all__ = ["DatasetFeatures", "open_loader"]


def open_loader(
    dataset: Any,
    collate: Any,
    device: torch.device,
    num_workers: int,
    epoch: int,
    *,
    batch_size: int = 1,
    batches: list[list[int]] | None = None,
) -> DataLoader[Any]:
    """Build a loader for one pass.

    The default generator gives dropout its numbers: a loader that drew its own from it would change
    the model. Its workers are seeded by the training's seed and ``epoch``.

    Parameters
    ----------
    dataset : torch Dataset
        To be read.
    collate : callable(items)
        Makes a batch.
    device : torch.device
        Where the batches go.
    num_workers : int
        Processes that read; 0 is this one.
    epoch : int
        Number of the pass.
    batch_size : int, default=1
        Items of a batch, in the order of the dataset.
    batches : list of list of int or None, default=None
        Positions of each batch, in place of ``batch_size``.
    """
    seed = (torch.initial_seed() + epoch) % 2**63
    return DataLoader(
        dataset,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(seed),
        batch_size=batch_size,
        batch_sampler=batches,
    )


class DatasetFeatures:
    """Rows of a map-style Dataset; see :class:`imbtorch.training.data.features.Features`.

    Parameters
    ----------
    rows : DatasetRows
        The Dataset.
    dtype : torch.dtype
        Type to compute in.
    device : torch.device
        Where to compute.
    """

    row_bytes = 1  # a block is positions: rows are read batch by batch
    blocks = 1

    def __init__(self, rows: DatasetRows, dtype: torch.dtype, device: torch.device) -> None:
        self.rows, self.dtype, self.device = rows, dtype, device
        self.passes = 0

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    def gather(self, index: Tensor) -> _Unread:
        """Rows at these positions, read when they are split into batches."""
        self.passes += 1
        return _Unread(self, index, self.passes)

    def slice(self, start: int, stop: int) -> Tensor:
        """Neighbouring rows, on the device."""
        return self.send(self.rows.read(list(range(start, stop))))

    def same_as(self, other: Any) -> bool:
        """Whether these are known to be the same rows."""
        return isinstance(other, DatasetFeatures) and other.rows.dataset is self.rows.dataset

    def send(self, x: Tensor) -> Tensor:
        """Move a batch to the device, in the type to compute in."""
        return cast_tensor(x, self.dtype).to(self.device, non_blocking=True)


class _Unread:
    """Rows that are read when they are split into batches."""

    def __init__(self, features: DatasetFeatures, index: Tensor, number: int) -> None:
        self.features, self.index, self.number = features, index, number

    def split(self, sizes: list[int]) -> Iterator[Tensor]:
        features, rows = self.features, self.features.rows
        if len(sizes) == 1:  # workers would start for a single batch
            yield features.send(rows.read(self.index.tolist()))
            return
        batches = [batch.tolist() for batch in self.index.cpu().split(sizes)]
        loader = open_loader(
            rows.dataset,
            collate_features,
            features.device,
            rows.num_workers,
            self.number,
            batches=batches,
        )
        yield from map(features.send, loader)
