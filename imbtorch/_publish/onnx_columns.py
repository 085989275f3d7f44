"""The inputs of an ONNX file that reads a table: one per column, or one matrix of numbers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imbtorch._publish.onnx_graph import ML, Nodes, allow_operators, rename_outputs, with_prefix
from imbtorch.features import TableColumns, TableEncoder

__all__ = ["check_names", "columns_in_float64", "encoder_for", "with_columns"]

_NET = "net/"
_EXACT = 2.0**24  # float32 holds all integers up to here


def columns_in_float64(encoder: TableEncoder) -> frozenset[int]:
    """Return the columns whose numbers or categories float32 cannot hold.

    The distance of neighbouring numbers in float32 grows with their size: it is 128 for the seconds
    since 1970. A column needs float64 if this distance, in scaled units, shows in the predictions:
    1e-3 for measurements; but 1e-5 where float32 skips integers, which usually are exact. A column
    of a narrow bin shows it as many times larger as the bin is narrower than 1.

    Parameters
    ----------
    encoder : TableEncoder
        Fitted encoder of the table.

    Returns
    -------
    frozenset of int
        Positions of the columns.
    """
    distance = np.spacing(np.abs(encoder.centre.numpy()).astype(np.float32)).astype(np.float64)
    lost = distance * encoder.factor.numpy()
    wide = lost > np.where(distance > 1, 1e-5, 1e-3)
    if encoder.bins is not None:
        wide |= lost * encoder.bins.steepness() > 1e-3
    numbers = {j for j, needs in zip(encoder.numbers, wide, strict=True) if needs}
    return frozenset(numbers | {j for j, w in encoder.columns.vocabulary.items() if _is_wide(w)})


def encoder_for(encoder: TableEncoder, in_float64: frozenset[int]) -> TableEncoder:
    """Return a copy of an encoder, for numbers that come in float32.

    Quantiles are rounded to float32 as the numbers are, so that a number that equals a quantile
    still equals it.

    Parameters
    ----------
    encoder : TableEncoder
        Fitted encoder.
    in_float64 : frozenset of int
        Columns that come in float64 nevertheless.

    Returns
    -------
    TableEncoder
        Encoder whose results are float32.
    """
    encoder = copy.deepcopy(encoder)
    encoder.dtype = torch.float32
    rounded = [i for i, j in enumerate(encoder.numbers) if j not in in_float64]
    encoder.quantiles[rounded] = encoder.quantiles[rounded].to(torch.float32).to(torch.float64)
    return encoder


def with_columns(
    model: Any,
    tables: Mapping[str, tuple[TableColumns, frozenset[int]]],
    names: list[str] | None = None,
) -> Any:
    """Name the inputs of a model, and replace those that are tables by one input per column.

    Parameters
    ----------
    model : onnx.ModelProto
        Model with inputs of shape ``(n, n_columns)`` that hold numbers and codes of categories: in
        float64 if a column comes in float64, else in float32. Other inputs stay.
    tables : dict of str to (TableColumns, frozenset of int)
        Columns of each of these inputs, with the categories, and which of them come in float64.
    names : list of str or None, default=None
        Names of the inputs, those of tables included; they may be names of other tensors of the
        model. None if the inputs already have them.

    Returns
    -------
    onnx.ModelProto
        Model whose inputs have the shape ``(n, 1)`` and the names of the columns; those of one of
        several inputs have its name in front, as in ``"table.age"``. The operator LabelEncoder of
        ONNX turns categories into codes: -1 for those that training did not have.

    Raises
    ------
    ValueError
        If the names or the columns cannot name the inputs of a file.
    """
    outputs = [output.name for output in model.graph.output]
    given = [value.name for value in model.graph.input] if names is None else names
    prefixes = {name: "" if given == ["X"] else f"{name}." for name in tables}
    all_names = [
        name
        for own in given
        for name in (_names(tables[own][0], prefixes[own]) if own in tables else [own])
    ]
    check_names(all_names, outputs)
    inner = with_prefix(model, _NET)
    nodes, inputs = Nodes("columns/"), []
    for own, value in zip(given, inner.graph.input, strict=True):
        if own in tables:
            inputs += _columns_of(nodes, value.name, *tables[own], prefixes[own])
        else:
            kept = type(value)()
            kept.CopyFrom(value)
            kept.name = own
            nodes.add("Identity", [own], output=value.name)
            inputs.append(kept)
    nodes.put_before(inner)
    del inner.graph.input[:]
    inner.graph.input.extend(inputs)
    rename_outputs(inner, outputs)
    if tables:
        allow_operators(inner, ML, 4)
    return inner


def _names(columns: TableColumns, prefix: str) -> list[str]:
    return [f"{prefix}{columns.name_of(j)}" for j in range(columns.n_columns)]


def _columns_of(
    nodes: Nodes, matrix: str, columns: TableColumns, in_float64: frozenset[int], prefix: str
) -> list[Any]:
    """Add what makes a matrix of columns, and return the inputs that these columns are."""
    from onnx import TensorProto, helper

    whole = TensorProto.DOUBLE if in_float64 else TensorProto.FLOAT
    inputs, parts = [], []
    for j, name in enumerate(_names(columns, prefix)):
        number = TensorProto.DOUBLE if j in in_float64 else TensorProto.FLOAT
        words = columns.vocabulary.get(j)
        kind, part = number, name
        if words is not None and (not len(words) or isinstance(words[0], str)):
            kind, part = TensorProto.STRING, _coded_words(nodes, name, words.tolist())
        elif words is not None:
            part = _coded_numbers(nodes, name, words, in_float64=j in in_float64)
        if kind == TensorProto.STRING or number != whole:
            part = nodes.add("Cast", [part], {"to": whole})
        inputs.append(helper.make_tensor_value_info(name, kind, ["n", 1]))
        parts.append(part)
    nodes.add("Concat", parts, {"axis": 1}, output=matrix)
    return inputs


def check_names(names: list[str], outputs: list[str]) -> None:
    """Raise ValueError if inputs, or columns of a table, cannot name the inputs of a file."""
    for name in names:
        if name and names.count(name) == 1 and name not in outputs:
            continue
        reason = "is the name of an output" if name in outputs else "is not a name of its own"
        raise ValueError(
            f"Inputs and columns name the inputs of the ONNX file, but {name!r} {reason}. Rename "
            f"the input or the column and fit again. The names are {names}."
        )


def _coded_words(nodes: Nodes, name: str, words: list[str]) -> str:
    """Return the codes of a column of text; an empty text is a missing value."""
    codes = [float(i) for i in range(len(words))]
    if "" not in words:
        words, codes = [*words, ""], [*codes, float("nan")]
    given = {"keys_strings": words, "values_floats": codes, "default_float": -1.0}
    return nodes.add("LabelEncoder", [name], given, domain=ML)


def _coded_numbers(nodes: Nodes, name: str, words: NDArray[Any], *, in_float64: bool) -> str:
    """Return the codes of a column of categories that are numbers; NaN stays NaN."""
    from onnx import numpy_helper

    kind = np.float64 if in_float64 else np.float32
    parts = {
        "keys_tensor": np.asarray(words.tolist(), dtype=kind),
        "values_tensor": np.arange(len(words), dtype=kind),
        "default_tensor": np.asarray([-1.0], dtype=kind),
    }
    given = {key: numpy_helper.from_array(values, key) for key, values in parts.items()}
    coded = nodes.add("LabelEncoder", [name], given, domain=ML)
    gaps = nodes.add("IsNaN", [name])
    return nodes.add("Where", [gaps, nodes.constant(np.asarray(np.nan, dtype=kind)), coded])


def _is_wide(words: NDArray[Any]) -> bool:
    """Return whether categories are numbers of which float32 would make others."""
    if not len(words) or isinstance(words[0], str):
        return False
    values = np.asarray(words.tolist(), dtype=np.float64)
    is_large = bool((np.abs(values) > _EXACT).any())
    return is_large or len(np.unique(values.astype(np.float32))) < len(values)
