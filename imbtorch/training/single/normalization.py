"""Back-propagation through layer and batch normalisation, without an autograd graph."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["BatchNormalization", "LayerNormalization"]

_aten = torch.ops.aten


class _Affine:
    """Factors and biases of a normalisation, as far as it has them, and their gradients."""

    def __init__(self, layer: nn.LayerNorm | nn.BatchNorm1d) -> None:
        self.weight, self.weight_grad = _with_gradient(layer.weight)
        self.bias, self.bias_grad = _with_gradient(layer.bias)
        # which gradients are needed: of the input, of the factors, of the biases
        self.needed = [True, self.weight is not None, self.bias is not None]

    def write(self, weight: Tensor, bias: Tensor) -> None:
        """Write the gradients into the parameters."""
        if self.weight_grad is not None:
            self.weight_grad.copy_(weight)
        if self.bias_grad is not None:
            self.bias_grad.copy_(bias)


def _with_gradient(parameter: nn.Parameter | None) -> tuple[Tensor | None, Tensor | None]:
    """Return the values of a parameter, and the gradient that it gets; None if there is none."""
    if parameter is None:
        return None, None
    parameter.grad = torch.zeros_like(parameter)
    return parameter.detach(), parameter.grad


class LayerNormalization(_Affine):
    """Layer normalisation of the units of each row, also of several members.

    Parameters
    ----------
    layer : torch.nn.LayerNorm
        The layer; its factors and biases, if it has them, get gradients that are written in place.
    """

    def __init__(self, layer: nn.LayerNorm) -> None:
        super().__init__(layer)
        self.shape, self.eps = list(layer.normalized_shape), layer.eps

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
            gradient, self.x, self.shape, *statistics, self.needed
        )
        self.write(weight, bias)
        return cast(Tensor, result)


class BatchNormalization(_Affine):
    """Batch normalisation of the units, over the rows of the batch.

    Parameters
    ----------
    layer : torch.nn.BatchNorm1d
        The layer in training mode; its factors and biases, if it has them, get gradients that are
        written in place. Its running statistics are updated as the layer itself updates them.
    """

    def __init__(self, layer: nn.BatchNorm1d) -> None:
        super().__init__(layer)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, update the running statistics, and keep the input and its statistics."""
        layer = self.layer
        if len(x) == 1:
            return cast(Tensor, layer(x))  # raises the error of torch: one row has no variance
        self.x = x
        self.running = (layer.running_mean, layer.running_var)
        momentum = layer.momentum or 0.0
        # sharpness-aware steps switch the statistics off while they compute a batch again
        if not layer.track_running_stats:
            self.running = (None, None)
        elif layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
            if layer.momentum is None:  # a mean over all batches
                momentum = 1.0 / float(layer.num_batches_tracked)
        y, self.mean, self.scale = _aten.native_batch_norm.default(
            x, self.weight, self.bias, *self.running, True, momentum, layer.eps
        )
        return cast(Tensor, y)

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Write the gradients of factors and biases, and return that of the input."""
        statistics = (*self.running, self.mean, self.scale)
        result, weight, bias = _aten.native_batch_norm_backward.default(
            gradient, self.x, self.weight, *statistics, True, self.layer.eps, self.needed
        )
        self.write(weight, bias)
        return cast(Tensor, result)
