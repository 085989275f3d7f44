"""What to say about a module that cannot compute the rows that it gets."""

from __future__ import annotations

from torch import Tensor, nn

from imbtorch._common.inputs import InputBatch
from imbtorch.modules._several_inputs import sequences_advice

__all__ = ["failure"]

_INTEGERS = (
    " Rows are floats, and X has values that are not whole numbers, or another layer comes first: "
    "call x.long() in forward before the embedding, or give X of an integer type and set "
    "takes_integers = True in the class of the module."
)


_NO_COMPILER = (
    " torch.compile needs a C++ compiler, such as g++: install one, or give the module without "
    "torch.compile."
)


def failure(module: nn.Module, rows: Tensor | InputBatch, n_outputs: int, error: Exception) -> str:
    """Write the message for a module that fails on a few rows.

    Parameters
    ----------
    module : torch.nn.Module
        Module that has failed.
    rows : Tensor or InputBatch
        What it got.
    n_outputs : int
        Number of outputs that it should have.
    error : Exception
        What it has raised.
    """
    sized = (
        f" to (n, {n_outputs}). To size it from the data, give a class or function of "
        "(input_shape, n_outputs)."
    )
    name = type(module).__name__
    if isinstance(rows, InputBatch):
        return (
            f"{name} failed on a batch of the inputs ({rows!r}): {error}. takes_integers of the "
            f"module names the inputs that it gets as int64. A module maps the inputs{sized}"
        )
    return (
        f"{name} failed on a batch of shape {tuple(rows.shape)}, dtype {rows.dtype}: {error}."
        f"{_advice_on(error)}{sequences_advice(error)} A module maps "
        f"(n, {', '.join(map(str, rows.shape[1:]))}){sized}"
    )


def _advice_on(error: Exception) -> str:
    """Say what to do about an error of the module, where it is known."""
    if "scalar types: Long" in str(error):
        return _INTEGERS
    return _NO_COMPILER if "C++ compiler" in str(error) else ""
