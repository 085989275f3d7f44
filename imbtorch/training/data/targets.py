"""Targets of a batch: class codes, labels, or values, gathered block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

__all__ = ["Targets", "as_targets"]


class _Block(Protocol):
    def split(self, sizes: Any) -> Iterable[Tensor]: ...


class Targets(Protocol):
    """Targets of the rows, on demand; ``n_labels`` is 0 unless they are labels."""

    @property
    def n_labels(self) -> int:
        """Columns of a matrix of labels."""

    def gather(self, index: Tensor) -> _Block:
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
        self.n_labels = int(matrix.shape[1])

    def gather(self, index: Tensor) -> _Labels:
        return _Labels(self.matrix[index.cpu().numpy()], self.dtype, self.device)

    def split(self, sizes: list[int]) -> Iterator[Tensor]:
        start = 0
        for size in sizes:
            rows = torch.from_numpy(self.matrix[start : start + size].toarray())
            yield rows.to(self.device, self.dtype)
            start += size


def as_targets(targets: Any, dtype: torch.dtype, device: torch.device) -> Targets:
    """Choose how targets get to the device.

    Parameters
    ----------
    targets : ndarray of int, shape (n,), CSR matrix of shape (n, l), or ndarray of float (n, k)
        Class codes, labels of 0 and 1, or values.
    dtype : torch.dtype
        Type of labels and values in a batch.
    device : torch.device
        Where to compute.

    Returns
    -------
    Targets
        Targets on demand.
    """
    if sparse.issparse(targets):
        ones = targets.data.astype(np.uint8)
        matrix = sparse.csr_array((ones, targets.indices, targets.indptr), shape=targets.shape)
        return _Labels(matrix, dtype, device)
    return _DenseTargets(targets, dtype, device)
