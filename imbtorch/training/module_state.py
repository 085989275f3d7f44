"""What a checkpoint keeps of the module and of the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from imbtorch.modules._state import extra_state, is_extra, other_buffers, put_buffers
from imbtorch.training.packing import pack, unpack
from imbtorch.training.state import check_buffers, check_fits, is_finite

__all__ = ["load_loss", "load_module", "loss_state", "module_state"]


def module_state(module: nn.Module) -> dict[str, Any]:
    """Return parameters, all buffers and the extra state of a module.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.

    Returns
    -------
    dict of str to Tensor, None or object
        State by name; None for a buffer with ``persistent=False`` that has no value.

    Raises
    ------
    ValueError
        If a checkpoint cannot hold what ``get_extra_state`` returns.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {**tensors, **other_buffers(module), **_extra_of(module)}


def loss_state(loss: nn.Module) -> dict[str, Any]:
    """Return the ``state_dict`` of a loss, and the buffers that it leaves out.

    Parameters
    ----------
    loss : torch.nn.Module
        Loss of any class.

    Returns
    -------
    dict of str to Tensor, None or object
        State by name; None for a buffer with ``persistent=False`` that has no value.

    Raises
    ------
    ValueError
        If a checkpoint cannot hold what ``get_extra_state`` returns.
    """
    return {**loss.state_dict(), **_buffers_of_loss(loss), **_extra_of(loss)}


def _buffers_of_loss(loss: nn.Module) -> dict[str, Tensor | None]:
    """Return the buffers that ``state_dict`` of a loss leaves out, but not the empty one."""
    return {name: b for name, b in other_buffers(loss).items() if name.split(".")[-1] != "_home"}


def _extra_of(module: nn.Module) -> dict[str, Any]:
    """Return what ``get_extra_state`` returns; raise ValueError if a checkpoint cannot hold it."""
    kept = {}
    for name, (part, value) in extra_state(module).items():
        try:
            unpack(pack({name: value}))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"A checkpoint cannot hold {name}, which {type(part).__name__}.get_extra_state() "
                f"returns: {error}. It may hold numbers, text, None, dense tensors, arrays of "
                "numbers, and lists, tuples and dicts of these, with text or integers as keys. "
                "Change it, or train with checkpoint=None."
            ) from error
        kept[name] = value
    return kept


@torch.no_grad()
def load_module(module: nn.Module, values: dict[str, Any]) -> None:
    """Restore what :func:`module_state` returned; it has been checked.

    Parameters
    ----------
    module : torch.nn.Module
        Module of a training that is about to start.
    values : dict of str to Tensor, None or object
        Saved state.
    """
    for name, parameter in module.named_parameters():
        parameter.copy_(values[name])
    put_buffers(module, values)
    for name, (part, _) in extra_state(module).items():
        part.set_extra_state(values[name])


def load_loss(net: Any, state: Any, epoch: int) -> None:
    """Load what the loss has learned, and try it: it may hold rows, of which any number fits.

    Parameters
    ----------
    net : Net
        Net of a training that is about to start.
    state : dict of str to Tensor, None or object
        Saved state of its loss.
    epoch : int
        Number of the next epoch, from 0.

    Raises
    ------
    ValueError
        If the state does not fit the loss.
    """
    loss = net.criterion_
    own = {name: value for name, value in loss.state_dict().items() if not is_extra(name)}
    check_fits({name: state.get(name) for name in own}, own, "loss")
    buffers = _buffers_of_loss(loss)
    check_buffers(state, buffers, "loss")
    more = set(state) - set(own) - set(buffers) - set(extra_state(loss))
    unprepared = {name for name, value in loss.named_buffers(remove_duplicate=False)}
    unprepared |= {name for name, value in loss._buffers.items() if value is None}
    for name in more:
        if name not in unprepared or not isinstance(state[name], Tensor):
            raise ValueError(f"the loss has no {name}.")
        if not is_finite(state[name]):
            raise ValueError(f"loss.{name} has values that are not finite.")
    put_buffers(loss, {name: state[name] for name in buffers if name in state})
    loss.load_state_dict({name: value for name, value in state.items() if name not in buffers})
    if more:
        loss.set_epoch(epoch)
        with torch.no_grad():
            zeros = torch.zeros(2, net.n_outputs, dtype=net.dtype, device=net.device)
            net.criterion_.train(False)
            net.try_loss(zeros)
