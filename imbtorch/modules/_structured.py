"""Modules that return more than their logits: which part of the output is what."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "alone",
    "entry_of",
    "in_dtype",
    "keep_logits",
    "logits_in",
    "module_with_logits",
    "names_in",
]


def logits_in(output: Any) -> Any:
    """Return the logits among what a module returns.

    Parameters
    ----------
    output : object
        A tensor; a mapping or an object with ``logits``, as models of ``transformers`` return it; a
        tuple or list, whose first entry counts.

    Returns
    -------
    Tensor or object
        The logits; anything else is returned as it is.

    Examples
    --------
    >>> import torch
    >>> z = torch.zeros(2, 3)
    >>> all(logits_in(output) is z for output in (z, (z, None), {"loss": None, "logits": z}))
    True
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        found = output.get("logits")
    elif hasattr(output, "logits"):
        found = output.logits
    else:
        found = output[0] if isinstance(output, tuple | list) and output else None
    return found if isinstance(found, Tensor) else output


def alone(module: nn.Module, args: Any, output: Any) -> Tensor | None:
    """Forward hook of a module: its logits replace what it returns."""
    found = logits_in(output)
    return None if found is output else found


def keep_logits(module: nn.Module) -> bool:
    """Let a module return its logits alone, if it can have hooks: a scripted module cannot.

    Returns
    -------
    bool
        Whether it returns them alone from now on.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return False
    if alone not in module._forward_hooks.values():
        module.register_forward_hook(alone)
    return True


# -- what is beside the logits --------------------------------------------------------------------


def module_with_logits(module: nn.Module) -> nn.Module:
    """Return the part of a module that returns more than logits: itself, or a last layer.

    Parameters
    ----------
    module : torch.nn.Module
        Module of a net.
    """
    while isinstance(module, nn.Sequential) and len(module):
        if alone in module._forward_hooks.values():
            break
        module = module[-1]
    return module


def entry_of(output: Any, name: str) -> Any:
    """Return what has this name among what a module returns; None if nothing has it.

    Parameters
    ----------
    output : object
        What a module returns.
    name : str
        Key of a mapping, or attribute of an object or a named tuple.

    Examples
    --------
    >>> from imbtorch.modules._structured import entry_of
    >>> entry_of({"logits": 1, "balance": 2}, "balance")
    2
    """
    if isinstance(output, Mapping):
        return output.get(name)
    return getattr(output, name, None) if _has_names(output) else None


def names_in(output: Any) -> list[str]:
    """Return the names of what a module returns; none if it is a tensor, tuple or list."""
    if isinstance(output, Mapping):
        return list(map(str, output))
    if not _has_names(output):
        return []
    return list(getattr(output, "_fields", ())) or [n for n in dir(output) if n[0] != "_"]


def _has_names(output: Any) -> bool:
    return not isinstance(output, Tensor | list) and type(output) is not tuple


def in_dtype(output: Any, dtype: torch.dtype) -> Any:
    """Return what a module returns, with all tensors of floats in one dtype.

    Parameters
    ----------
    output : object
        A tensor, or a mapping, a tuple, a list or an object of tensors, also of each other.
    dtype : torch.dtype
        Dtype of floats.

    Returns
    -------
    object
        A copy of the same type; the tensors keep their gradients. Other values are as they were.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules._structured import in_dtype
    >>> in_dtype({"logits": torch.zeros(1, dtype=torch.bfloat16)}, torch.float32)
    {'logits': tensor([0.])}
    """
    if isinstance(output, Tensor):
        return output.to(dtype) if output.is_floating_point() else output
    if isinstance(output, Mapping):
        copied: Any = copy.copy(output)
        for key, value in output.items():
            copied[key] = in_dtype(value, dtype)
        return copied
    if isinstance(output, tuple | list):
        parts = [in_dtype(value, dtype) for value in output]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    if hasattr(output, "__dict__") and not callable(output):
        copied = copy.copy(output)
        vars(copied).update({key: in_dtype(value, dtype) for key, value in vars(output).items()})
        return copied
    return output
