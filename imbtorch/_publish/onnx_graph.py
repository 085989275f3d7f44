"""Graphs of ONNX files: nodes that are added, and graphs that are put behind each other."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

__all__ = [
    "ML",
    "Nodes",
    "allow_operators",
    "joined",
    "rename_inputs",
    "rename_outputs",
    "with_prefix",
]

ML = "ai.onnx.ml"  # domain of the operators that are made for tables


class Nodes:
    """Nodes that will be added to a graph.

    Parameters
    ----------
    prefix : str
        Beginning of the names of all that is added, which no other name of the graph has.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(
        self,
        operator: str,
        inputs: list[str],
        attributes: dict[str, Any] | None = None,
        *,
        output: str | None = None,
        domain: str = "",
    ) -> str:
        """Add a node with one output.

        Parameters
        ----------
        operator : str
            Operator of ONNX.
        inputs : list of str
            Names of the tensors that it reads.
        attributes : dict or None, default=None
            Attributes of the operator.
        output : str or None, default=None
            Name of the result; None makes a new name.
        domain : str, default=""
            Domain of the operator.

        Returns
        -------
        str
            Name of the result.
        """
        from onnx import helper

        name = f"{self._prefix}{operator}_{len(self._nodes)}"
        output = output or f"{name}_output"
        given = attributes or {}
        self._nodes.append(
            helper.make_node(operator, inputs, [output], name=name, domain=domain, **given)
        )
        return output

    def constant(self, values: NDArray[Any]) -> str:
        """Add a constant, and return its name; words become a tensor of strings."""
        from onnx import numpy_helper

        name = f"{self._prefix}constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def put_before(self, model: Any) -> None:
        """Add the nodes in front of those of a model."""
        following = list(model.graph.node)
        del model.graph.node[:]
        self.put_behind(model)
        model.graph.node.extend(following)

    def put_behind(self, model: Any) -> None:
        """Add the nodes behind those of a model."""
        model.graph.node.extend(self._nodes)
        model.graph.initializer.extend(self._constants)


def with_prefix(model: Any, prefix: str) -> Any:
    """Return a model all of whose names begin with a prefix, those of its inputs included."""
    from onnx import compose

    return compose.add_prefix(model, prefix)


def rename_inputs(model: Any, names: list[str]) -> None:
    """Give the inputs of a model these names, which no other tensor has."""
    nodes = Nodes("inputs/")
    for value, name in zip(model.graph.input, names, strict=True):
        nodes.add("Identity", [name], output=value.name)
        value.name = name
    nodes.put_before(model)


def rename_outputs(model: Any, names: list[str]) -> None:
    """Give the outputs of a model these names, which no other tensor has."""
    nodes = Nodes("outputs/")
    for value, name in zip(model.graph.output, names, strict=True):
        nodes.add("Identity", [value.name], output=name)
        value.name = name
    nodes.put_behind(model)


def allow_operators(model: Any, domain: str, version: int) -> None:
    """Allow a model to use the operators of a domain, of this version at least."""
    from onnx import helper

    for opset in model.opset_import:
        if opset.domain == domain:
            opset.version = max(opset.version, version)
            return
    model.opset_import.append(helper.make_opsetid(domain, version))


def joined(front: Any, back: Any, reads: str, gives: str) -> Any:
    """Put a graph behind another one.

    Parameters
    ----------
    front, back : onnx.ModelProto
        Models that share no names. Both have the same version of ONNX's own operators.
    reads : str
        Name of the only input of the second graph.
    gives : str
        Name of the output of the first graph that takes the place of this input.

    Returns
    -------
    onnx.ModelProto
        A model with the inputs of the first graph and the outputs of the second one. Its metadata
        are those of the second one.
    """
    wire = Nodes("joined/")
    wire.add("Identity", [gives], output=reads)
    wire.put_before(back)
    nodes, inputs = [*front.graph.node, *back.graph.node], list(front.graph.input)
    del back.graph.node[:], back.graph.input[:]
    back.graph.node.extend(nodes)
    back.graph.input.extend(inputs)
    back.graph.initializer.extend(front.graph.initializer)
    back.functions.extend(front.functions)
    for opset in front.opset_import:
        allow_operators(back, opset.domain, opset.version)
    back.ir_version = max(front.ir_version, back.ir_version)
    return back
