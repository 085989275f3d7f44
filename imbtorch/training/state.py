"""Convert the nested state of a training to one JSON text and a few tensors, and back."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["pack", "unpack"]

_STRUCTURE = "structure"  # name of the tensor that holds the JSON text


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
        The state; numpy scalars have become Python numbers.

    Raises
    ------
    ValueError
        If the tensors do not describe a state.
    """
    try:
        text = bytes(tensors[_STRUCTURE].numpy())
        return _unpacked(json.loads(text), tensors)
    except (KeyError, TypeError, IndexError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"This is not the state of a training: {error!r}.") from error


def _packed(value: Any, tensors: dict[str, Tensor], place: str) -> Any:
    """Convert a value to JSON; a value that JSON lacks becomes a dict with its type as only key."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return _packed(value.item(), tensors, place)
    if isinstance(value, int):
        return value
    if isinstance(value, float):  # JSON keeps enough digits to restore the same bits
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Tensor | np.ndarray):
        name = str(len(tensors))
        if isinstance(value, Tensor):
            tensors[name] = value.detach()
            return {"tensor": name}
        tensors[name] = torch.from_numpy(np.array(value))
        return {"array": name}
    if isinstance(value, list):
        return [_packed(item, tensors, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"tuple": _packed(list(value), tensors, place)}
    if isinstance(value, dict) and all(isinstance(key, str | int) for key in value):
        pairs = [[key, _packed(item, tensors, f"{place}[{key!r}]")] for key, item in value.items()]
        return {"dict": pairs}
    raise TypeError(f"{place} is a {type(value).__name__}; checkpoints cannot hold it: {value!r}")


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
    if kind == "tuple":
        return tuple(_unpacked(content, tensors))
    if kind == "dict":
        return {key: _unpacked(item, tensors) for key, item in content}
    raise KeyError(kind)
