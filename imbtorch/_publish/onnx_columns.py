"""One ONNX input per column of a table: numbers as they are, categories by their words."""

from __future__ import annotations

from typing import Any

import numpy as np

from imbtorch.features import TableColumns

__all__ = ["with_columns"]

_ML = "ai.onnx.ml"


def with_columns(model: Any, columns: TableColumns) -> Any:
    """Replace the input matrix of a model by one input per column.

    Parameters
    ----------
    model : onnx.ModelProto
        Model whose input ``"X"`` holds numbers and codes of categories, float32 of shape
        ``(n, n_columns)``.
    columns : TableColumns
        Columns of the table, with the categories.

    Returns
    -------
    onnx.ModelProto
        Model whose inputs have the names of the columns and the shape ``(n, 1)``. The operator
        LabelEncoder of ONNX turns words into codes: -1 for words that training did not have.

    Raises
    ------
    ValueError
        If two columns have the same name.
    """
    from onnx import helper

    graph = model.graph
    (matrix,) = graph.input
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    names = [columns.name_of(j) for j in range(columns.n_columns)]
    if len(set(names)) < len(names) or set(names) & (taken - {matrix.name}):
        raise ValueError(
            f"The columns {names} cannot name the inputs of an ONNX file: two of them are equal, "
            "or one has the name of a tensor of the net. Rename the columns and fit again."
        )
    if matrix.name in names:  # the matrix becomes a tensor inside the graph
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == matrix.name:
                    node.input[place] = _INSIDE
        matrix.name = _INSIDE
    nodes, inputs, parts = [], [], []
    for j, name in enumerate(names):
        node, value, part = _column(name, columns.vocabulary.get(j))
        inputs.append(value)
        parts.append(part)
        nodes += node
    nodes.append(helper.make_node("Concat", parts, [matrix.name], axis=1))
    kept = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *kept])
    graph.input.extend(inputs)
    if _ML not in {opset.domain for opset in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(_ML, 4))
    return model


_INSIDE = "imbtorch_table"


def _column(name: str, words: Any) -> tuple[list[Any], Any, str]:
    """Return the nodes of a column, its input, and the name of the tensor of its numbers."""
    from onnx import TensorProto, helper

    if words is None:
        return [], helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]), name
    codes = np.arange(len(words), dtype=np.float32)
    is_text = len(words) == 0 or isinstance(words[0], str)
    kind = TensorProto.STRING if is_text else TensorProto.FLOAT
    keys = words.tolist() if is_text else [float(word) for word in words]
    values = codes.tolist()
    if is_text and "" not in keys:
        keys, values = [*keys, ""], [*values, float("nan")]
    coded = f"{name}_code"
    node = helper.make_node(
        "LabelEncoder",
        [name],
        [coded],
        domain=_ML,
        values_floats=values,
        default_float=-1.0,
        keys_strings=keys if is_text else None,
        keys_floats=None if is_text else keys,
    )
    if is_text:
        return [node], helper.make_tensor_value_info(name, kind, ["n", 1]), coded
    gap, nan, whole = f"{name}_gap", f"{name}_nan", f"{name}_coded"
    nodes = [
        node,
        helper.make_node("IsNaN", [name], [gap]),
        helper.make_node("Constant", [], [nan], value_float=float("nan")),
        helper.make_node("Where", [gap, nan, coded], [whole]),
    ]
    return nodes, helper.make_tensor_value_info(name, kind, ["n", 1]), whole
