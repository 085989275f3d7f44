"""Modules with several inputs: the arrays of ``X`` become the arguments of ``forward``."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from imbtorch._common.inputs import (
    InputBatch,
    Key,
    PaddedSteps,
    RowDtype,
    batch_of,
    lengths_key,
    sequence_keys,
    shapes_by_key,
)

__all__ = [
    "Spread",
    "check_arguments",
    "in_float32",
    "part_dtypes",
    "sequences_advice",
    "spread_of",
    "take_parts",
    "zero_rows",
]

_MOST_TRIED = 4  # inputs of integers whose dtypes are tried in every combination


@dataclass(frozen=True)
class Spread:
    """Forward pre-hook of a module: the tensors of a batch become its arguments.

    Attributes
    ----------
    sequences : tuple of str or int
        Inputs that are sequences of unequal length.
    names : tuple of str
        Names of the inputs in the order of the fit, in which ``forward(**inputs)`` gets them.
    further : tuple of (str, str or int, str)
        Further arguments that ``forward`` names: the name, the sequences that it belongs to, and
        which of :data:`_FURTHER` it is.
    """

    sequences: tuple[Key, ...] = ()
    names: tuple[Key, ...] = ()
    further: tuple[tuple[str, Key, str], ...] = ()

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        """Return the arguments of ``forward``."""
        if len(args) == 1 and isinstance(args[0], InputBatch):
            by_position, by_name = self.arguments(args[0])
            return by_position, {**kwargs, **by_name}
        return None

    def arguments(self, batch: InputBatch) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Return the arguments by position and by name."""
        by_position, given = batch.arguments
        by_name = {str(name): given[str(name)] for name in self.names or given}
        for name, key, kind in self.further:
            by_name[name] = _further(kind, batch.parts[key], batch.parts[lengths_key(key)])
        return by_position, by_name


_FURTHER = ("lengths", "mask", "attention_mask")  # what forward may ask for beside sequences


def _further(kind: str, values: Tensor, lengths: Tensor) -> Tensor:
    """Return the lengths of sequences, or a mask that is true where a step is no padding."""
    if kind == "lengths":
        return lengths
    mask = torch.arange(values.shape[1], device=values.device) < lengths.unsqueeze(1)
    return mask if kind == "mask" else mask.to(torch.int64)


def _spread_for(module: nn.Module, input_shape: Any) -> Spread:
    """Find out which further arguments the ``forward`` of a module names."""
    sequences, shapes = sequence_keys(input_shape), shapes_by_key(input_shape) or {}
    inputs = () if 0 in shapes else tuple(shapes)
    try:
        parameters = inspect.signature(module.forward).parameters
    except (TypeError, ValueError):  # of a function that is not written in Python
        return Spread(tuple(sequences), inputs)
    names = list(parameters)
    hidden = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if sequences and hidden and not any(name.endswith(_FURTHER) for name in names):
        warnings.warn(
            f"forward of {type(module).__name__} has **{names[-1]}, but names none of "
            f"{', '.join(_FURTHER)}: it gets padded sequences without them. Name what it needs.",
            UserWarning,
            stacklevel=2,
        )
    free = [name for name in names[len(shapes) if 0 in shapes else 0 :] if name not in shapes]
    known = {f"{key}_{kind}": (key, kind) for key in sequences for kind in _FURTHER}
    if len(sequences) == 1:
        known |= {kind: (sequences[0], kind) for kind in _FURTHER}
    elif ambiguous := [name for name in free if sequences and name in _FURTHER]:
        raise ValueError(
            f"forward of {type(module).__name__} takes {ambiguous[0]!r}, but X has the sequences "
            f"{sequences}, and it is not clear whose {ambiguous[0]} are meant. Give X as a mapping "
            f"and name the input in the argument, as in 'text_{ambiguous[0]}' for X['text']."
        )
    return Spread(tuple(sequences), inputs, tuple((n, *known[n]) for n in free if n in known))


def sequences_advice(error: Exception) -> str:
    """Return what to add to the message of a module that lacks the lengths of its sequences."""
    if any(f"missing 1 required positional argument: '{name}'" in str(error) for name in _FURTHER):
        return (
            " X is one array of rows of one length here, which has neither lengths nor masks. If "
            "its rows are sequences, give imbtorch.Sequences(X)."
        )
    return ""


def spread_of(module: nn.Module) -> Spread | None:
    """Return what makes arguments of the batches of a module; None with a single input."""
    hooks = module._forward_pre_hooks.values()
    return next((hook for hook in hooks if isinstance(hook, Spread)), None)


