"""Back-propagation through layers whose values are used more than once, without an autograd graph.

Residual connections add a value to what later layers have made of it; heads read the same value,
and their outputs are put beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Branches", "Concatenation", "Node", "Sum"]


class Sum:
    """The sum of two values of equal shape."""

    def forward(self, values: list[Tensor]) -> Tensor:
        """Add the values."""
        one, other = values
        return one + other

    def backward(self, gradient: Tensor) -> list[Tensor]:
        """Return the gradient of each value: the same, in memory of its own."""
        # the layers that get them may write into them
        return [gradient, gradient.clone()]


class Concatenation:
    """Values of several widths, put beside each other."""

    def forward(self, values: list[Tensor]) -> Tensor:
        """Put the columns of the values beside each other."""
        self.widths = [value.shape[-1] for value in values]
        return torch.cat(values, dim=-1)

    def backward(self, gradient: Tensor) -> list[Tensor]:
        """Return the columns of the gradient that belong to each value."""
        return list(gradient.split(self.widths, dim=-1))


class Node(NamedTuple):
    """One step of a net with branches.

    Attributes
    ----------
    sources : tuple of int
        Places of the values that are read: 0 is the input, 1 the value of the first node.
    layers : list
        Layers of a chain, which read one value; or a single :class:`Sum` or
        :class:`Concatenation`, which reads several.
    """

    sources: tuple[int, ...]
    layers: list[Any]


class Branches:
    """A layer of a chain that consists of nodes, each of which reads values of earlier nodes.

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
