"""Rows of an IterableDataset: they come once an epoch, in the order of the dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imbtorch._common.inputs import joined_batches
from imbtorch._data.dataset_items import row_shape
from imbtorch._data.datasets_as_rows import DatasetStream
from imbtorch._tasks.base import ClassificationTask, RowWeights
from imbtorch.features import TableEncoder
from imbtorch.training.data.features import Features
from imbtorch.training.data.loading import cast_batch, open_stream
from imbtorch.training.data.mixing import Mixing
from imbtorch.training.data.rows import RowOrder, WeightedRows, batch_sizes

__all__ = ["StreamOrder", "StreamRows"]

Batch = tuple[Any, Tensor, Tensor | None]


class StreamOrder(RowOrder):
    """The order of rows that nobody chooses.

    Parameters
    ----------
    n_rows : int
        Number of rows of an epoch.
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows

    def shuffled(self, epoch: int) -> Tensor:
        """Return as many positions as rows; they take no memory and have no meaning."""
        return torch.zeros(1, dtype=torch.int8).expand(self.n_rows)

    def chosen(self, order: NDArray[np.integer[Any]]) -> Tensor:
        """Raise ValueError: the rows of a stream cannot be chosen."""
        raise ValueError("The rows of an IterableDataset cannot be chosen by position.")


class StreamRows(WeightedRows):
    """Training rows in the order in which a Dataset yields them.

    Parameters
    ----------
    stream : DatasetStream
        The Dataset, and what it holds.
    task : ClassificationTask
        What the targets are.
    weights : RowWeights
        Factor of ``sample_weight`` for each class, ``(n_classes,)``, for labels ``(1,)``; and the
        factors of the terms of each label.
    dtype : torch.dtype
        Dtype to compute in.
    device : torch.device
        Device to compute on.
    input_dtype : torch.dtype, dict or None, default=None
        Dtype in which the module gets its rows, or that of each input; None for ``dtype``.
    encoder : TableEncoder or None, default=None
        Encoder of the rows.
    """

    def __init__(
        self,
        stream: DatasetStream,
        task: ClassificationTask,
        weights: RowWeights,
        dtype: torch.dtype,
        device: torch.device,
        input_dtype: Any = None,
        encoder: TableEncoder | None = None,
    ) -> None:
        super().__init__(weights.rows, weights.labels, dtype, device)
        self.input_dtype, self.encoder = input_dtype or dtype, encoder
        self.stream, self.task = stream, task
        self.has_unknown = stream.counts.unknown is not None
        self.features: Features | None = None
        self.mixing: Mixing | None = None
        self.seed = 0

    def __len__(self) -> int:
        """Count the rows."""
        return self.stream.counts.n_rows

    @property
    def can_stay_sparse(self) -> bool:
        """Whether batches of sparse rows are available, and faster than dense ones."""
        return False

    def begin_epoch(self, epoch: int, *, may_have_changed: bool) -> None:
        """Let items that draw random numbers draw others than in the epochs before.

        Workers start anew in each epoch, whether or not the Dataset may have changed.
        """
        self.seed = (torch.initial_seed() + epoch) % 2**62

    def batches(
        self, order: Tensor, batch_size: int, *, sparse: bool = False
    ) -> Iterator[tuple[Any, Any, Tensor]]:
        """Yield ``(x, target, share)`` as :class:`ArrayRows` does, in the order of the Dataset.

        Raises
        ------
        ValueError
            If the Dataset yields more or fewer rows than were counted, another label, or labels
            that are not known though all of them were counted.
        """
        stream = self.stream
        parts = stream.dataset, stream.collate, self.device, stream.num_workers
        loader = open_stream(*parts, self.seed, batch_size)
        n_labels = self.task.n_labels
        n_terms = max(n_labels, 1)
        for x, target, weight in _of_size(self._read(loader), batch_size):
            size = len(x) * n_terms
            even = torch.full((len(x),), 1 / size, dtype=self.dtype, device=self.device)
            share = even if weight is None else weight / size
            batch = x, target, share
            yield self._share_of_labels(batch) if n_labels else batch

    def _read(self, loader: Any) -> Iterator[Batch]:
        """Encode, weigh and count the rows; those of weight 0 are absent."""
        expected, seen = self.stream.counts.n_rows, 0
        for x, y, own in loader:
            if row_shape(x) != self.stream.input_shape:
                raise ValueError(
                    f"The Dataset yields rows of shape {row_shape(x)}, expected "
                    f"{self.stream.input_shape}."
                )
            if own is not None and not (np.isfinite(own).all() and (own >= 0).all()):
                raise ValueError("sample_weight must be finite and >= 0, in every item.")
            seen += len(x) if own is None else int(np.count_nonzero(own))
            if seen > expected:
                raise ValueError(self._miscounted(f"more than {expected}"))
            yield self._encoded(x, y, own)
        if seen != expected:
            raise ValueError(self._miscounted(str(seen)))

    def _encoded(self, x: Any, y: NDArray[Any], own: NDArray[Any] | None) -> Batch:
        if self.encoder is not None:
            x = self.encoder(x.to(torch.float64))
        x = cast_batch(x, self.input_dtype).to(self.device, non_blocking=True)
        weight = None if own is None else torch.from_numpy(own).to(self.device, self.dtype)
        target = self.task.batch_of(y, self.dtype)
        if self.task.n_labels and not self.has_unknown and bool((target < 0).any()):
            raise ValueError(
                "The Dataset yields NaN among the labels, which means that they are not known, but "
                "class_counts says that all labels are known: give class_counts=imbtorch.weights."
                "class_counts(dataset), which counts them."
            )
        target = target.to(self.device)
        if self.weights is not None:
            factor = self.task.factors(self.weights, target)
            weight = factor if weight is None else factor * weight
        if weight is None or bool(weight.all()):
            return x, target, weight
        kept = weight > 0
        return x[kept], target[kept], weight[kept]

    def _miscounted(self, found: str) -> str:
        workers = self.stream.num_workers
        hint = (
            f" With num_workers={workers} every worker iterates over a copy of the Dataset: its "
            "__iter__ must yield a share of the rows, chosen by torch.utils.data.get_worker_info()."
            if workers > 1
            else " Its __iter__ must yield the same rows in every epoch."
        )
        return (
            f"The Dataset yields {found} rows in an epoch, but class_counts says "
            f"{self.stream.counts.n_rows}.{hint}"
        )


