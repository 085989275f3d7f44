"""Everything that a module's outputs depend on, to be put back later."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["full_state", "restore_full_state"]


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
    """
    state = {**module.state_dict(), **_other_buffers(module)}
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in state.items()
    }


@torch.no_grad()
def restore_full_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Put back what :func:`full_state` returned.

    Parameters
    ----------
    module : torch.nn.Module
        The same module.
    state : dict of str to Tensor or object
        Its former state.
    """
    others = _other_buffers(module)
    module.load_state_dict({name: state[name] for name in state if name not in others})
    for name in others.keys() & state.keys():
        owner, _, key = name.rpartition(".")
        buffer, value = others[name], state[name]
        if buffer.shape == value.shape:
            buffer.copy_(value)
        else:  # a cache for batches of another size
            module.get_submodule(owner)._buffers[key] = value.clone()


def _other_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that ``state_dict`` leaves out, by name."""
    found = {}
    for prefix, part in module.named_modules():
        for name in part._non_persistent_buffers_set:
            buffer = part._buffers.get(name)
            if buffer is not None:
                found[f"{prefix}.{name}".lstrip(".")] = buffer
    return found
