"""Several inputs of a net in a file: names, shapes, dtypes, and names of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from imbtorch._common.inputs import given_form, shapes_by_key
from imbtorch._publish.model_file.net_input import NetInput
from imbtorch._publish.model_file.tables import SavedTable, TableWriter
from imbtorch._safe_file import Layout
from imbtorch.exceptions import FileFormatError
from imbtorch.modules._input_tables import LAYERS

__all__ = ["describe_inputs", "inputs_of", "tables_in"]

Document = dict[str, Any]

_DTYPES = {"int64": torch.int64, "float32": torch.float32, "float64": torch.float64}
_MOST = 100_000  # inputs of a net in a file
_MAX_SIZE = 2**40


def describe_inputs(estimator: Any, tables: TableWriter) -> Document | None:
    """Return the description of the inputs of a fitted estimator; None for a single input.

    Encoders of tables among them are added to ``tables``.
    """
    shapes = shapes_by_key(estimator._input_shape)
    if shapes is None:
        return None
    if len(shapes) > _MOST:
        raise ValueError(
            f"A file holds nets of up to {_MOST:,} inputs; this one has {len(shapes)}."
        )
    dtypes, names = estimator.net_.input_dtype, estimator._part_names
    encoders = {} if estimator.net_.tables is None else estimator.net_.tables.encoders
    return {
        "parts": [
            {
                "key": key,
                "shape": list(shape),
                "dtype": str(dtypes[key]).removeprefix("torch."),
                "columns": [str(name) for name in names[key]] if key in names else None,
                **({"table": tables.position(encoders[key])} if key in encoders else {}),
            }
            for key, shape in shapes.items()
        ]
    }


def inputs_of(
    document: Document, tables: Sequence[SavedTable], layout: Layout, prefix: str
) -> NetInput:
    """Return what a document says of several inputs.

    Parameters
    ----------
    document : dict
        Description that :func:`describe_inputs` has made.
    tables : sequence of SavedTable
        Encoders of tables in the file.
    layout : Layout
        Dtypes and shapes of the tensors in the file.
    prefix : str
        Prefix of the names of the tensors of the module.

    Raises
    ------
    FileFormatError
        If the description is not valid, or does not fit the encoders.
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
    encoded = _encoded_inputs(parts, tables, layout, prefix)
    widths: dict[Any, Any] = {key: rows.shape for key, rows in encoded.items()}
    return NetInput(
        given_form({**shapes, **widths}),
        dtypes=dtypes,
        names=names,
        given_shape=given_form(shapes),
        tables=encoded,
    )


def tables_in(document: Document) -> dict[Any, int]:
    """Return the place of the encoder of each input that has one; nothing for other documents."""
    parts = document.get("parts")
    if not isinstance(parts, list):
        return {}
    described = [part for part in parts if isinstance(part, dict) and "table" in part]
    return {part.get("key"): part["table"] for part in described}


def _encoded_inputs(
    parts: list[Document], tables: Sequence[SavedTable], layout: Layout, prefix: str
) -> dict[Any, NetInput]:
    """Return what the rows are of each input that is encoded; compare it with its encoder."""
    found: dict[Any, NetInput] = {}
    place = 0
    for part in (part for part in parts if "table" in part):
        table = tables[part["table"]]
        if part["shape"] != [table.n_columns] or part["dtype"] != table.dtype:
            raise FileFormatError("an input and the encoder of its table do not fit together.")
        rows = NetInput.of_file(table, layout, f"{prefix}{LAYERS}.{place}.")
        place += bool(rows.n_codes or rows.periodic)  # only such tables have layers
        found[part["key"]] = rows
    return found


def _is_valid(part: Any, place: int | None) -> bool:
    """Return whether the description of an input has the right form."""
    if not isinstance(part, dict) or set(part) - {"table"} != {"key", "shape", "dtype", "columns"}:
        return False
    if type(part.get("table", 0)) is not int:
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
