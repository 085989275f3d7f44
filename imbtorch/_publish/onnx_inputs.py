"""The inputs of an ONNX file of a net that has several inputs, or sequences of unequal length."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from imbtorch._common.inputs import (
    InputBatch,
    Key,
    RowDtype,
    is_one_sequence,
    lengths_key,
    sequence_keys,
)
from imbtorch._publish.onnx_recurrent import RecurrentLayers, has_recurrent_layers
from imbtorch.modules._input_tables import InputTables
from imbtorch.modules._several_inputs import spread_of, zero_rows

__all__ = ["InputEncoders", "example_batch", "input_name", "name_inputs", "separate_inputs"]

_STEPS = 3  # of an example: torch takes one step, or as many steps as rows, for a fixed number


class InputEncoders(nn.Module):
    """Encode the tables in a batch of several inputs.

    Parameters
    ----------
    tables : InputTables
        Fitted encoders.
    """

    def __init__(self, tables: InputTables) -> None:
        super().__init__()
        self.keys = tuple(tables.encoders)
        self.encoders = nn.ModuleList(tables.encoders.values())

    def by_key(self) -> dict[Key, Any]:
        """Return the encoders by the name or the position of the input."""
        return dict(zip(self.keys, self.encoders, strict=True))

    def forward(self, batch: InputBatch) -> InputBatch:
        """Return the batch in which tables are encoded."""
        encoders = self.by_key()
        return InputBatch(
            {key: encoders[key](x) if key in encoders else x for key, x in batch.parts.items()}
        )


def separate_inputs(inner: nn.Module, keys: list[Key]) -> nn.Module:
    """Return a module whose inputs are the tensors of a batch, one by one.

    Parameters
    ----------
    inner : torch.nn.Module
        Module that takes the batch.
    keys : list of str or int
        Keys of the tensors in the batch.
    """
    return _SeparateInputs(inner, keys)


class _SeparateInputs(nn.Module):
    def __init__(self, inner: nn.Module, keys: list[Key]) -> None:
        super().__init__()
        self.inner, self.keys = inner, keys

    def forward(self, *X: Tensor) -> Any:
        batch = InputBatch(dict(zip(self.keys, X, strict=True)))
        with RecurrentLayers(self.inner) if has_recurrent_layers(self.inner) else nullcontext():
            return self.inner(batch)


def example_batch(
    serving: nn.Module, input_shape: Any, dtypes: RowDtype, exact: Mapping[Any, frozenset[int]]
) -> InputBatch:
    """Return two rows on which a module is traced, with the lengths that its ``forward`` asks for.

    Parameters
    ----------
    serving : torch.nn.Module
        Module that will be written.
    input_shape : dict or tuple
        Shape of a row of each input as the user gives it.
    dtypes : dict of str or int to torch.dtype
        Dtypes in which the module gets the inputs.
    exact : dict of str or int to frozenset of int
        Of each table that is encoded, the columns that come in float64.
    """
    assert isinstance(dtypes, dict)
    tables = {key: torch.float64 if wide else torch.float32 for key, wide in exact.items()}
    batch = zero_rows(input_shape, {**dtypes, **tables}, n_steps=_STEPS)
    spreads = [spread for part in serving.modules() if (spread := spread_of(part))]
    asked = {key for spread in spreads for _, key, _ in spread.further}
    unused = {lengths_key(key) for key in sequence_keys(input_shape) if key not in asked}
    return InputBatch({key: part for key, part in batch.parts.items() if key not in unused})


def input_name(key: Key) -> str:
    """Return the name of an input in a file; those of a tuple are ``"X0"``, ``"X1"``, ..."""
    return key if isinstance(key, str) else f"X{key}"


def name_inputs(batch: InputBatch, input_shape: Any) -> tuple[list[str], list[dict[int, Any]]]:
    """Return the names of the inputs of a file, and which of their dimensions may have any size.

    Parameters
    ----------
    batch : InputBatch
        Rows on which the module is traced.
    input_shape : dict or tuple
        Shape of a row of each input.

    Raises
    ------
    ValueError
        If an input has the name of the lengths of a sequence.
    """
    n_rows, names, moving = torch.export.Dim("n"), [], []
    alone, sequences = is_one_sequence(input_shape), sequence_keys(input_shape)
    of_lengths = {lengths_key(key): f"{input_name(key)}_lengths" for key in sequences}
    for place, key in enumerate(batch.parts):
        name = of_lengths.get(str(key), input_name(key))
        if alone:
            name = "lengths" if key in of_lengths else "X"
        names.append(name)
        moving.append({0: n_rows})
        if key in sequences:
            moving[place][1] = torch.export.Dim(f"steps_{place}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"The lengths of a sequence would have the name of another input, {twice[0]!r}. Rename "
            "this input and fit again."
        )
    return names, moving
