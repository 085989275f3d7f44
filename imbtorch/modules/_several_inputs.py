"""Modules with several inputs: the arrays of ``X`` become the arguments of ``forward``."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from itertools import product
from typing import Any

import torch
from torch import nn

from imbtorch._common.inputs import InputBatch, Key, RowDtype, shapes_by_key

__all__ = ["check_arguments", "in_float32", "part_dtypes", "spread", "take_parts", "zero_rows"]

_MOST_TRIED = 4  # inputs of integers whose dtypes are tried in every combination


def spread(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any] | None:
    """Forward pre-hook of a module: the tensors of a batch become its arguments."""
    if len(args) == 1 and isinstance(args[0], InputBatch):
        by_position, by_name = args[0].arguments
        return by_position, {**kwargs, **by_name}
    return None


def take_parts(module: nn.Module) -> None:
    """Let a module take the batches of several inputs.

    Raises
    ------
    ValueError
        If it is a scripted module, which cannot have hooks.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(
            "A scripted module cannot have several inputs here, because it takes no hooks. Call it "
            "in forward of a module around it."
        )
    if spread not in module._forward_pre_hooks.values():
        module.register_forward_pre_hook(spread, with_kwargs=True)


def check_arguments(module: nn.Module, batch: InputBatch) -> None:
    """Raise ValueError if ``forward`` of a module does not take the inputs."""
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # of a function that is not written in Python
        return
    by_position, by_name = batch.arguments
    try:
        signature.bind(*by_position, **by_name)
    except TypeError as error:
        what = f"the keys {list(by_name)}" if by_name else f"{len(by_position)} arrays in a tuple"
        raise ValueError(
            f"X has {what}, but forward of {type(module).__name__} takes {signature}: {error}. The "
            "keys of a mapping are the names of the arguments of forward; arrays in a tuple are "
            "its arguments in their order."
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


def zero_rows(input_shape: Any, dtype: RowDtype) -> Any:
    """Return two rows of zeros: a tensor, or the batch of several inputs."""
    shapes = shapes_by_key(input_shape)
    if shapes is None:
        assert isinstance(dtype, torch.dtype)
        return torch.zeros(2, *input_shape, dtype=dtype)
    assert isinstance(dtype, dict)
    return InputBatch(
        {key: torch.zeros(2, *shape, dtype=dtype[key]) for key, shape in shapes.items()}
    )
