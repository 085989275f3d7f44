"""Convert the nested state of a training to a JSON text and a few tensors, and back."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imbtorch._safe_file import NAMES
from imbtorch.modules._state import is_extra

__all__ = ["MAX_RECORDS", "pack", "unpack"]

_STRUCTURE = "structure"  # name of the tensor that holds the JSON text
_LONG = 16  # records from which a list of them is stored column by column
MAX_RECORDS = 100_000  # most records of a list, which become dicts of some hundred bytes each
# Bytes of memory that parsing the text and building the state take at most, for each of these.
_COST = {b"[": 160, b"{": 450, b",": 48, b'"': 40}
_ALLOWANCE = 48 * 2**20  # bytes that a state may take beyond three times its size in the file


def pack(state: Any) -> dict[str, Tensor]:
    """Convert nested state to tensors with names.

    Parameters
    ----------
    state : dict, list, tuple, Tensor, ndarray, number, str, bool or None
        State, nested to any depth; keys of dicts are strings or integers.

    Returns
    -------
    dict of str to Tensor
        The tensors of the state, and one tensor with the bytes of a JSON text that describes the
        structure and holds all other values.

    Raises
    ------
    TypeError
        If the state holds anything else.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_packed(state, tensors, "state"), allow_nan=False, separators=(",", ":"))
    tensors[_STRUCTURE] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    return tensors


def unpack(tensors: dict[str, Tensor]) -> Any:
    """Convert the tensors of :func:`pack` back to nested state.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Tensors that :func:`pack` returned.

    Returns
    -------
    object
        The state; numpy scalars have become Python numbers, but for those in the extra state of
        a module.

    Raises
    ------
    ValueError
        If the tensors do not describe a state, or the state would take much more memory than the
        tensors.
    """
    try:
        text = bytes(tensors[_STRUCTURE].numpy())
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        cost = sum(text.count(mark) * n_bytes for mark, n_bytes in _COST.items())
        if cost > 3 * size + _ALLOWANCE:
            raise ValueError("its text describes too many values.")
        return _unpacked(json.loads(text), tensors)
    except (KeyError, TypeError, IndexError, RecursionError, ValueError) as error:
        raise ValueError(f"This is not the state of a training: {error!r:.200}.") from error


def _packed(value: Any, tensors: dict[str, Tensor], place: str, exact: bool = False) -> Any:
    """Convert a value to JSON; a value that JSON lacks becomes a dict with its type as only key.

    If it is to be exact, inside of the extra state of a module, numpy scalars keep their dtypes.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic) and not exact:
        return _packed(value.item(), tensors, place)
    if isinstance(value, np.generic):
        return {"scalar": _kept(torch.from_numpy(np.array(value)), tensors, place)}
    if isinstance(value, int):
        return value
    if isinstance(value, float):  # JSON keeps enough digits to restore the same bits
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Tensor):
        return {"tensor": _kept(value.detach(), tensors, place)}
    if isinstance(value, np.ndarray):
        return {"array": _kept(torch.from_numpy(np.array(value)), tensors, place)}
    if isinstance(value, list):
        if _is_table(value):
            columns = {name: _column([record[name] for record in value]) for name in value[0]}
            return {"table": _packed(columns, tensors, place, exact)}
        return [_packed(item, tensors, f"{place}[{i}]", exact) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"tuple": _packed(list(value), tensors, place, exact)}
    if isinstance(value, dict) and all(isinstance(key, str | int) for key in value):
        return {
            "dict": [
                [key, _packed(item, tensors, f"{place}[{key!r}]", exact or is_extra(key))]
                for key, item in value.items()
            ]
        }
    raise TypeError(f"{place} is a {type(value).__name__}; checkpoints cannot hold it: {value!r}")


def _kept(tensor: Tensor, tensors: dict[str, Tensor], place: str) -> str:
    """Add a tensor to those of the state, and return its name there."""
    if tensor.layout != torch.strided or tensor.dtype not in NAMES:
        raise TypeError(
            f"{place} has dtype {tensor.dtype} and layout {tensor.layout}; checkpoints cannot "
            "hold such tensors"
        )
    name = str(len(tensors))
    tensors[name] = tensor
    return name


def _is_table(records: list[Any]) -> bool:
    """Return whether these are many records with the same names, such as a history."""
    if len(records) < _LONG or not isinstance(records[0], dict) or not records[0]:
        return False
    names = list(records[0])
    return all(isinstance(record, dict) and list(record) == names for record in records)


def _column(values: list[Any]) -> Any:
    """Convert numbers of one type to an array; return any other list unchanged."""
    kinds = set(map(type, values))
    if kinds in ({float}, {bool}) or (kinds == {int} and max(map(abs, values)) < 2**63):
        return np.array(values)
    return values


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "float":
        return float(content)
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "scalar":
        return tensors[content].numpy()[()]
    if kind == "tuple":
        return tuple(_unpacked(content, tensors))
    if kind == "dict":
        return {_key(key): _unpacked(item, tensors) for key, item in content}
    if kind == "table":
        return _records(_unpacked(content, tensors))
    raise KeyError(kind)


def _key(key: Any) -> str | int:
    # a dict of larger integers can be made so that all of them have the same hash
    if isinstance(key, str) or (type(key) is int and abs(key) < 2**61 - 1):
        return key
    raise TypeError("a key of a dict must be text or a small integer")


def _records(columns: dict[str | int, Any]) -> list[dict[str | int, Any]]:
    sizes = {len(column) for column in columns.values()}
    if len(sizes) != 1 or max(sizes) > MAX_RECORDS:
        raise ValueError(f"a table must have at most {MAX_RECORDS} rows, in columns of one length")
    if any(isinstance(column, np.ndarray) and column.ndim != 1 for column in columns.values()):
        raise ValueError("a column has more than one dimension")
    lists = [c.tolist() if isinstance(c, np.ndarray) else c for c in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]
