"""Checks of the nested state of a training that comes from a file."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from imbtorch.modules._state import is_extra, other_buffers, unset_buffers
from imbtorch.training.callbacks import BestEpoch
from imbtorch.training.schedules import LossSchedule

__all__ = [
    "are_texts",
    "check_buffers",
    "check_fits",
    "check_history",
    "check_module",
    "check_monitor",
    "checked_optimizer",
    "is_finite",
]

_NUMBERS = ("lr", "dur", "train_loss", "valid_loss", "valid_score")  # in a record of an epoch
_LOCAL = ("lr", "fused", "foreach", "capturable")  # an optimizer's, from a schedule or the device


def check_fits(value: Any, like: Any, place: str) -> None:
    """Raise ValueError if a value from a file does not have the form of an example.

    Parameters
    ----------
    value : object
        Nested state from a file.
    like : object
        Example of it. Dicts must have the same keys, lists and tuples the same length, tensors
        and arrays the same dtype and shape, numbers and all else the same type. Numbers must be
        finite where those of the example are, and integers at least 0.
    place : str
        Name of the value, for messages.

    Raises
    ------
    ValueError
        If the value does not fit.

    Examples
    --------
    >>> check_fits({"count": 3}, {"count": 0}, "average")
    >>> check_fits({"count": "3"}, {"count": 0}, "average")
    Traceback (most recent call last):
    ...
    ValueError: average.count is a str, expected a int.
    """
    if isinstance(like, Tensor | np.ndarray):
        _check_tensor(value, like, place)
    elif isinstance(like, float):
        if type(value) not in (int, float):
            raise ValueError(f"{place} is a {type(value).__name__}, expected a number.")
        if math.isfinite(like) and not math.isfinite(value):
            raise ValueError(f"{place} is not finite.")
    elif isinstance(like, dict):
        if not isinstance(value, dict) or value.keys() != like.keys():
            raise ValueError(f"{place} must have exactly the parts {sorted(map(str, like))}.")
        for key, example in like.items():
            check_fits(value[key], example, f"{place}.{key}")
    elif type(value) is not type(like):
        expected = type(like).__name__
        raise ValueError(f"{place} is a {type(value).__name__}, expected a {expected}.")
    elif isinstance(like, list | tuple):
        if len(value) != len(like):
            raise ValueError(f"{place} has {len(value)} values, expected {len(like)}.")
        for i, (item, example) in enumerate(zip(value, like, strict=True)):
            check_fits(item, example, f"{place}[{i}]")
    elif type(like) is int and not 0 <= value < 2**53:
        raise ValueError(f"{place} is out of range.")


def _check_tensor(value: Any, like: Any, place: str) -> None:
    if not isinstance(value, Tensor | np.ndarray) or isinstance(value, Tensor) != isinstance(
        like, Tensor
    ):
        raise ValueError(f"{place} is a {type(value).__name__}, expected numbers.")
    if (value.dtype, tuple(value.shape)) != (like.dtype, tuple(like.shape)):
        raise ValueError(
            f"{place} has dtype {value.dtype} and shape {tuple(value.shape)}, expected "
            f"{like.dtype} and {tuple(like.shape)}."
        )
    if not is_finite(value) and is_finite(like):
        raise ValueError(f"{place} has values that are not finite.")


def is_finite(value: Any) -> bool:
    """Return whether all numbers of a tensor or an array are finite."""
    return bool(torch.isfinite(torch.as_tensor(value)).all())


def check_module(value: Any, own: Mapping[str, Any], module: nn.Module, place: str) -> None:
    """Raise ValueError if the state of a module from a file does not fit the module.

    Parameters
    ----------
    value : object
        State from a file.
    own : mapping of str to object
        Present state of the module, by the same names.
    module : torch.nn.Module
        The module.
    place : str
        Name of the value, for messages.

    Raises
    ------
    ValueError
        If a name, a dtype or a shape differs. Shapes of buffers with ``persistent=False`` may
        differ, because they may be caches. The module itself checks its extra state.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{place} is a {type(value).__name__}, expected a dict.")
    unset = set(unset_buffers(module))  # they get a value in the first batch
    free = {**other_buffers(module), **dict.fromkeys(unset & value.keys())}
    check_fits(
        {name: item for name, item in value.items() if name not in free and not is_extra(name)},
        {name: item for name, item in own.items() if name not in free and not is_extra(name)},
        place,
    )
    if set(filter(is_extra, value)) != set(filter(is_extra, own)):
        raise ValueError(f"{place} has the extra state of other modules.")
    check_buffers(value, free, place)


def check_buffers(value: dict[str, Any], buffers: dict[str, Tensor | None], place: str) -> None:
    """Raise ValueError if buffers from a file do not fit; their shapes may differ.

    Parameters
    ----------
    value : dict
        State from a file.
    buffers : dict of str to Tensor or None
        Present buffers; None for one without a value.
    place : str
        Name of the value, for messages.

    Raises
    ------
    ValueError
        If a buffer is missing, or has another dtype or values that are not finite.
    """
    for name, buffer in buffers.items():
        found = value.get(name)
        if found is None and (name in value or buffer is None):
            continue
        if not isinstance(found, Tensor) or (buffer is not None and found.dtype != buffer.dtype):
            raise ValueError(f"{place}.{name} is missing, or is no tensor of the same dtype.")
        if buffer is not None and found.shape == buffer.shape:
            _check_tensor(found, buffer, f"{place}.{name}")


