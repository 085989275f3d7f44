"""Training rows: features, targets and weights, in the order of an epoch, cut into batches.

Rows are gathered in blocks of many batches, because one large index operation is several times
cheaper than many small ones, while a shuffled copy of all of ``X`` would double the memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from imbtorch.training.data.features import Features, SparseFeatures
from imbtorch.training.data.mixing import Mixing

__all__ = [
    "BLOCK_BYTES",
    "ArrayRows",
    "RowOrder",
    "Rows",
    "ShuffledOrder",
    "WeightedRows",
    "batch_sizes",
    "known_terms",
]

BLOCK_BYTES = 4 * 2**20


class Rows(Protocol):
    """The rows that a net trains on, in batches.

    Attributes
    ----------
    mixing : Mixing or None
        What mixes the rows of a batch with each other.
    """

    mixing: Mixing | None

    @property
    def features(self) -> Features | None:
        """Rows of ``X`` by position; None for rows that come in an order of their own."""

    def __len__(self) -> int:
        """Count the rows."""

    @property
    def can_stay_sparse(self) -> bool:
        """Whether batches of sparse rows are available, and faster than dense ones."""

    def set_weights(
        self, weights: NDArray[Any] | None, label_weight: NDArray[Any] | None = None
    ) -> None:
        """Change the weights of the rows and of the labels, between epochs."""

    def batches(
        self, order: Tensor, batch_size: int, *, sparse: bool = False
    ) -> Iterator[tuple[Any, Any, Tensor]]:
        """Yield the batches of an epoch, see :meth:`ArrayRows.batches`."""


class WeightedRows:
    """Weights of training rows, and of the terms of their labels.

    Parameters
    ----------
    weights : ndarray of shape (n,) or None
        Row weights, scaled so that 1 is the mean of the rows that are trained on.
    label_weight : ndarray of shape (l, 2) or None
        Factors of the terms of each label where it is 0 and where it is 1.
    dtype : torch.dtype
        Dtype to compute in.
    device : torch.device
        Device to compute on.

    Attributes
    ----------
    has_unknown : bool
        Whether there may be labels of -1, which are not known.
    """

    has_unknown = False

    def __init__(
        self,
        weights: NDArray[Any] | None,
        label_weight: NDArray[Any] | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.dtype, self.device = dtype, device
        self.set_weights(weights, label_weight)

    def set_weights(
        self, weights: NDArray[Any] | None, label_weight: NDArray[Any] | None = None
    ) -> None:
        """Change the weights of the rows and of the labels, between epochs."""

        def moved(values: NDArray[Any] | None) -> Tensor | None:
            if values is None:
                return None
            return torch.as_tensor(values, dtype=self.dtype).to(self.device)

        self.weights, self.label_weight = moved(weights), moved(label_weight)

    def _share_of_labels(self, batch: tuple[Any, Tensor, Tensor]) -> tuple[Any, Tensor, Tensor]:
        """Turn the shares of rows, ``(b,)``, into shares of the terms of their labels."""
        x, labels, share = batch
        share = share.unsqueeze(1)
        if self.has_unknown:
            labels, share = known_terms(labels, share)
        if self.label_weight is not None:
            absent, present = self.label_weight.unbind(1)
            share = share * torch.addcmul(absent, present - absent, labels)
        return x, labels, share


class ArrayRows(WeightedRows):
    """Training rows that can be asked for by position.

    Parameters
    ----------
    features : Features
        Rows of ``X``.
    targets : ndarray of int, shape (n,), CSR matrix of shape (n, l), or ndarray of float (n, k)
        Class codes, labels of 0 and 1 (and -1 where a label is not known), or continuous values.
    weights : ndarray of shape (n,) or None
        Row weights, scaled so that 1 is the mean of the rows that are trained on.
    dtype : torch.dtype
        Dtype to compute in.
    device : torch.device
        Device to compute on.
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
        super().__init__(weights, label_weight, dtype, device)
        self.features: Features = features
        self.given_targets, self.targets = targets, _as_targets(targets, dtype, device)
        self.has_unknown = isinstance(self.targets, _Labels) and self.targets.has_unknown
        self.mixing: Mixing | None = None

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.features)

    @property
    def can_stay_sparse(self) -> bool:
        """Whether batches of sparse rows are available, and faster than dense ones."""
        features = self.features
        is_sparse = isinstance(features, SparseFeatures) and features.is_sparse_enough
        return is_sparse and self.mixing is None

    def batches(
        self, order: Tensor, batch_size: int, *, sparse: bool = False
    ) -> Iterator[tuple[Any, Any, Tensor]]:
        """Yield ``(x, target, share)`` for rows in this order.

        Parameters
        ----------
        order : Tensor of int, shape (m,)
            Row numbers, on the device.
        batch_size : int
            Number of rows of a batch.
        sparse : bool, default=False
            Whether sparse rows stay sparse; see ``can_stay_sparse``.

        Yields
        ------
        x : Tensor of shape (b, ...), or SparseRows
            Features. If rows are mixed, the targets are :class:`MixedTargets`.
        target : Tensor of int64, shape (b,), or of floats, shape (b, l) or (b, k)
            Targets.
        share : Tensor of shape (b,); for labels (b, 1) or (b, l)
            Weight divided by ``b`` (by ``b l`` for labels): the batch loss is the sum of the
            values times it.
        """
        features: Features = self.features
        if sparse and isinstance(features, SparseFeatures):
            features = features.sparse()
        batches: Any = self._plain_batches(features, order, batch_size)
        return batches if self.mixing is None else self.mixing(batches)

    def _plain_batches(
        self, features: Features, order: Tensor, batch_size: int
    ) -> Iterator[tuple[Any, Tensor, Tensor]]:
        n_terms = max(self.targets.n_labels, 1)
        batch_size = min(batch_size, len(order) + 1)  # of a step that takes all rows and more
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
            yield from batches if not self.targets.n_labels else map(self._share_of_labels, batches)


