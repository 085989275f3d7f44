"""Tables among the inputs of a source: their encoders are learned, and their rows encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from imbtorch._common.inputs import Inputs, Key
from imbtorch._common.memo import digest
from imbtorch._fit.table import learned_encoder
from imbtorch.features import FeatureEncoder, TableColumns, TableEncoder
from imbtorch.modules._input_tables import InputTables
from imbtorch.training.data.several import named

__all__ = ["encoded_inputs", "learned_tables", "vocabularies"]


def learned_tables(arguments: tuple[Any, ...], once: Callable[..., Any]) -> InputTables:
    """Learn from the training split how tables among the inputs are encoded.

    Parameters
    ----------
    arguments : tuple
        Encoders and columns by input, the inputs, the rows of the split, the weights of all rows,
        and the dtype of the encoded rows.
    once : callable(function, arguments, key)
        Function that calls another one, or knows its result from another fit on the same data.
    """
    features, _, X, rows, *others = arguments
    tables: InputTables = once(
        _learned_tables, arguments, lambda: (X, *map(digest, (features, rows)), *others)
    )
    return tables


def _learned_tables(
    features: Mapping[Key, FeatureEncoder],
    columns: Mapping[Key, TableColumns],
    X: Inputs,
    rows: NDArray[Any] | None,
    sample_weight: NDArray[Any] | None,
    dtype: torch.dtype,
) -> InputTables:
    """Learn the encoder of each table; an error names the input."""

    def learned(key: Key) -> Any:
        def learn(table: Any) -> TableEncoder:
            return learned_encoder(features[key], columns[key], table, rows, sample_weight, dtype)

        return named(key, learn, X.parts[key])

    return InputTables({key: learned(key) for key in columns}, features)


def encoded_inputs(X: Inputs, tables: InputTables) -> Any:
    """Return inputs whose tables are encoded."""
    return tables.encoded(X)


def vocabularies(columns: TableColumns | Mapping[Key, TableColumns]) -> Any:
    """Return the categories of a table, or of each table among several inputs."""
    if isinstance(columns, TableColumns):
        return columns.vocabulary
    return {key: table.vocabulary for key, table in columns.items()}
