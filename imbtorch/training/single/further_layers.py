"""Back-propagation through layers that only modules of the user's own have, without a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from imbtorch.training.single.normalization import BatchNormalization, LayerNormalization

__all__ = ["FURTHER_ACTIVATIONS", "Scaling", "layer_or_part"]

_aten = torch.ops.aten

# derivative of each activation: (gradient, input, output, layer) -> gradient
FURTHER_ACTIVATIONS: dict[type[nn.Module], Callable[[Tensor, Tensor, Tensor, Any], Tensor]] = {
    nn.Sigmoid: lambda g, x, y, _: _aten.sigmoid_backward.default(g, y),
    nn.Mish: lambda g, x, y, _: _aten.mish_backward.default(g, x),
    nn.Hardswish: lambda g, x, y, _: _aten.hardswish_backward.default(g, x),
    nn.Softplus: lambda g, x, y, m: _aten.softplus_backward.default(g, x, m.beta, m.threshold),
}


class _FurtherActivation:
    """An activation function, and its derivative."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.derivative = layer, FURTHER_ACTIVATIONS[type(layer)]

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        self.y = cast(Tensor, self.layer.forward(x))
        return self.y

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        return self.derivative(gradient, self.x, self.y, self.layer)


class Scaling:
    """Multiplication by a number that does not change.

    Parameters
    ----------
    factor : float
        The number.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the input."""
        return x * self.factor

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Multiply the gradient."""
        return gradient * self.factor


class _WithoutBias:
    """A linear layer without biases."""

    def __init__(self, layer: nn.Linear) -> None:
        self.weight = layer.weight.detach()
        layer.weight.grad = self.weight_grad = torch.zeros_like(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return torch.mm(x, self.weight.t())

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        torch.mm(gradient.t(), self.x, out=self.weight_grad)
        return gradient if first else torch.mm(gradient, self.weight)


class _Flattening:
    """The numbers of a row as one vector."""

    def forward(self, x: Tensor) -> Tensor:
        self.shape = x.shape
        return x.flatten(1)

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        return gradient.reshape(self.shape)


def layer_or_part(part: Any) -> Any:
    """Return a layer of a chain for a module, or what was given if a chain takes it as it is.

    Parameters
    ----------
    part : torch.nn.Module, or a layer of a chain
        Linear layer, normalisation, flattening, dropout or activation.

    Returns
    -------
    object with forward(x) and backward(gradient, first), or torch.nn.Module
        A part for :meth:`Chain.made_of`.
    """
    if isinstance(part, nn.BatchNorm1d):
        return BatchNormalization(part)
    if isinstance(part, nn.LayerNorm):
        return LayerNormalization(part)
    if isinstance(part, nn.Flatten):
        return _Flattening()
    if type(part) in FURTHER_ACTIVATIONS:
        return _FurtherActivation(part)
    return _WithoutBias(part) if isinstance(part, nn.Linear) and part.bias is None else part
