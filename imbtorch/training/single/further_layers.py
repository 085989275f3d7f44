"""Back-propagation through layers that only modules of the user's own have, without a graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from imbtorch.training.single.branches import Concatenation, Sum
from imbtorch.training.single.normalization import BatchNormalization, LayerNormalization

__all__ = ["layer_or_part"]


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


def layer_or_part(part: nn.Module | Sum | Concatenation) -> Any:
    """Return a layer of a chain for a module, or what was given if a chain takes it as it is.

    Parameters
    ----------
    part : torch.nn.Module, Sum or Concatenation
        Linear layer, normalisation, flattening, dropout or activation; or what joins values.

    Returns
    -------
    object with forward(x) and backward(gradient, first), or torch.nn.Module, Sum, Concatenation
        A part for :meth:`Chain.made_of`.
    """
    if isinstance(part, nn.BatchNorm1d):
        return BatchNormalization(part)
    if isinstance(part, nn.LayerNorm):
        return LayerNormalization(part)
    if isinstance(part, nn.Flatten):
        return _Flattening()
    return _WithoutBias(part) if isinstance(part, nn.Linear) and part.bias is None else part
