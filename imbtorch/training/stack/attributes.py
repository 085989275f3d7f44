"""Compare what modules hold besides parameters and buffers: rates, temperatures, counters."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["IncomparableError", "attributes_of", "changed_by_forward"]

# Recurrent layers of torch list their parameters once more.
_NOT_COMPARED = {*vars(nn.Module()), "_flat_weights", "_flat_weight_refs", "_flat_weights_names"}
_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, np.dtype, np.generic)


class IncomparableError(Exception):
    """An attribute cannot be compared between nets; the message says which one."""


def attributes_of(module: nn.Module) -> tuple[Any, ...]:
    """Return a key that is equal for two modules whose layers hold equal attributes.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.

    Returns
    -------
    tuple
        Name, attribute and description of its value, for all layers; hashable.

    Raises
    ------
    IncomparableError
        If a value cannot be compared, or is a parameter that a mapped module would not see.
    """
    described = _Described(module)
    return tuple(
        (name, key, described(value, f"{name}.{key}".lstrip(".")))
        for name, layer in module.named_modules()
        for key, value in sorted(vars(layer).items())
        if key not in _NOT_COMPARED
    )


class _Described:
    """Describe values by what they hold, so that equal values have equal descriptions."""

    def __init__(self, module: nn.Module) -> None:
        self.name = type(module).__name__
        self.layers = {id(layer): name for name, layer in module.named_modules()}
        self.own = {_memory(tensor) for tensor in _tensors(module).values()}
        self.seen: dict[int, Any] = {}  # the values keep the ids valid

    def __call__(self, value: Any, place: str) -> Any:
        if value is None or isinstance(value, _PLAIN):
            return type(value), repr(value)
        if isinstance(value, Enum):
            return type(value), value.name
        if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
            return "object", id(value)
        if id(value) in self.layers:
            return "layer", self.layers[id(value)]
        if id(value) in self.seen:
            return "seen", place
        self.seen[id(value)] = value
        parts = list(self._parts(value, place))
        return (type(value), *(self(part, place) for part in parts))

    def _parts(self, value: Any, place: str) -> Iterator[Any]:
        """Yield simpler values that make up this one."""
        if isinstance(value, Tensor):
            yield from self._of_tensor(value, place)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            yield from (value.dtype, value.shape, hashlib.sha256(value.tobytes()).digest())
        elif type(value) in (list, tuple, torch.Size):
            yield from value
        elif type(value) in (set, frozenset):
            yield from sorted(value, key=repr)
        elif isinstance(value, dict):
            yield from (part for pair in value.items() for part in pair)
        elif isinstance(value, types.FunctionType):
            yield from (value.__module__, value.__qualname__, repr(value.__code__.co_consts))
            yield value.__code__.co_code
            yield from (value.__defaults__, value.__kwdefaults__)
            yield from (cell.cell_contents for cell in value.__closure__ or ())
        elif isinstance(value, types.MethodType):
            yield from (value.__func__, value.__self__)
        elif isinstance(value, functools.partial):
            yield from (value.func, value.args, value.keywords)
        elif isinstance(value, nn.Module):
            yield vars(value)
        else:
            yield self._hashed(value, place)

    def _of_tensor(self, value: Tensor, place: str) -> Iterator[Any]:
        if _memory(value) in self.own:
            raise IncomparableError(
                f"{self.name} keeps a parameter or buffer in the attribute {place}, too"
            )
        numbers = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        yield from (value.dtype, value.device, str(value.shape))
        yield hashlib.sha256(numbers.tobytes()).digest()

    def _hashed(self, value: Any, place: str) -> Any:
        try:
            return joblib.hash(value)
        except Exception as error:  # pickle raises many types of errors
            raise IncomparableError(
                f"the attribute {place} of {self.name}, a {type(value).__name__}, cannot be "
                "compared between nets"
            ) from error


def changed_by_forward(module: nn.Module, x: Tensor) -> str | None:
    """Return what ``forward`` changes in a way that a mapped module cannot; None if nothing.

    Parameters
    ----------
    module : torch.nn.Module
        A copy that may be spoilt.
    x : Tensor of shape (b, ...)
        A few rows.

    Returns
    -------
    str or None
        The reason as a main clause. Buffers that are changed in place are no reason.
    """
    name = type(module).__name__
    for mode in (True, False):
        module.train(mode)
        attributes, tensors = attributes_of(module), _tensors(module)
        places = {key: _memory(tensor) for key, tensor in tensors.items()}
        module(x.clone())
        try:
            same = attributes_of(module) == attributes
        except IncomparableError:
            same = False
        if not same:
            return f"forward of {name} changes attributes of the module"
        after = _tensors(module)
        for key in tensors.keys() | after.keys():
            if tensors.get(key) is not after.get(key) or places[key] != _memory(after[key]):
                return f"forward of {name} assigns {key} instead of changing it in place"
    return None


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _memory(tensor: Tensor) -> int:
    """Return the address of the memory; tensors of no elements have none, so they are no views."""
    return tensor.untyped_storage().data_ptr() or id(tensor)
