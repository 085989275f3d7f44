"""Rows of a sparse matrix for the first layer of a chain, whose products skip the zeros."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["SparseRows", "sparse_products_pay"]

_DENSEST = 0.1  # share of non-zero values above which dense products are as fast


def sparse_products_pay(matrix: Any, device: torch.device) -> bool:
    """Return whether products with these rows are faster when zeros are skipped."""
    size = matrix.shape[0] * matrix.shape[1]
    has_kernel = device.type == "cpu" and torch.backends.mkl.is_available()
    return bool(has_kernel and matrix.nnz < _DENSEST * size)


@cache
def _silence_beta_warning() -> None:
    with warnings.catch_warnings():  # torch warns once that its CSR tensors are in beta state
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([]).int(), torch.tensor([]))


def _as_tensor(matrix: Any) -> Tensor:
    _silence_beta_warning()
    indptr = torch.from_numpy(matrix.indptr.astype(np.int32, copy=False))
    indices = torch.from_numpy(matrix.indices.astype(np.int32, copy=False))
    values = torch.from_numpy(matrix.data)
    return torch.sparse_csr_tensor(
        indptr, indices, values, size=matrix.shape, check_invariants=False
    )


class SparseRows:
    """A batch of rows that never becomes dense.

    Parameters
    ----------
    matrix : CSR matrix of shape (b, n_features)
        Rows in the dtype that the net computes in.
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape = matrix.shape

    def __len__(self) -> int:
        """Count the rows."""
        return int(self.shape[0])

    def __getitem__(self, rows: slice) -> SparseRows:
        """Return neighbouring rows."""
        return SparseRows(self.matrix[rows])

    def times(self, dense: Tensor) -> Tensor:
        """Return the product with a dense matrix, ``(b, n_features) @ (n_features, k)``."""
        return torch.mm(_as_tensor(self.matrix), dense)

    def times_each(self, weights: Tensor) -> Tensor:
        """Return the product with each of n matrices, ``(n, k, n_features)``, as ``(n, b, k)``."""
        n, k, n_features = weights.shape
        product = self.times(weights.reshape(n * k, n_features).t())
        return product.view(len(self), n, k).transpose(0, 1)

    def clone(self) -> SparseRows:
        """Return these rows: nothing writes into them."""
        return self

    def transposed_times(self, dense: Tensor, out: Tensor) -> None:
        """Write the product of the transpose with a dense matrix, ``(n_features, k)``, to ``out``.

        This is fastest if ``out`` is contiguous.
        """
        columns = _as_tensor(self.matrix.T.tocsr())
        if out.is_contiguous():
            torch.addmm(out, columns, dense, beta=0, out=out)
        else:
            out.copy_(torch.mm(columns, dense))
