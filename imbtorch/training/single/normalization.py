"""Back-propagation through layer normalisation, without an autograd graph."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["LayerNormalization"]

_aten = torch.ops.aten


class LayerNormalization:
    """Layer normalisation of the units of each row, also of several members.

    Parameters
    ----------
    layer : torch.nn.LayerNorm
        The layer, with factors and biases; gets gradients that are written in place.
    """

    def __init__(self, layer: nn.LayerNorm) -> None:
        self.shape, self.eps = list(layer.normalized_shape), layer.eps
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()
        layer.weight.grad = self.weight_grad = torch.zeros_like(self.weight)
        layer.bias.grad = self.bias_grad = torch.zeros_like(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, and keep the input and its statistics."""
        self.x = x
        y, self.mean, self.scale = _aten.native_layer_norm.default(
            x, self.shape, self.weight, self.bias, self.eps
        )
        return cast(Tensor, y)

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Write the gradients of factors and biases, and return that of the input."""
        statistics = (self.mean, self.scale, self.weight, self.bias)
        result, weight, bias = _aten.native_layer_norm_backward.default(
            gradient, self.x, self.shape, *statistics, [True, True, True]
        )
        self.weight_grad.copy_(weight)
        self.bias_grad.copy_(bias)
        return cast(Tensor, result)
