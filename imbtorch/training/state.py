"""Nested state of a training as one JSON text and a few tensors, and back, without pickle."""

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
    """Take nested state apart.

    Parameters
    ----------
    state : dict, list, tuple, Tensor, ndarray, number, str, bool or None
        Nested to any depth; keys of dicts are strings or integers.

    Returns
    -------
    dict of str to Tensor
        The tensors, and the bytes of the text that says how they belong together.

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
    """Put nested state together again.

    Parameters
    ----------
    tensors : dict of str to Tensor
        As :func:`pack` returned them.

    Returns
    -------
    object
        The state; numbers of numpy have become Python's.

    Raises
    ------
    ValueError
        If these are not the tensors of a state.
    """
    try:
        text = bytes(tensors[_STRUCTURE].numpy())
        return _unpacked(json.loads(text), tensors)
    except (KeyError, TypeError, IndexError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"This is not the state of a training: {error!r}.") from error


def _packed(value: Any, tensors: dict[str, Tensor], place: str) -> Any:
    """JSON form of a value; what is not plain becomes a dict of one key that names its kind."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return _packed(value.item(), tensors, place)
    if isinstance(value, int):
        return value
    if isinstance(value, float):  # JSON's digits give back the same bits
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
    raise TypeError(f"{place} is a {type(value).__name__}, which no checkpoint can hold: {value!r}")


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
