"""Several inputs of a net in a file: names, shapes, dtypes, and names of columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from imbtorch._common.inputs import given_form, shapes_by_key
from imbtorch.exceptions import FileFormatError

__all__ = ["describe_inputs", "inputs_of"]

Document = dict[str, Any]

_DTYPES = {"int64": torch.int64, "float32": torch.float32, "float64": torch.float64}
_MOST = 100_000  # inputs of a net in a file
_MAX_SIZE = 2**40


def describe_inputs(estimator: Any) -> Document | None:
    """Return the description of the inputs of a fitted estimator; None for a single input."""
    shapes = shapes_by_key(estimator._input_shape)
    if shapes is None:
        return None
    if len(shapes) > _MOST:
        raise ValueError(
            f"A file holds nets of up to {_MOST:,} inputs; this one has {len(shapes)}."
        )
    dtypes, names = estimator.net_.input_dtype, estimator._part_names
    return {
        "parts": [
            {
                "key": key,
                "shape": list(shape),
                "dtype": str(dtypes[key]).removeprefix("torch."),
                "columns": [str(name) for name in names[key]] if key in names else None,
            }
            for key, shape in shapes.items()
        ]
    }


def inputs_of(document: Document) -> tuple[Any, dict[Any, torch.dtype], dict[Any, Any]]:
    """Return what a document says of several inputs.

    Returns
    -------
    input_shape : dict or tuple
        Shape of a row of each input.
    dtypes : dict of str or int to torch.dtype
        Dtypes in which the module gets them.
    names : dict of str or int to ndarray
        Names of columns of those inputs that have names.

    Raises
    ------
    FileFormatError
        If the description is not valid.
    """
    parts = document.get("parts")
    if set(document) != {"parts"} or not isinstance(parts, list) or not 0 < len(parts) <= _MOST:
        raise FileFormatError("the description of the inputs is not valid.")
    shapes: dict[Any, Any] = {}
    dtypes: dict[Any, torch.dtype] = {}
    names: dict[Any, Any] = {}
    by_position = isinstance(parts[0], dict) and type(parts[0].get("key")) is int
    for place, part in enumerate(parts):
        if not _is_valid(part, place if by_position else None) or part["key"] in shapes:
            raise FileFormatError("the description of an input is not valid.")
        key, columns = part["key"], part["columns"]
        shapes[key], dtypes[key] = tuple(part["shape"]), _DTYPES[part["dtype"]]
        if columns is not None:
            names[key] = np.array(columns, dtype=object)
    return given_form(shapes), dtypes, names


def _is_valid(part: Any, place: int | None) -> bool:
    """Return whether the description of an input has the right form."""
    if not isinstance(part, dict) or set(part) != {"key", "shape", "dtype", "columns"}:
        return False
    key, shape, columns = part["key"], part["shape"], part["columns"]
    is_key = isinstance(key, str) if place is None else type(key) is int and key == place
    if not is_key or not isinstance(shape, list) or len(shape) > 16:
        return False
    sizes = shape[1:] if shape[:1] == [None] else shape  # the length of sequences is None
    sized = all(type(size) is int and 0 < size < _MAX_SIZE for size in sizes)
    known = isinstance(part["dtype"], str) and part["dtype"] in _DTYPES
    if columns is None or not sized:
        return sized and known
    listed = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
    return known and listed and len(columns) == (shape[0] if shape else 1)
