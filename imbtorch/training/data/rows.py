"""Whole-batch iteration: a batch is a slice of a block, a block is one index operation.

Rows are gathered in blocks of many batches, because one large index operation is several times
cheaper than many small ones, while a shuffled copy of all of ``X`` would double the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from imbtorch._data.datasets_as_rows import DatasetRows
from imbtorch.training.data.arrays import NUMPY_DTYPES, cast, is_on_disk, wrap
from imbtorch.training.data.features import DiskFeatures, Features
from imbtorch.training.data.loading import DatasetFeatures
from imbtorch.training.data.mixing import Mixing
from imbtorch.training.data.sparse_rows import SparseRows, sparse_products_pay
from imbtorch.training.data.targets import as_targets

__all__ = ["BLOCK_BYTES", "Rows", "as_features", "batch_sizes"]

BLOCK_BYTES = 4 * 2**20
_RESIDENT_SHARE = 0.5  # of the accelerator's free memory that X may take


class _TensorFeatures:
    """``X`` as one tensor that lies on the device."""

    blocks = 1

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.row_bytes = tensor[0].numel() * tensor.element_size()

    def __len__(self) -> int:
        return len(self.tensor)

    def gather(self, index: Tensor) -> Tensor:
        return self.tensor.index_select(0, index)

    def slice(self, start: int, stop: int) -> Tensor:
        return self.tensor[start:stop]

    def same_as(self, other: Any) -> bool:
        return isinstance(other, _TensorFeatures) and torch.equal(self.tensor, other.tensor)


class _HostFeatures:
    """``X`` as an array that stays where it is: in memory, or on disk behind a memmap."""

    blocks = 1

    def __init__(self, array: NDArray[Any], dtype: torch.dtype, device: torch.device) -> None:
        self.array, self.dtype, self.device = array, dtype, device
        self.row_bytes = array[0].size * dtype.itemsize

    def __len__(self) -> int:
        return len(self.array)

    def gather(self, index: Tensor) -> Tensor:
        return self._send(self.array[index.cpu().numpy()])

    def slice(self, start: int, stop: int) -> Tensor:
        return self._send(self.array[start:stop])

    def same_as(self, other: Any) -> bool:
        return isinstance(other, _HostFeatures) and np.array_equal(self.array, other.array)

    def _send(self, rows: NDArray[Any]) -> Tensor:
        tensor = wrap(cast(rows, NUMPY_DTYPES[self.dtype]))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)


class _SparseFeatures:
    """A CSR matrix; only a batch is ever dense."""

    blocks = 1

    def __init__(
        self, matrix: Any, dtype: torch.dtype, device: torch.device, *, stay_sparse: bool = False
    ) -> None:
        self.matrix, self.dtype, self.device = matrix, dtype, device
        self.row_bytes = matrix.shape[1] * dtype.itemsize
        self.stay_sparse = stay_sparse

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def sparse(self) -> Features:
        """Return the same rows, in batches that stay sparse."""
        return _SparseFeatures(self.matrix, self.dtype, self.device, stay_sparse=True)

    def gather(self, index: Tensor) -> _SparseFeatures:
        rows = self.matrix[index.cpu().numpy()]
        return _SparseFeatures(rows, self.dtype, self.device, stay_sparse=self.stay_sparse)

    def slice(self, start: int, stop: int) -> Tensor:
        return torch.from_numpy(self.matrix[start:stop].toarray()).to(self.device)

    def same_as(self, other: Any) -> bool:
        return False

    def split(self, sizes: int | list[int]) -> Iterator[Any]:
        n = len(self)
        steps = [sizes] * -(-n // sizes) if isinstance(sizes, int) else sizes
        start = 0
        for size in steps:
            if self.stay_sparse:
                yield SparseRows(self.matrix[start : start + size])
            else:
                yield self.slice(start, start + size)
            start += size


def _free_bytes(device: torch.device) -> float:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")


def as_features(
    X: Any, dtype: torch.dtype, device: torch.device, *, resident: bool = True
) -> Features:
    """Choose how rows of ``X`` get to the device.

    Parameters
    ----------
    X : ndarray of shape (n, ...), CSR matrix or DatasetRows
        Validated features. A C-contiguous array of ``dtype`` on the CPU is never copied.
    dtype : torch.dtype
        Type to compute in.
    device : torch.device
        Where to compute.
    resident : bool, default=True
        Whether to cast and move all of ``X`` once, where it fits and does not lie on a disk. False
        does it chunk by chunk, for a single pass.

    Returns
    -------
    Features
        Rows on demand.

    Raises
    ------
    ValueError
        If a finite value is too large for ``dtype``.
    """
    if isinstance(X, DatasetRows):
        return DatasetFeatures(X, dtype, device)
    if sparse.issparse(X):
        parts = (cast(X.data, NUMPY_DTYPES[dtype]), X.indices, X.indptr)
        return _SparseFeatures(sparse.csr_array(parts, shape=X.shape), dtype, device)
    kind, on_disk = NUMPY_DTYPES[dtype], is_on_disk(X)
    if device.type == "cpu" and X.dtype == kind and X.flags.c_contiguous:
        there = _TensorFeatures(wrap(X))
        return DiskFeatures(there) if on_disk else there
    n_bytes = X.size * dtype.itemsize
    if on_disk:
        return DiskFeatures(_HostFeatures(X, dtype, device))
    if not resident or n_bytes > _RESIDENT_SHARE * _free_bytes(device):
        return _HostFeatures(X, dtype, device)
    return _TensorFeatures(wrap(cast(X, kind)).to(device))


def batch_sizes(n: int, step: int) -> list[int]:
    """Cut ``n`` rows into steps; a last single row joins its neighbour.

    Batch normalisation cannot train on one row.

    Parameters
    ----------
    n : int
        Rows of an epoch.
    step : int
        Rows of a batch.

    Returns
    -------
    list of int
        All ``step`` but the last one.
    """
    sizes = [step] * (n // step)
    rest = n % step
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


class Rows:
    """Training rows: features, targets and weights, cut into batches in any order.

    Parameters
    ----------
    features : Features
        Rows of ``X``.
    targets : ndarray of int, shape (n,), CSR matrix of shape (n, l), or ndarray of float (n, k)
        Class codes, labels of 0 and 1, or continuous values.
    weights : ndarray of shape (n,) or None
        Row weights, scaled so that 1 is the mean of the rows that are trained on.
    dtype : torch.dtype
        Type to compute in.
    device : torch.device
        Where to compute.
    label_weight : ndarray of shape (l, 2) or None, default=None
        Factors of the terms of each label where it is 0 and where it is 1.
    """

    def __init__(
        self,
        features: Features,
        targets: Any,
        weights: NDArray[Any] | None,
        dtype: torch.dtype,
        device: torch.device,
        label_weight: NDArray[Any] | None = None,
    ) -> None:
        self.features, self.dtype, self.device = features, dtype, device
        self.given_targets, self.targets = targets, as_targets(targets, dtype, device)
        self.mixing: Mixing | None = None
        self.set_weights(weights, label_weight)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.features)

    @property
    def can_stay_sparse(self) -> bool:
        """Whether batches of sparse rows are there, and pay."""
        features = self.features
        return (
            self.mixing is None
            and isinstance(features, _SparseFeatures)
            and sparse_products_pay(features.matrix, self.device)
        )

    def set_weights(
        self, weights: NDArray[Any] | None, label_weight: NDArray[Any] | None = None
    ) -> None:
        """Change the weights, between epochs."""

        def moved(values: NDArray[Any] | None) -> Tensor | None:
            return (
                None
                if values is None
                else torch.as_tensor(values, dtype=self.dtype).to(self.device)
            )

        self.weights, self.label_weight = moved(weights), moved(label_weight)

    def batches(
        self, order: Tensor, batch_size: int, *, sparse: bool = False
    ) -> Iterator[tuple[Any, Any, Tensor]]:
        """Yield ``(x, target, share)`` for rows in this order.

        Parameters
        ----------
        order : Tensor of int, shape (m,)
            Row numbers, on the device.
        batch_size : int
            Rows of a batch.
        sparse : bool, default=False
            Whether sparse rows stay so; see ``can_stay_sparse``.

        Yields
        ------
        x : Tensor of shape (b, ...), or SparseRows
            Of mixtures the targets are :class:`MixedTargets`.
        target : Tensor of int64, shape (b,), or of floats, shape (b, l) or (b, k)
        share : Tensor of shape (b,); of labels (b, 1) or (b, l)
            Weight divided by ``b`` (by ``b l`` for labels): the batch loss is the sum of the
            values times it.
        """
        features = self.features
        if sparse and isinstance(features, _SparseFeatures):
            features = features.sparse()
        batches: Any = self._plain_batches(features, order, batch_size)
        yield from batches if self.mixing is None else self.mixing(batches)

    def _plain_batches(
        self, features: Features, order: Tensor, batch_size: int
    ) -> Iterator[tuple[Any, Tensor, Tensor]]:
        n_terms = max(self.targets.n_labels, 1)
        even = torch.full(
            (batch_size,), 1 / (batch_size * n_terms), dtype=self.dtype, device=self.device
        )
        block_bytes = features.blocks * BLOCK_BYTES
        per_block = batch_size * max(1, block_bytes // (features.row_bytes * batch_size))
        for block in order.split(batch_sizes(len(order), per_block)):
            sizes = batch_sizes(len(block), batch_size)
            targets = self.targets.gather(block).split(sizes)
            if self.weights is None:
                shares = [
                    even if size == batch_size else even.new_full((size,), 1 / (size * n_terms))
                    for size in sizes
                ]
            else:
                weights = self.weights.index_select(0, block).split(sizes)
                shares = [w / (size * n_terms) for w, size in zip(weights, sizes, strict=True)]
            batches = zip(features.gather(block).split(sizes), targets, shares, strict=True)
            yield from batches if not self.targets.n_labels else map(self._of_labels, batches)

    def _of_labels(self, batch: tuple[Any, Tensor, Tensor]) -> tuple[Any, Tensor, Tensor]:
        x, labels, share = batch
        share = share.unsqueeze(1)
        if self.label_weight is not None:
            absent, present = self.label_weight.unbind(1)
            share = share * torch.addcmul(absent, present - absent, labels)
        return x, labels, share