def take_parts(module: nn.Module, input_shape: Any) -> None:
    """Let a module take the batches of several inputs.

    Raises
    ------
    ValueError
        If it is a scripted module, which cannot have hooks, or a compiled one; or if its
        ``forward`` asks for the lengths of one of several sequences and does not say of which.
    """
    if hasattr(module, "_orig_mod"):
        raise ValueError(
            "What torch.compile returns cannot have several inputs here. Call it in forward of a "
            "module around it."
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(
            "A scripted module cannot have several inputs here, because it takes no hooks. Call it "
            "in forward of a module around it."
        )
    spread = _spread_for(module, input_shape)
    hooks = module._forward_pre_hooks
    for number in [number for number, hook in hooks.items() if isinstance(hook, Spread)]:
        hooks[number] = spread  # of a module that was trained on other inputs
        return
    module.register_forward_pre_hook(spread, with_kwargs=True)


def check_arguments(module: nn.Module, batch: InputBatch) -> None:
    """Raise ValueError if ``forward`` of a module does not take the inputs."""
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # of a function that is not written in Python
        return
    spread = spread_of(module) or Spread()
    by_position, by_name = spread.arguments(batch)
    try:
        signature.bind(*by_position, **by_name)
    except TypeError as error:
        given = batch.arguments[1]
        what = f"the keys {list(given)}" if given else f"{len(by_position)} arrays in a tuple"
        how = (
            "The keys of a mapping are the names of the arguments of forward; arrays in a tuple "
            "are its arguments in their order."
        )
        if spread.sequences:
            how += f" With sequences, forward may also name {', '.join(_FURTHER)}."
            what = what if given else "sequences of unequal length"
        raise ValueError(
            f"X has {what}, but forward of {type(module).__name__} takes {signature}: {error}. "
            f"{how}"
        ) from error


def part_dtypes(
    module: nn.Module, dtype: torch.dtype, integers: dict[Key, bool]
) -> tuple[dict[Key, torch.dtype], ...]:
    """Return the dtypes in which a module may get its inputs, the preferred ones first.

    The attribute ``takes_integers`` of the module decides: the names (or positions) of the inputs
    that are int64; True for all that are of an integer type; False for none. Without it, inputs of
    an integer type are int64 where the module can compute with them, else ``dtype``.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.
    dtype : torch.dtype
        Dtype to compute in.
    integers : dict of str or int to bool
        Which inputs are of an integer type.

    Returns
    -------
    tuple of dict
        Dtypes by input, to be tried one after the other.

    Raises
    ------
    ValueError
        If ``takes_integers`` names an input that is not there.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from imbtorch.modules._several_inputs import part_dtypes
    >>> tried = part_dtypes(nn.Bilinear(2, 2, 1), torch.float32, {"ids": True, "table": False})
    >>> [dtypes["ids"] for dtypes in tried]
    [torch.int64, torch.float32]
    """
    tag = getattr(module, "takes_integers", None)
    plain = dict.fromkeys(integers, dtype)
    whole = [key for key, is_integer in integers.items() if is_integer]
    if isinstance(tag, Collection):
        named = [tag] if isinstance(tag, str) else list(tag)
        unknown = [key for key in named if key not in integers]
        if unknown:
            raise ValueError(
                f"takes_integers of {type(module).__name__} names {unknown}, but the inputs in X "
                f"are {list(integers)}."
            )
        return (plain | dict.fromkeys(named, torch.int64),)
    if tag is not None:
        return (plain | dict.fromkeys(whole, torch.int64) if tag else plain,)
    if len(whole) > _MOST_TRIED:
        return plain | dict.fromkeys(whole, torch.int64), plain
    return tuple(
        plain | dict(zip(whole, chosen, strict=True))
        for chosen in product((torch.int64, dtype), repeat=len(whole))
    )


def in_float32(dtype: RowDtype | None) -> RowDtype | None:
    """Return what is left of the dtypes of rows when a net is copied to float32."""
    if isinstance(dtype, dict):
        return {k: torch.float32 if d.is_floating_point else d for k, d in dtype.items()}
    return torch.float32 if dtype is not None and dtype.is_floating_point else dtype


def zero_rows(input_shape: Any, dtype: RowDtype, *, n_steps: int = 1) -> Any:
    """Return two rows of zeros: a tensor, or the batch of several inputs.

    Sequences have so many steps.
    """
    shapes = shapes_by_key(input_shape)
    if shapes is None:
        assert isinstance(dtype, torch.dtype)
        return torch.zeros(2, *input_shape, dtype=dtype)
    assert isinstance(dtype, dict)
    parts: dict[Key, Tensor | PaddedSteps] = {}
    for key, shape in shapes.items():
        sizes = [n_steps if size is None else size for size in shape]
        zeros = torch.zeros(2, *sizes, dtype=dtype[key])
        is_sequence = shape[:1] == (None,)
        lengths = torch.full((2,), n_steps)
        parts[key] = PaddedSteps(zeros, lengths) if is_sequence else zeros
    return batch_of(parts)
