"""Back-propagation through the layers of a TabM, without an autograd graph.

The layers keep their results from step to step and write into them again: to allocate them anew
takes as long as the smaller products.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from imbtorch.modules._member_layers import BatchEnsembleLinear, MemberHeads

__all__ = ["MEMBER_LAYERS", "BatchEnsemble", "Heads", "ReluInPlace"]

_aten = torch.ops.aten
# parameters of each layer
MEMBER_LAYERS: dict[type[nn.Module], set[str]] = {
    BatchEnsembleLinear: {"weight", "scale_in", "scale_out", "bias"},
    MemberHeads: {"weight", "bias"},
}


class _Kept:
    """Tensors that are written again in each step, one for each name and shape."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.tensors: dict[tuple[Any, ...], Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        key = (name, *shape)
        if key not in self.tensors:
            self.tensors[key] = self.like.new_empty(shape)
        return self.tensors[key]


class _Products:
    """The products of rows with one matrix for each member, ``x_k W_k + b_k``."""

    def __init__(self, layer: Any) -> None:
        for parameter in layer.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.layer, self.n_members = layer, layer.n_members
        self.bias = layer.bias.detach().unsqueeze(1)
        self.kept = _Kept(layer.weight.detach())

    def product(self, x: Tensor, matrix: Tensor) -> Tensor:
        """Multiply rows, of all members or of each, ``(k, n, out)``."""
        self.shared, self.matrix = x.ndim == 2, matrix
        self.x = x.expand(self.n_members, *x.shape) if self.shared else x
        out = self.kept("y", *self.x.shape[:2], matrix.shape[2])
        return torch.baddbmm(self.bias, self.x, matrix, out=out)

    def backward_of_product(self, gradient: Tensor, into: Tensor, first: bool) -> Tensor:
        """Write the gradients of matrix and bias; return that of the rows, unless it is first."""
        torch.bmm(self.x.transpose(1, 2), gradient, out=into)
        torch.sum(gradient, 1, out=self.layer.bias.grad)
        if first:
            return gradient
        out = self.kept("gradient of x", *self.x.shape)
        torch.bmm(gradient, self.matrix.transpose(1, 2), out=out)
        return out.sum(0) if self.shared else out


class BatchEnsemble(_Products):
    """A linear layer whose matrix the members share, up to factors of rows and columns."""

    def __init__(self, layer: BatchEnsembleLinear) -> None:
        super().__init__(layer)
        self.weight = layer.weight.detach().t()
        self.scale_in = layer.scale_in.detach().unsqueeze(2)
        self.scale_out = layer.scale_out.detach().unsqueeze(1)
        self.shape = (layer.n_members, layer.in_features, layer.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the rows by the matrix of each member."""
        matrix = self.kept("matrix", *self.shape)
        torch.mul(self.weight, self.scale_in, out=matrix)
        return self.product(x, matrix.mul_(self.scale_out))

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Write the gradients of matrix, factors and biases, and return that of the input."""
        layer, own = self.layer, self.kept("gradient", *self.shape)
        result = self.backward_of_product(gradient, own, first)
        weighted = torch.mul(own, self.weight, out=self.kept("weighted", *self.shape))
        torch.bmm(weighted, self.scale_out.mT, out=layer.scale_in.grad.unsqueeze(2))
        torch.bmm(self.scale_in.mT, weighted, out=layer.scale_out.grad.unsqueeze(1))
        torch.sum(own.mul_(self.scale_in).mul_(self.scale_out), 0, out=layer.weight.grad.t())
        return result


class Heads(_Products):
    """A linear layer of each member; its outputs are those of a row, one member after another."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs of all members, ``(n, k, n_outputs)``."""
        return self.product(x, self.layer.weight.detach()).transpose(0, 1)

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Write the gradients of matrices and biases, and return that of the input."""
        return self.backward_of_product(gradient.transpose(0, 1), self.layer.weight.grad, first)


class ReluInPlace:
    """ReLU that overwrites the results of the layer before it, and their gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """Set negative values to 0, and keep the result for the derivative."""
        self.y = x.relu_()
        return self.y

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Set the gradient to 0 where the result is 0."""
        result = _aten.threshold_backward.grad_input(gradient, self.y, 0, grad_input=gradient)
        return cast(Tensor, result)
