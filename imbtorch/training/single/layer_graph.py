"""Back-propagation through a directed acyclic graph of layers, without an autograd graph.

In a chain each layer reads the output of the layer before it. Here several layers may read the same
value: a residual connection adds a value to what later layers have made of it, and several heads
read the last hidden layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["LayerGraph", "Node"]


class Node(NamedTuple):
    """What computes one value of a graph from earlier values.

    Attributes
    ----------
    sources : tuple of int
        Indices of the values that are read: 0 is the input, 1 the value of the first node.
    layers : list
        Layers of a chain, which read one value; or a single
        :class:`~imbtorch.training.single.operations.ElementwiseSum` or
        :class:`~imbtorch.training.single.operations.ColumnConcatenation`, which reads several.
    """

    sources: tuple[int, ...]
    layers: list[Any]


class LayerGraph:
    """A layer of a chain that is itself a directed acyclic graph of layers.

    Parameters
    ----------
    nodes : sequence of Node
        Nodes in the order of their computation; the value of the last one is the output, and every
        other value is read by a later node.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = list(nodes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the nodes one after the other."""
        values = [x]
        for node in self.nodes:
            value: Any = [values[source] for source in node.sources]
            if len(value) > 1:
                value = node.layers[0].forward(value)
            else:
                (value,) = value
                for layer in node.layers:
                    value = layer.forward(value)
            values.append(value)
        return values[-1]

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Write the gradients of all layers, and return that of the input unless it is first."""
        gradients: list[Any] = [None] * len(self.nodes) + [gradient]
        for place in range(len(self.nodes), 0, -1):
            node, own = self.nodes[place - 1], gradients[place]
            if len(node.sources) > 1:
                results = node.layers[0].backward(own)
            else:
                results = [_through(node.layers, own, first and node.sources[0] == 0)]
            for source, result in zip(node.sources, results, strict=True):
                if source or not first:
                    known = gradients[source]
                    gradients[source] = result if known is None else known + result
        return gradient if first else gradients[0]


def _through(layers: list[Any], gradient: Tensor, first: bool) -> Tensor:
    """Write the gradients of a sequence of layers, and return that of its input."""
    for layer in reversed(layers):
        gradient = layer.backward(gradient, first and layer is layers[0])
    return gradient
