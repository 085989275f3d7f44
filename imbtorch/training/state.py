"""The nested state of a training: a JSON text and a few tensors, and the checks of its form."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imbtorch.training.callbacks import BestEpoch
from imbtorch.training.schedules import LossSchedule

__all__ = [
    "MAX_RECORDS",
    "are_texts",
    "check_fits",
    "check_history",
    "check_monitor",
    "checked_optimizer",
    "is_finite",
    "pack",
    "unpack",
]

_NUMBERS = ("lr", "dur", "train_loss", "valid_loss", "valid_score")  # in a record of an epoch
_LOCAL = ("lr", "fused", "foreach", "capturable")  # an optimizer's, from a schedule or the device
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
        The state; numpy scalars have become Python numbers.

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
        if _is_table(value):
            columns = {name: _column([record[name] for record in value]) for name in value[0]}
            return {"table": _packed(columns, tensors, place)}
        return [_packed(item, tensors, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"tuple": _packed(list(value), tensors, place)}
    if isinstance(value, dict) and all(isinstance(key, str | int) for key in value):
        pairs = [[key, _packed(item, tensors, f"{place}[{key!r}]")] for key, item in value.items()]
        return {"dict": pairs}
    raise TypeError(f"{place} is a {type(value).__name__}; checkpoints cannot hold it: {value!r}")


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
            example |= {"weights": dict(net.module_.state_dict()), "kept": 0}
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