def check_history(records: Any, epoch: int) -> None:
    """Raise ValueError if these are not the records of all epochs up to this one.

    Parameters
    ----------
    records : object
        History from a file.
    epoch : int
        Number of the last epoch of the training, from 0.

    Raises
    ------
    ValueError
        If the history is not a list of dicts, or a record lacks a number.
    """
    if not isinstance(records, list) or len(records) != epoch + 1:
        raise ValueError(f"the history must have {epoch + 1} records.")
    for record in records:
        if not isinstance(record, dict) or not all(isinstance(name, str) for name in record):
            raise ValueError("a record of the history is not a dict with names.")
        numbers = [record[name] for name in _NUMBERS if name in record]
        if "train_loss" not in record or not all(type(n) in (int, float) for n in numbers):
            raise ValueError("a loss or a score in the history is missing or not a number.")
        if type(record.get("epoch")) is not int:
            raise ValueError("a record of the history has no number of its epoch.")


def checked_optimizer(optimizer: Any, state: Any, *, fixed: bool) -> dict[str, Any]:
    """Check the state of an optimizer before it is loaded: wrong shapes can end the process.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Optimizer that shall load the state.
    state : object
        What ``state_dict`` of the former optimizer returned.
    fixed : bool
        Whether nothing has changed the settings of the groups during the training.

    Returns
    -------
    dict
        The state, with this optimizer's own learning rates and choice of kernels.

    Raises
    ------
    ValueError
        If the state does not fit the optimizer and its parameters.
    """
    params = [param for group in optimizer.param_groups for param in group["params"]]
    own = optimizer.state_dict()["param_groups"]
    if not isinstance(state, dict) or state.keys() != {"state", "param_groups"}:
        raise ValueError("the optimizer must have the parts state and param_groups.")
    from_torch = type(optimizer).__module__.startswith("torch.optim")
    groups = state["param_groups"]
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ValueError("the groups of the optimizer are not valid.")
    local = [{k: group[k] for k in _LOCAL if k in group} for group in own]
    if len(groups) == len(own):
        groups = [{**group, **given} for group, given in zip(groups, local, strict=True)]
    check_fits(groups, own, "optimizer")
    if from_torch and fixed and repr(groups) != repr(own):
        raise ValueError("the optimizer has other settings.")
    like = _state_after_a_step(optimizer) if from_torch else None
    remembered = state["state"]
    if not isinstance(remembered, dict) or not remembered.keys() <= set(range(len(params))):
        raise ValueError("the optimizer has other parameters.")
    for index, values in remembered.items():
        if like is not None:
            check_fits(values, like.get(index), f"optimizer[{index}]")
        else:
            _check_remembered(values, params[index], f"optimizer[{index}]")
    return {"state": remembered, "param_groups": groups}


def _state_after_a_step(optimizer: Any) -> dict[int, Any] | None:
    """Return what a copy of an optimizer remembers after a step; None if it makes no step."""
    trial = copy.deepcopy(optimizer)
    for group in trial.param_groups:
        for param in group["params"]:
            param.grad = torch.zeros_like(param)
    try:
        type(trial).step(trial)
    except RuntimeError:  # such as an optimizer for sparse gradients only
        return None
    state: dict[int, Any] = trial.state_dict()["state"]
    return state


def _check_remembered(values: Any, param: Tensor, place: str) -> None:
    """Check the state of an optimizer of the user's own, whose form is not known."""
    if not isinstance(values, dict):
        raise ValueError(f"{place} is a {type(values).__name__}, expected a dict.")
    for name, value in values.items():
        if isinstance(value, Tensor):
            if value.numel() != 1 and value.shape != param.shape:
                raise ValueError(f"{place}.{name} has another shape than its parameter.")
            if not is_finite(value):
                raise ValueError(f"{place}.{name} has values that are not finite.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{place}.{name} is not finite.")


def check_monitor(monitor: Any, state: Any, epoch: int, net: Any) -> None:
    """Raise ValueError if a state does not fit a monitor of ``net`` after this epoch, from 0."""
    example = monitor.state()
    if isinstance(monitor, LossSchedule):
        values = dict.fromkeys(monitor.schedule)
        known = isinstance(state, dict) and state.keys() == example.keys()
        if not known or any(
            not isinstance(some, dict) or some.keys() != values.keys()
            for some in (state["values"], *state["by_epoch"].values())
        ):
            raise ValueError("the schedule of the loss has other parameters.")
        check_fits(state["epoch"], 0, "schedule")
        return
    if isinstance(monitor, BestEpoch) and isinstance(state, dict):
        if state.get("weights") is not None:  # none of an epoch are kept at first
            check_module(state["weights"], net.module_.state_dict(), net.module_, "weights")
            state, example = {**state, "weights": None}, {**example, "kept": 0}
        if (
            max(state.get("improved_in") or 0, state.get("kept") or 0) > epoch + 1
        ):  # they begin at 1
            raise ValueError("the best epoch is one that has not been trained.")
    check_fits(state, example, "monitor")


def are_texts(value: Any) -> bool:
    """Return whether a value is a dict with text for keys and values."""
    return isinstance(value, dict) and all(
        isinstance(text, str) for item in value.items() for text in item
    )
