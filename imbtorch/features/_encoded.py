"""Rows of a table, encoded: all at once where they lie in memory, else when they are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from imbtorch.features._encoder import TableEncoder

__all__ = ["EncodedRows", "encoded"]

_BLOCK = 2**20  # numbers that are encoded together: their temporary copies stay in the cache


class EncodedRows:
    """Rows that stay where they are, on a disk or in a Dataset, and are encoded when they are read.

    Parameters
    ----------
    rows : memory map or DatasetRows of shape (n, n_columns)
        Rows as :meth:`TableColumns.read` makes them.
    encoder : TableEncoder
        Encoder of the rows.
    """

    def __init__(self, rows: Any, encoder: TableEncoder) -> None:
        self.rows, self.encoder = rows, encoder
        self.shape: tuple[int, ...] = (int(rows.shape[0]), encoder.n_encoded)
        self.ndim = 2

    def __len__(self) -> int:
        """Count the rows."""
        return self.shape[0]

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        """Read and encode the rows of a slice or at these positions."""
        return in_memory(np.asarray(self.rows[chosen]), self.encoder)


def encoded(X: Any, encoder: TableEncoder, *, stays: bool) -> Any:
    """Encode the rows of a table.

    Parameters
    ----------
    X : ndarray, CSR matrix or DatasetRows of shape (n, n_columns)
        Rows as :meth:`TableColumns.read` makes them.
    encoder : TableEncoder
        Encoder of the rows.
    stays : bool
        Whether the rows stay where they are, because they do not fit into memory.

    Returns
    -------
    ndarray, CSR array or EncodedRows of shape (n, n_encoded)
        Encoded rows, in the dtype of the encoder.
    """
    if sparse.issparse(X):
        return _scaled_sparse(X, encoder)
    return EncodedRows(X, encoder) if stays else in_memory(X, encoder)


def in_memory(X: NDArray[Any], encoder: TableEncoder) -> NDArray[Any]:
    """Encode an array, block by block."""
    n, kind = len(X), np.float64 if encoder.dtype == torch.float64 else np.float32
    rows = np.empty((n, encoder.n_encoded), dtype=kind)
    step = max(1, _BLOCK // max(encoder.n_encoded, X.shape[1]))
    for start in range(0, n, step):
        block = np.array(X[start : start + step], dtype=np.float64)
        rows[start : start + step] = encoder(torch.from_numpy(block)).numpy()
    return rows


def _scaled_sparse(X: Any, encoder: TableEncoder) -> Any:
    """Scale the values that a sparse matrix stores; the others stay 0."""
    matrix = sparse.csr_array(X)
    factor, fill = encoder.factor.numpy(), encoder.fill.numpy()
    values = matrix.data * factor[matrix.indices]
    gaps = np.isnan(values)
    values[gaps] = fill[matrix.indices[gaps]]
    kind = np.float64 if encoder.dtype == torch.float64 else np.float32
    parts = (values.astype(kind), matrix.indices, matrix.indptr)
    return sparse.csr_array(parts, shape=matrix.shape)