def known_terms(labels: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Leave the labels that are not known out of the loss.

    Parameters
    ----------
    labels : Tensor of shape (..., l)
        Labels of 0 and 1, and -1 where a label is not known.
    share : Tensor of shape (..., 1)
        Share of each row.

    Returns
    -------
    labels : Tensor of shape (..., l)
        Labels, 0 where they are not known.
    share : Tensor of shape (..., l)
        Share of each label, 0 where it is not known.
    """
    return labels.clamp_min(0), share * (labels >= 0)


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


class RowOrder(ABC):
    """Which rows an epoch sees, in which order.

    Attributes
    ----------
    n_rows : int
        Number of rows to choose from.
    """

    n_rows: int

    @abstractmethod
    def shuffled(self, epoch: int) -> Tensor:
        """Return all rows in the order of this epoch, ``(n_rows,)``, on the device."""

    @abstractmethod
    def chosen(self, order: NDArray[np.integer[Any]]) -> Tensor:
        """Return the positions of rows that a sampler chose by their numbers, ``(m,)``."""


class ShuffledOrder(RowOrder):
    """Training rows in random order, another one each epoch; runs that see the same rows share it.

    Parameters
    ----------
    index : ndarray of int, shape (n_rows,), or None
        Positions of the training rows; None for all.
    n_rows : int
        Number of training rows.
    seed : int
        Seed of the order.
    device : torch.device
        Device on which the positions are needed.
    """

    def __init__(
        self,
        index: NDArray[np.integer[Any]] | None,
        n_rows: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.n_rows, self.seed, self.device = n_rows, seed, device
        self.kind = torch.int32 if n_rows < 2**31 else torch.int64
        self.positions = None if index is None else torch.from_numpy(index).to(device, self.kind)
        self._restart()

    def _restart(self) -> None:
        self._generator, self._epoch = torch.Generator().manual_seed(self.seed), -1
        self._latest = torch.empty(0)

    def shuffled(self, epoch: int) -> Tensor:
        """Return all rows in the order of this epoch; epochs are drawn one after the other.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0; the order of the last call is kept.

        Returns
        -------
        Tensor of int, shape (n_rows,)
            Positions, on the device.
        """
        if epoch < self._epoch:
            self._restart()
        while self._epoch < epoch:
            order = torch.randperm(self.n_rows, generator=self._generator, dtype=self.kind)
            self._epoch += 1
            if self._epoch == epoch:
                self._latest = self._located(order)
        return self._latest

    def chosen(self, order: NDArray[np.integer[Any]]) -> Tensor:
        """Return the positions of rows that a sampler chose.

        Parameters
        ----------
        order : ndarray of int, shape (m,)
            Numbers among the training rows.

        Returns
        -------
        Tensor of int, shape (m,)
            Positions, on the device.
        """
        return self._located(torch.from_numpy(order))

    def _located(self, order: Tensor) -> Tensor:
        order = order.to(self.device)
        return order if self.positions is None else self.positions[order]


class _TargetBlock(Protocol):
    def split(self, sizes: Any) -> Iterable[Tensor]: ...


class Targets(Protocol):
    """Targets of the rows, on demand; ``n_labels`` is 0 unless they are labels."""

    @property
    def n_labels(self) -> int:
        """Columns of a matrix of labels."""

    def gather(self, index: Tensor) -> _TargetBlock:
        """Targets of the rows at these positions, on the device."""


class _DenseTargets:
    """Class codes ``(n,)`` in a small integer type, or values ``(n, k)``."""

    n_labels = 0

    def __init__(self, values: NDArray[Any], dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = torch.int64 if values.ndim == 1 else dtype
        self.values = torch.from_numpy(values).to(device)

    def gather(self, index: Tensor) -> Tensor:
        return self.values.index_select(0, index).to(self.dtype)


class _Labels:
    """A sparse matrix of labels; only a batch is ever dense."""

    def __init__(self, matrix: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.matrix, self.dtype, self.device = matrix, dtype, device
        self.n_labels, self.has_unknown = int(matrix.shape[1]), matrix.dtype.kind == "i"

    def gather(self, index: Tensor) -> _Labels:
        return _Labels(self.matrix[index.cpu().numpy()], self.dtype, self.device)

    def split(self, sizes: list[int]) -> Iterator[Tensor]:
        start = 0
        for size in sizes:
            rows = torch.from_numpy(self.matrix[start : start + size].toarray())
            yield rows.to(self.device, self.dtype)
            start += size


def _as_targets(targets: Any, dtype: torch.dtype, device: torch.device) -> Targets:
    """Choose how targets get to the device.

    Parameters
    ----------
    targets : ndarray of int, shape (n,), CSR matrix of shape (n, l), or ndarray of float (n, k)
        Class codes, labels of 0 and 1, or values.
    dtype : torch.dtype
        Type of labels and values in a batch.
    device : torch.device
        Device to compute on.

    Returns
    -------
    Targets
        Targets on demand.
    """
    if sparse.issparse(targets):
        ones = targets.data.astype(np.int8 if targets.dtype.kind == "i" else np.uint8)
        matrix = sparse.csr_array((ones, targets.indices, targets.indptr), shape=targets.shape)
        return _Labels(matrix, dtype, device)
    return _DenseTargets(targets, dtype, device)
