"""Rows of ``X`` on demand, on their way to the device."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from imbtorch._common.inputs import Inputs, is_one_sequence
from imbtorch._common.memory_maps import release_pages
from imbtorch._common.sequences import Sequences
from imbtorch._data.datasets_as_rows import DatasetReader
from imbtorch.features._encoder import EncodedRows, TableEncoder, encoded, in_memory
from imbtorch.training.data.loading import DatasetFeatures, cast_tensor, too_large
from imbtorch.training.data.sequences import SequenceFeatures
from imbtorch.training.data.several import InputFeatures, named
from imbtorch.training.data.sparse_rows import SparseRows, sparse_products_pay

__all__ = [
    "ChosenFeatures",
    "EncodedFeatures",
    "Features",
    "SparseFeatures",
    "as_features",
    "encoded_rows",
    "first_rows",
    "is_on_disk",
    "resident_bytes",
]

_RESIDENT_SHARE = 0.5  # share of the accelerator's free memory that X may take
_DISK_BLOCKS = 4  # the more rows are fetched at once, the nearer to each other they lie
_DISK_SPAN = 2**29  # bytes of the file between which its pages are given back
_FEWEST_ROWS = 512  # read between two such moments: a system may map 2 MiB for a single row
_NUMPY_DTYPES: dict[torch.dtype, type[np.number[Any]]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.int64: np.int64,  # of modules that want integers
}


class _Block(Protocol):
    """Gathered rows that split into batches, as tensors do."""

    def split(self, sizes: Any) -> Iterable[Any]: ...


class Features(Protocol):
    """Rows of ``X``, on demand; ``blocks`` of ``BLOCK_BYTES`` are gathered at once."""

    row_bytes: int
    blocks: int

    def __len__(self) -> int:
        """Count the rows."""

    def gather(self, index: Tensor) -> _Block:
        """Rows at these positions, on the device."""

    def slice(self, start: int, stop: int) -> Any:
        """Copy of neighbouring rows, on the device: a module may write into it."""

    def same_as(self, other: Any) -> bool:
        """Whether these are known to be the same rows."""


class _TensorFeatures:
    """``X`` as one tensor that lies on the device."""

    blocks = 1

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.row_bytes = math.prod(tensor.shape[1:]) * tensor.element_size()

    def __len__(self) -> int:
        return len(self.tensor)

    def gather(self, index: Tensor) -> Tensor:
        return self.tensor.index_select(0, index)

    def slice(self, start: int, stop: int) -> Tensor:
        return self.tensor[start:stop].clone()

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
        rows = cast(self.array[start:stop], _NUMPY_DTYPES[self.dtype])
        return self._send(rows.copy() if np.may_share_memory(rows, self.array) else rows)

    def same_as(self, other: Any) -> bool:
        return isinstance(other, _HostFeatures) and np.array_equal(self.array, other.array)

    def _send(self, rows: NDArray[Any]) -> Tensor:
        tensor = wrap(cast(rows, _NUMPY_DTYPES[self.dtype]))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)


class SparseFeatures:
    """A CSR matrix; only a batch is ever dense."""

    blocks = 1

    def __init__(
        self, matrix: Any, dtype: torch.dtype, device: torch.device, *, stay_sparse: bool = False
    ) -> None:
        self.matrix, self.dtype, self.device = matrix, dtype, device
        self.stay_sparse = stay_sparse
        if stay_sparse:  # a value and its column
            self.row_bytes = 1 + matrix.nnz * (dtype.itemsize + 4) // max(1, matrix.shape[0])
        else:
            self.row_bytes = matrix.shape[1] * dtype.itemsize

    def __len__(self) -> int:
        """Count the rows."""
        return int(self.matrix.shape[0])

    def sparse(self) -> SparseFeatures:
        """Return the same rows, in batches that stay sparse."""
        return SparseFeatures(self.matrix, self.dtype, self.device, stay_sparse=True)

    @property
    def is_sparse_enough(self) -> bool:
        """Whether products with these rows are faster when zeros are skipped."""
        return sparse_products_pay(self.matrix, self.device)

    def gather(self, index: Tensor) -> SparseFeatures:
        """Rows at these positions, sparse until they are split."""
        rows = self.matrix[index.cpu().numpy()]
        return SparseFeatures(rows, self.dtype, self.device, stay_sparse=self.stay_sparse)

    def slice(self, start: int, stop: int) -> Any:
        """Neighbouring rows: a dense tensor on the device, or SparseRows."""
        rows = self.matrix[start:stop]
        if self.stay_sparse:
            return SparseRows(rows)
        return torch.from_numpy(rows.toarray()).to(self.device)

    def same_as(self, other: Any) -> bool:
        """Return False: whether two sparse matrices are equal is not looked up."""
        return False

    def split(self, sizes: int | list[int]) -> Iterator[Any]:
        """Yield batches of so many rows: dense tensors, or SparseRows."""
        n = len(self)
        steps = [sizes] * -(-n // sizes) if isinstance(sizes, int) else sizes
        start = 0
        for size in steps:
            yield self.slice(start, start + size)
            start += size


def _free_bytes(device: torch.device) -> float:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")


def as_features(X: Any, dtype: Any, device: torch.device, *, resident: bool = True) -> Features:
    """Choose how rows of ``X`` get to the device.

    Parameters
    ----------
    X : ndarray of shape (n, ...), CSR matrix, DatasetReader, Sequences or Inputs
        Validated features. A C-contiguous array of ``dtype`` on the CPU is never copied, unless
        a stride is negative.
    dtype : torch.dtype, or dict
        Dtype of the rows: the one to compute in, or int64; of several inputs one each.
    device : torch.device
        Device to compute on.
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
        If ``dtype`` cannot hold a value.
    """
    if isinstance(X, DatasetReader):
        return DatasetFeatures(X, dtype, device)
    if isinstance(X, Inputs) and is_one_sequence(X.input_shape):
        part = as_features(X.parts[0], dtype[0], device, resident=resident)
        return InputFeatures({0: part})
    if isinstance(X, Inputs):
        each = {
            key: named(
                key, partial(as_features, dtype=dtype[key], device=device, resident=resident), part
            )
            for key, part in X.parts.items()
        }
        return InputFeatures(each)
    if isinstance(X, EncodedRows):
        return EncodedFeatures(X.rows, X.encoder, device)
    if sparse.issparse(X):
        arrays = (cast(X.data, _NUMPY_DTYPES[dtype]), X.indices, X.indptr)
        return SparseFeatures(sparse.csr_array(arrays, shape=X.shape), dtype, device)
    if isinstance(X, Sequences):
        flat = wrap(cast(X.flat, _NUMPY_DTYPES[dtype]))
        if resident and flat.nbytes <= _RESIDENT_SHARE * _free_bytes(device):
            flat = flat.to(device)
        return SequenceFeatures(flat, wrap(X.lengths), device)
    kind, on_disk = _NUMPY_DTYPES[dtype], is_on_disk(X)
    if device.type == "cpu" and X.dtype == kind and X.flags.c_contiguous:
        there = _TensorFeatures(wrap(X))
        return DiskFeatures(there, X) if on_disk else there
    n_bytes = X.size * dtype.itemsize
    if on_disk:
        return DiskFeatures(_HostFeatures(X, dtype, device), X)
    if not resident or n_bytes > _RESIDENT_SHARE * _free_bytes(device):
        return _HostFeatures(X, dtype, device)
    return _TensorFeatures(wrap(cast(X, kind)).to(device))


def resident_bytes(features: Any) -> int:
    """Return how many bytes rows take on the device; 0 for rows that are sent batch by batch."""
    return features.tensor.nbytes if isinstance(features, _TensorFeatures) else 0


def encoded_rows(X: Any, encoder: TableEncoder) -> Any:
    """Encode rows; those on a disk, which may not fit into memory, when they are read."""
    return encoded(X, encoder, stays=isinstance(X, DatasetReader) or is_on_disk(X))


class EncodedFeatures:
    """Rows of a table that are encoded when they are asked for.

    Parameters
    ----------
    X : ndarray, CSR matrix or DatasetReader of shape (n, n_columns)
        Rows as :meth:`imbtorch.features.TableColumns.read` makes them.
    encoder : TableEncoder
        Encoder of the rows.
    device : torch.device
        Device on which the encoded rows are needed. They are encoded on the CPU, in float64: there
        a number such as the seconds since 1970 keeps its digits until it is scaled.
    """

    blocks = 1

    def __init__(self, X: Any, encoder: TableEncoder, device: torch.device) -> None:
        kind = getattr(X, "dtype", np.dtype(np.float64))
        dtype = torch.float32 if kind == np.float32 else torch.float64
        self.rows = as_features(X, dtype, torch.device("cpu"), resident=False)
        self.encoder, self.device, self.blocks = encoder, device, self.rows.blocks
        self.row_bytes = max(self.rows.row_bytes, encoder.n_encoded * encoder.dtype.itemsize)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    @property
    def reads_ahead(self) -> bool:
        """Whether other processes read the rows, if they are asked for as a block."""
        return getattr(self.rows, "reads_ahead", False)

    def begin_epoch(self, epoch: int, *, may_have_changed: bool) -> None:
        """Tell the items of a Dataset which epoch begins, and whether the Dataset may differ."""
        if isinstance(self.rows, DatasetFeatures):
            self.rows.begin_epoch(epoch, may_have_changed=may_have_changed)

    def gather(self, index: Tensor) -> _Block:
        """Rows at these positions, encoded, on the device."""
        block = self.rows.gather(index.cpu())
        if isinstance(block, Tensor):
            return self._encoded(block)
        return _EncodedBlock(block, self._encoded)

    def slice(self, start: int, stop: int) -> Tensor:
        """Neighbouring rows, encoded, on the device."""
        return self._encoded(self.rows.slice(start, stop))

    def same_as(self, other: Any) -> bool:
        """Whether these are known to be the same rows, encoded in the same way."""
        return (
            isinstance(other, EncodedFeatures)
            and self.encoder is other.encoder
            and self.rows.same_as(other.rows)
        )

    def _encoded(self, rows: Tensor) -> Tensor:
        return wrap(in_memory(rows.numpy(), self.encoder)).to(self.device, non_blocking=True)


class _EncodedBlock:
    """Gathered rows of a table, which are encoded when they are split into batches."""

    def __init__(self, block: _Block, encode: Callable[[Tensor], Tensor]) -> None:
        self.block, self.encode = block, encode

    def split(self, sizes: Any) -> Iterator[Tensor]:
        yield from map(self.encode, self.block.split(sizes))


def first_rows(X: Any, dtype: Any, device: torch.device) -> Any:
    """Return the first two rows of ``X`` on the device, to try a module."""
    return as_features(X, dtype, device, resident=False).slice(0, 2)


class DiskFeatures:
    """Rows that lie on a disk: read in the order in which they lie there, then put in theirs.

    Pages of the file are given back as soon as their rows are copied, so that the resident memory
    does not grow with the file.

    Parameters
    ----------
    features : Features
        Rows of an array on a disk, which it gathers as tensors.
    array : ndarray
        The array, a memory map or a view of one.
    """

    blocks = _DISK_BLOCKS

    def __init__(self, features: Features, array: NDArray[Any]) -> None:
        self.features, self.array, self.row_bytes = features, array, features.row_bytes

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.features)

    def gather(self, index: Tensor) -> Tensor:
        """Rows at these positions, on the device."""
        lying, place = index.sort()
        step = max(_FEWEST_ROWS, len(index) * _DISK_SPAN // max(self.array.nbytes, 1))
        gathered: Tensor | None = None
        for few, places in zip(lying.split(step), place.split(step), strict=True):
            rows: Tensor
            (rows,) = self.features.gather(few).split([len(few)])
            if gathered is None:
                gathered = rows.new_empty((len(index), *rows.shape[1:]))
            gathered.index_copy_(0, places, rows)
            release_pages(self.array)
        assert gathered is not None  # even no rows are one part
        return gathered

    def slice(self, start: int, stop: int) -> Any:
        """Neighbouring rows, on the device."""
        rows = self.features.slice(start, stop)
        release_pages(self.array)
        return rows

    def same_as(self, other: Any) -> bool:
        """Whether these are known to be the same rows."""
        return isinstance(other, DiskFeatures) and self.features.same_as(other.features)


class ChosenFeatures:
    """Some rows of others, which are not copied.

    Parameters
    ----------
    features : Features
        All rows.
    chosen : ndarray of int, shape (m,)
        Positions.
    device : torch.device
        Device on which the rows are needed.
    """

    blocks = 1

    def __init__(
        self, features: Features, chosen: NDArray[np.integer[Any]], device: torch.device
    ) -> None:
        self.features, self.row_bytes = features, features.row_bytes
        self.chosen = torch.from_numpy(chosen).to(device)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.chosen)

    @property
    def lengths(self) -> Tensor | None:
        """Lengths of the chosen rows, where they are sequences."""
        lengths = getattr(self.features, "lengths", None)
        return None if lengths is None else lengths[self.chosen.cpu()]

    @property
    def reads_ahead(self) -> bool:
        """Whether other processes read the rows, if they are asked for as a block."""
        return getattr(self.features, "reads_ahead", False)

    def gather(self, index: Tensor) -> _Block:
        """Rows at these positions among the chosen ones, on the device."""
        return self.features.gather(self.chosen[index])

    def slice(self, start: int, stop: int) -> Any:
        """Neighbours among the chosen rows, on the device."""
        index = self.chosen[start:stop]
        (rows,) = self.features.gather(index).split([len(index)])
        return rows

    def sparse(self) -> ChosenFeatures:
        """Return the same rows of a sparse matrix, in batches that stay sparse."""
        assert isinstance(self.features, SparseFeatures | ChosenFeatures)
        chosen = self.chosen.cpu().numpy()
        return ChosenFeatures(self.features.sparse(), chosen, self.chosen.device)

    @property
    def is_sparse_enough(self) -> bool:
        """Whether these are sparse rows, and products with them are faster without the zeros."""
        return getattr(self.features, "is_sparse_enough", False)

    def same_as(self, other: Any) -> bool:
        """Whether these are known to be the same rows."""
        return (
            isinstance(other, ChosenFeatures)
            and torch.equal(self.chosen, other.chosen)
            and (self.features is other.features or self.features.same_as(other.features))
        )


def is_on_disk(array: Any) -> bool:
    """Whether an array is, or views, a memory map."""
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = getattr(array, "base", None)
    return False


def wrap(array: NDArray[Any]) -> Tensor:
    """Tensor that shares the memory of an array, where torch can express its strides."""
    if min(array.strides, default=0) < 0:  # numpy calls ``X[:1][::-1]`` contiguous
        array = array.copy()
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():  # read-only input is fine: nothing here writes to X
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)


def cast(array: NDArray[Any], kind: type[np.number[Any]]) -> NDArray[Any]:
    """C-contiguous copy in another dtype, or the array itself where it fits already.

    Raises
    ------
    ValueError
        If a finite value is too large for ``kind``, or no whole number where that is int64.
    """
    if array.dtype == kind:
        return np.ascontiguousarray(array)
    if kind is np.int64:
        native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        integers: NDArray[Any] = cast_tensor(wrap(native), torch.int64).numpy()
        return integers
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype=kind)
    # NaN is a gap, which only rows that will be encoded have
    if not np.isfinite(converted.sum(dtype=np.float64)) and np.isinf(converted).any():
        raise ValueError(too_large(np.dtype(kind).name))
    return converted
