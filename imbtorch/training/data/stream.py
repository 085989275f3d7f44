"""Rows of an IterableDataset: they come once an epoch, in the order of the dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imbtorch._common.memo import Memo
from imbtorch._data.dataset_items import collate
from imbtorch._data.datasets_as_rows import DatasetStream
from imbtorch._data.targets import encode_known_labels, encode_label_matrix
from imbtorch.training.data.arrays import cast_tensor
from imbtorch.training.data.loading import open_loader
from imbtorch.training.data.order import RowOrder
from imbtorch.training.data.rows import Rows, as_features, batch_sizes

__all__ = ["StreamOrder", "StreamRows", "rows_in_order"]

Batch = tuple[Tensor, Tensor, Tensor | None]


class StreamOrder(RowOrder):
    """Stands for the order of rows that nobody chooses.

    Parameters
    ----------
    n_rows : int
        Rows of an epoch.
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows

    def shuffled(self, epoch: int) -> Tensor:
        """As many positions as rows, which take no memory and mean nothing."""
        return torch.zeros(1, dtype=torch.int8).expand(self.n_rows)


class StreamRows(Rows):
    """Training rows in the order in which a Dataset yields them.

    Parameters
    ----------
    stream : DatasetStream
        The Dataset, and what it holds.
    task : {"classes", "labels"}
        What the targets are.
    weights : ndarray of shape (n_classes,) or None
        Factor of ``sample_weight`` for each class; of labels, (1,).
    dtype : torch.dtype
        Type to compute in.
    device : torch.device
        Where to compute.
    label_weight : ndarray of shape (l, 2) or None, default=None
        Factors of the terms of each label where it is 0 and where it is 1.
    """

    def __init__(
        self,
        stream: DatasetStream,
        task: str,
        weights: NDArray[Any] | None,
        dtype: torch.dtype,
        device: torch.device,
        label_weight: NDArray[Any] | None = None,
    ) -> None:
        self.stream, self.task, self.dtype, self.device = stream, task, dtype, device
        self.classes = stream.counts.classes
        self.n_labels = len(self.classes) if task == "labels" else 0
        self.mixing, self.passes = None, 0
        self.set_weights(weights, label_weight)

    def __len__(self) -> int:
        """Count the rows."""
        return self.stream.counts.n_rows

    @property
    def can_stay_sparse(self) -> bool:
        """Whether batches of sparse rows are there, and pay."""
        return False

    def batches(
        self, order: Tensor, batch_size: int, *, sparse: bool = False
    ) -> Iterator[tuple[Any, Any, Tensor]]:
        """Yield ``(x, target, share)`` as :class:`Rows` does, in the order of the Dataset.

        Raises
        ------
        ValueError
            If the Dataset yields more or fewer rows than were counted, or another label.
        """
        self.passes += 1
        loader = open_loader(
            self.stream.dataset,
            collate,
            self.device,
            self.stream.num_workers,
            self.passes,
            batch_size=batch_size,
        )
        n_terms = max(self.n_labels, 1)
        for x, target, weight in _of_size(self._read(loader), batch_size):
            size = len(x) * n_terms
            share = x.new_full((len(x),), 1 / size) if weight is None else weight / size
            batch = x, target, share
            yield self._of_labels(batch) if self.n_labels else batch

    def _read(self, loader: Any) -> Iterator[Batch]:
        """Encode, weigh and count the rows; those of weight 0 are absent."""
        expected, seen = self.stream.counts.n_rows, 0
        for x, y, own in loader:
            if tuple(x.shape[1:]) != self.stream.shape[1:]:
                raise ValueError(
                    f"The Dataset yields rows of shape {tuple(x.shape[1:])}, expected "
                    f"{self.stream.shape[1:]}."
                )
            if own is not None and not (np.isfinite(own).all() and (own >= 0).all()):
                raise ValueError("sample_weight must be finite and >= 0, in every item.")
            seen += len(x) if own is None else int(np.count_nonzero(own))
            if seen > expected:
                raise ValueError(self._miscounted(f"more than {expected}"))
            yield self._encoded(x, y, own)
        if seen != expected:
            raise ValueError(self._miscounted(str(seen)))

    def _encoded(self, x: Tensor, y: NDArray[Any], own: NDArray[Any] | None) -> Batch:
        x = cast_tensor(x, self.dtype).to(self.device, non_blocking=True)
        weight = None if own is None else torch.from_numpy(own).to(self.device, self.dtype)
        if self.n_labels:
            labels = encode_label_matrix(y).toarray()
            target = torch.from_numpy(labels).to(self.device, self.dtype)
            codes = torch.zeros(len(x), dtype=torch.int64, device=self.device)
        else:
            known = encode_known_labels(y.ravel(), self.classes)
            target = codes = torch.from_numpy(known).to(self.device, torch.int64)
        if self.weights is not None:
            factor = self.weights[codes]
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
    return torch.cat(x), torch.cat(target), None if weight[0] is None else torch.cat(weight)


def _cut(rows: Batch, start: int, stop: int) -> Batch:
    x, target, weight = rows
    part = slice(start, stop)
    return x[part], target[part], None if weight is None else weight[part]


def rows_in_order(
    part: Any, weights: tuple[Any, Any], seed: int, net: Any, memo: Memo
) -> tuple[Rows, RowOrder]:
    """Training rows of a net and their order, from a part of an array or from a stream.

    Parameters
    ----------
    part : TrainingSplit or DatasetStream
        The data.
    weights : tuple
        Of the rows, or of a stream's classes; and of the labels. None where all are alike.
    seed : int
        Of the order.
    net : Net
        To be trained.
    memo : Memo
        What fits on the same data need once.

    Returns
    -------
    Rows, RowOrder
    """
    device = torch.device(net.device)
    if isinstance(part, DatasetStream):
        rows: Rows = StreamRows(part, net.task, weights[0], net.dtype, device, weights[1])
        return rows, StreamOrder(len(rows))
    features = memo.once(as_features, (part.X, net.dtype, device))
    rows = Rows(features, part.targets, weights[0], net.dtype, device, weights[1])
    return rows, memo.once(RowOrder, (part.index, part.n_rows, seed, device))
