"""Modules that return more than their logits: which part of the output counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["alone", "keep_logits", "logits_in"]


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
