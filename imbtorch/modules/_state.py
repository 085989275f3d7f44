"""Everything that a module's outputs depend on, to be put back later."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "extra_state",
    "full_state",
    "is_extra",
    "other_buffers",
    "put_buffers",
    "restore_full_state",
    "unset_buffers",
]

_EXTRA = "_extra_state"  # last part of the name that state_dict gives to an extra state


def full_state(module: nn.Module) -> dict[str, Any]:
    """Copy parameters, all buffers and whatever ``get_extra_state`` returns.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.

    Returns
    -------
    dict of str to Tensor or object
        Copies: those of ``state_dict``, and of buffers with ``persistent=False``, which it lacks.
        None stands for a buffer without a value.
    """
    state = {**module.state_dict(), **other_buffers(module), **dict.fromkeys(unset_buffers(module))}
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in state.items()
    }


def restore_full_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Put back what :func:`full_state` returned.

    Parameters
    ----------
    module : torch.nn.Module
        The same module.
    state : dict of str to Tensor or object
        Its former state.
    """
    put_buffers(module, state)  # first: load_state_dict needs buffers of the right shapes
    others = {*other_buffers(module), *unset_buffers(module)}
    module.load_state_dict({name: state[name] for name in state if name not in others})


def other_buffers(module: nn.Module) -> dict[str, Tensor | None]:
    """Return the buffers that ``state_dict`` leaves out.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.

    Returns
    -------
    dict of str to Tensor or None
        Buffers registered with ``persistent=False``, by name; None for one without a value.
    """
    return {
        name: part._buffers[key]
        for name, part, key in _places(module)
        if key in part._non_persistent_buffers_set
    }


def unset_buffers(module: nn.Module) -> list[str]:
    """Return the names of the buffers that have no value."""
    return [name for name, part, key in _places(module) if part._buffers[key] is None]


def _places(module: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Return name, part of the module and key in this part of each buffer."""
    return [
        (f"{prefix}.{key}".lstrip("."), part, key)
        for prefix, part in module.named_modules(remove_duplicate=False)
        for key in part._buffers
    ]


@torch.no_grad()
def put_buffers(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Set the buffers of a module, whose shapes may differ from those of the new values.

    Parameters
    ----------
    module : torch.nn.Module
        Module whose buffers are set.
    state : mapping of str to Tensor or None
        New values by the names of the buffers. Names of anything else are ignored, and buffers
        that it does not name keep their values.
    """
    places = (p.device for p in module.parameters() if not p.is_meta)
    home = next(places, torch.device("cpu"))
    for name, part, key in _places(module):
        if name not in state:
            continue
        buffer, value = part._buffers[key], state[name]
        if value is None:
            part._buffers[key] = None
        elif buffer is None or not _can_hold(buffer, value):
            device = home if buffer is None or buffer.is_meta else buffer.device
            part._buffers[key] = value.to(device, copy=True)
        elif buffer.data_ptr() != value.data_ptr():  # else it was read into the buffer
            buffer.copy_(value)


def _can_hold(buffer: Tensor, value: Tensor) -> bool:
    """Return whether a value can be copied into a buffer, so that views of it change, too."""
    same = buffer.shape == value.shape and buffer.dtype == value.dtype
    return same and not buffer.is_meta and (buffer.is_contiguous() or 0 not in buffer.stride())


def is_extra(name: object) -> bool:
    """Return whether ``state_dict`` gives this name to the extra state of a module."""
    return isinstance(name, str) and name.rpartition(".")[2] == _EXTRA


def extra_state(module: nn.Module) -> dict[str, tuple[nn.Module, Any]]:
    """Return what ``get_extra_state`` of each part of a module returns.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.

    Returns
    -------
    dict of str to tuple of torch.nn.Module and object
        Part of the module and its extra state, by the name that ``state_dict`` gives to it.

    Raises
    ------
    ValueError
        If a class has ``get_extra_state`` but not ``set_extra_state``.
    """
    found = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        cls = type(part)
        if cls.get_extra_state is nn.Module.get_extra_state:
            continue
        if cls.set_extra_state is nn.Module.set_extra_state:
            raise ValueError(
                f"{cls.__name__} has get_extra_state, but not set_extra_state: what it returns "
                "cannot be put back. Define set_extra_state(state) in this class."
            )
        found[f"{prefix}.{_EXTRA}".lstrip(".")] = part, part.get_extra_state()
    return found
