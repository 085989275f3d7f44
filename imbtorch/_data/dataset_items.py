"""Read items of torch Datasets and chunks of iterables: (X, y) or (X, y, sample_weight)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from imbtorch._common.inputs import InputBatch, Key

__all__ = [
    "chunks_of",
    "collate",
    "collate_features",
    "collate_targets",
    "parts_of",
    "refuse_infinite",
    "row_shape",
    "to_array",
]

_ITEMS = 1024  # number of items that are read together if only their targets are needed


def to_array(values: Any) -> NDArray[Any]:
    """Convert a tensor, or anything that numpy can convert, to an array."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def parts_of(item: Any) -> tuple[Any, Any, Any]:
    """Split an item into features, target and weight; the weight is None if it is missing.

    Raises
    ------
    ValueError
        If the item is not a pair or a triple.
    """
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        what = type(item).__name__
        raise ValueError(
            "Items of the Dataset must be (X, y) or (X, y, sample_weight); got "
            + (f"a {what} of {len(item)}." if isinstance(item, tuple | list) else f"a {what}.")
        )
    return item[0], item[1], item[2] if len(item) == 3 else None


def row_shape(x: Any) -> Any:
    """Return the shape of a row of a batch, or that of each input."""
    return x.input_shape if isinstance(x, InputBatch) else tuple(x.shape[1:])


def collate_features(items: Sequence[Any], *, allow_nan: bool = False) -> Any:
    """Stack the features of items, ``(n, ...)``; an item may be features alone.

    Features that are a mapping, or a tuple of arrays, are several inputs.

    Parameters
    ----------
    items : sequence
        Items of a Dataset.
    allow_nan : bool, default=False
        Whether NaN stands for a missing value.

    Raises
    ------
    ValueError
        If the features are not numbers, differ in shape, or are not finite.
    """
    rows = [item[0] if isinstance(item, tuple | list) else item for item in items]
    if (first := _inputs_of(rows[0])) is None:
        return _stacked(rows, "Features", allow_nan=allow_nan)
    several = [_inputs_of(row) or {} for row in rows]
    for inputs in several:
        if inputs.keys() != first.keys():
            raise ValueError(
                f"All items of the Dataset must have the same inputs: the first one has "
                f"{list(first)}, another one {list(inputs)}."
            )
    return InputBatch(
        {key: _stacked([inputs[key] for inputs in several], f"Input {key!r}") for key in first}
    )


def _inputs_of(row: Any) -> dict[Key, Any] | None:
    """Return the inputs of an item by name or position; None for an item with a single input."""
    if isinstance(row, Mapping):
        return dict(row)
    if isinstance(row, tuple) and row and all(isinstance(p, Tensor | np.ndarray) for p in row):
        return dict(enumerate(row))
    return None


def _stacked(rows: list[Any], what: str, *, allow_nan: bool = False) -> Tensor:
    """Stack rows, which are finite numbers of one shape; single numbers are for inputs only."""
    try:
        if isinstance(rows[0], Tensor):
            x = torch.stack(rows)
        else:
            x = torch.from_numpy(np.stack([np.asarray(row) for row in rows]))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{what} of the Dataset's items must be numbers, and have the same shape: {error}."
        ) from error
    if x.ndim < 2 and what == "Features":
        raise ValueError(
            "Features of the Dataset's items must have at least one dimension; got single numbers. "
            "Return x.reshape(1) instead of x."
        )
    refuse_infinite(x, what, allow_nan=allow_nan)
    return x


def refuse_infinite(x: Tensor, what: str, *, allow_nan: bool = False) -> None:
    """Raise ValueError if the rows of a batch are not finite; ``what`` names them.

    Parameters
    ----------
    x : Tensor of shape (n, ...)
        Rows.
    what : str
        ``"Features"``, or the name of one of several inputs.
    allow_nan : bool, default=False
        Whether NaN stands for a missing value.
    """
    if not x.is_floating_point() or torch.isfinite(x.sum()):
        return
    if torch.isinf(x).any() or not (allow_nan or torch.isfinite(x).all()):
        part = "X contains" if what == "Features" else f"{what} of X contains"
        raise ValueError(f"{part} NaN or infinity, in an item of the Dataset.")


def _targets(items: Sequence[Any]) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    parts = [parts_of(item) for item in items]
    targets = np.asarray([to_array(y) for _, y, _ in parts])
    given = [w is not None for *_, w in parts]
    if any(given) != all(given):
        raise ValueError("Either all items of the Dataset have a sample_weight, or none has.")
    if not all(given):
        return targets, None
    return targets, np.array([float(w) for *_, w in parts])


def collate_targets(items: Sequence[Any], *, allow_nan: bool = False) -> tuple[Any, Any, Any]:
    """Return the shape of an item's features, the targets ``(n,)`` or ``(n, k)``, and the weights.

    The weights are ``(n,)``, or None if the items have none.
    """
    return row_shape(collate_features(items, allow_nan=allow_nan)), *_targets(items)


def collate(items: Sequence[Any], *, allow_nan: bool = False) -> tuple[Any, Any, Any]:
    """Return features ``(n, ...)``, targets ``(n,)`` or ``(n, k)``, weights ``(n,)`` or None."""
    return collate_features(items, allow_nan=allow_nan), *_targets(items)


def chunks_of(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield targets and weights, chunk by chunk.

    Parameters
    ----------
    data : torch Dataset, or iterable of chunks
        Data to read; a chunk is an array of targets, or ``(X, y)``, or ``(X, y, sample_weight)``.

    Yields
    ------
    targets : array-like
        Targets of the rows of a chunk.
    weights : array-like or None
        Weights of these rows; None if the data have no weights.
    """
    if isinstance(data, Dataset):
        held: Any = data  # typed as Any, because torch's Dataset declares no length
        by_position = not isinstance(data, IterableDataset)
        items = (held[i] for i in range(len(held))) if by_position else iter(held)
        while few := list(islice(items, _ITEMS)):
            yield _targets(few)
        return
    chunks: Iterable[Any] = data
    for chunk in chunks:
        if isinstance(chunk, tuple | list) and len(chunk) and np.ndim(_shown(chunk[0])):
            _, y, w = parts_of(chunk)
            yield y, w
        else:
            yield chunk, None


def _shown(value: Any) -> Any:
    """Return an object on which np.ndim works, as it fails on sparse matrices and some tensors."""
    return np.empty(value.shape[:1]) if hasattr(value, "shape") and len(value.shape) else value