def _of_size(parts: Iterator[Batch], size: int) -> Iterator[Batch]:
    """Cut parts of any length into batches of ``size``, as ``batch_sizes`` cuts rows."""
    held: list[Batch] = []
    n_held = 0
    for part in parts:
        held.append(part)
        n_held += len(part[0])
        if n_held < size + 2:  # else at least two rows are left for the next batch
            continue
        rows = _joined(held)
        n_full = (n_held - 2) // size
        for k in range(n_full):
            yield _cut(rows, k * size, (k + 1) * size)
        held = [_cut(rows, n_full * size, n_held)]
        n_held -= n_full * size
    if not held:
        return
    rows, start = _joined(held), 0
    for step in batch_sizes(n_held, size):
        yield _cut(rows, start, start + step)
        start += step


def _joined(parts: list[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    x, target, weight = zip(*parts, strict=True)
    if any(w is None for w in weight) and any(w is not None for w in weight):
        raise ValueError("Either all items of the Dataset have a sample_weight, or none has.")
    return (
        joined_batches(list(x)),
        torch.cat(target),
        None if weight[0] is None else torch.cat(weight),
    )


def _cut(rows: Batch, start: int, stop: int) -> Batch:
    x, target, weight = rows
    part = slice(start, stop)
    return x[part], target[part], None if weight is None else weight[part]
