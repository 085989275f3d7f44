"""From arrays to tensors of the type to compute in."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["NUMPY_DTYPES", "cast", "cast_tensor", "is_on_disk", "wrap"]

NUMPY_DTYPES: dict[torch.dtype, type[np.floating[Any]]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
}


def is_on_disk(array: Any) -> bool:
    """Whether an array is, or views, a memory map."""
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = getattr(array, "base", None)
    return False


def wrap(array: NDArray[Any]) -> Tensor:
    """Tensor that shares the memory of an array."""
    with warnings.catch_warnings():  # read-only input is fine: nothing here writes to X
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)


def cast(array: NDArray[Any], kind: type[np.floating[Any]]) -> NDArray[Any]:
    """C-contiguous copy in another dtype, or the array itself where it fits already.

    Raises
    ------
    ValueError
        If a finite value is too large for ``kind``.
    """
    if array.dtype == kind:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype=kind)
    if not np.isfinite(converted.sum(dtype=np.float64)):
        raise ValueError(_TOO_LARGE.format(np.dtype(kind).name))
    return converted


def cast_tensor(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Do the same with finite rows that came as a tensor.

    Raises
    ------
    ValueError
        If a value is too large for ``dtype``.
    """
    converted = x.to(dtype)
    if x.dtype != dtype and not torch.isfinite(converted.sum(dtype=torch.float64)):
        raise ValueError(_TOO_LARGE.format(NUMPY_DTYPES[dtype].__name__))
    return converted


_TOO_LARGE = (
    "X has values too large for dtype {}: they became infinity. Scale X (StandardScaler), or use "
    'dtype="float64".'
)
