"""Compute the forward and backward passes of many nets at once, each on its own rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from imbtorch.modules import CategoryEmbeddings, PeriodicEmbeddings
from imbtorch.modules._build import copied_module
from imbtorch.modules._lookups import explain_ids
from imbtorch.training.single.chain import (
    Activation,
    Dropout,
    Embeddings,
    plain_layers,
    with_rows,
)
from imbtorch.training.single.member_chain import ReluInPlace
from imbtorch.training.single.periodic import PERIODIC_PARAMETERS, Periodic
from imbtorch.training.stack.storage import Storage

__all__ = ["Network", "mappable_copy", "network_of"]


class Network(Protocol):
    """Several neighbouring nets of a stack, which compute together."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs of each net for its rows, ``(n, b, ...) -> (n, b, n_outputs)``."""

    def backward(self, gradient: Tensor) -> None:
        """Compute the gradients of the parameters from the gradients of the outputs."""


class _Linear:
    """A linear layer ``y = x W^T + b`` for each net."""

    def __init__(self, name: str, storage: Storage, nets: slice) -> None:
        self.weight, bias = (storage.values[f"{name}.{part}"][nets] for part in ("weight", "bias"))
        self.weight_grad = storage.grads[f"{name}.weight"][nets]
        self.bias_grad = storage.grads[f"{name}.bias"][nets]
        self.transposed, self.bias = self.weight.transpose(1, 2), bias.unsqueeze(1)
        self.widens = self.weight.shape[1] > self.weight.shape[2]
        # Written again in each step: new memory for a large result takes as long as some products.
        n, *sizes = self.weight.shape
        self.output, self.gradient = (self.weight.new_empty(n, 0, size) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        self.output = with_rows(self.output, x.shape[1])
        return torch.baddbmm(self.bias, x, self.transposed, out=self.output)

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        if self.widens:  # a batched product is fastest when its result has few rows
            product = torch.bmm(self.x.transpose(1, 2), gradient)
            self.weight_grad.copy_(product.transpose(1, 2))
        else:
            torch.bmm(gradient.transpose(1, 2), self.x, out=self.weight_grad)
        torch.sum(gradient, 1, out=self.bias_grad)
        if first:
            return gradient
        self.gradient = with_rows(self.gradient, gradient.shape[1])
        return torch.bmm(gradient, self.weight, out=self.gradient)


class _Chain:
    """A chain of plain layers, differentiated without a graph like ``single.chain.Chain``."""

    def __init__(self, layers: Sequence[nn.Module], storage: Storage, nets: slice) -> None:
        self.layers: list[Any] = []
        for place, layer in enumerate(layers):
            if isinstance(layer, nn.Linear):
                self.layers.append(_Linear(str(place), storage, nets))
            elif isinstance(layer, CategoryEmbeddings):
                blocks = storage.values, storage.grads
                weights = (block[f"{place}.weight"][nets] for block in blocks)
                self.layers.append(Embeddings(layer, *weights))
            elif isinstance(layer, PeriodicEmbeddings):
                names = [f"{place}.{name}" for name in PERIODIC_PARAMETERS]
                values = [storage.values[name][nets] for name in names]
                grads = [storage.grads[name][nets] for name in names]
                self.layers.append(Periodic(layer, values, grads))
            elif isinstance(layer, nn.ReLU) and isinstance(self.layers[-1], _Linear):
                self.layers.append(ReluInPlace())
            else:
                self.layers.append((Dropout if type(layer) is nn.Dropout else Activation)(layer))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> None:
        first = self.layers[0]
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient, layer is first)


class _Mapped:
    """Any module, mapped over the nets with ``torch.func.vmap``."""

    def __init__(self, module: nn.Module, storage: Storage, nets: slice) -> None:
        self.parameters, self.gradients, self.buffers = (
            {name: block[nets] for name, block in blocks.items()}
            for blocks in (storage.values, storage.grads, storage.fixed)
        )

        self.module = module

        def one(parameters: Any, buffers: Any, x: Tensor) -> Tensor:
            output: Tensor = functional_call(module, (parameters, buffers), (x,))
            return output

        self.all: Callable[..., Tensor] = vmap(one, randomness="different")

    def forward(self, x: Tensor) -> Tensor:
        self.leaves = {n: p.detach().requires_grad_() for n, p in self.parameters.items()}
        try:
            with torch.enable_grad():
                self.output = self.all(self.leaves, self.buffers, x)
        except IndexError as error:
            explain_ids(self.module, x, error)
            raise
        return self.output.detach()

    def backward(self, gradient: Tensor) -> None:
        found = torch.autograd.grad(
            self.output,
            list(self.leaves.values()),
            gradient.to(self.output.dtype),
            materialize_grads=True,
            allow_unused=True,
        )
        for target, grad in zip(self.gradients.values(), found, strict=True):
            target.copy_(grad)
        del self.output


def mappable_copy(module: nn.Module) -> nn.Module:
    """Copy a module so that a net of a stack never reads the embeddings of another net.

    ``vmap`` lays the embeddings of all nets one after the other, and an identifier beyond the last
    row of a net would be found in the next one. In the copy its features are NaN.
    """
    copied = copied_module(module)
    for layer in copied.modules():
        if isinstance(layer, nn.Embedding):
            layer.register_forward_hook(_hide_rows_of_others, with_kwargs=True)
    return copied


def _hide_rows_of_others(layer: Any, args: Any, kwargs: Any, output: Tensor) -> Tensor:
    ids = args[0] if args else kwargs["input"]
    is_wrong = (ids < 0) | (ids >= layer.num_embeddings)
    return output.masked_fill(is_wrong.unsqueeze(-1), torch.nan)


def network_of(storage: Storage) -> Callable[[slice], Network]:
    """Choose how the nets of a stack compute their passes.

    Parameters
    ----------
    storage : Storage
        Storage of the modules, which have the same architecture.

    Returns
    -------
    callable(nets) -> Network
        Function from a slice of the nets to their network, valid until a net leaves the stack.
    """
    first = storage.modules[0]
    layers = plain_layers(first)
    if layers is not None:
        return lambda nets: _Chain(layers, storage, nets)
    skeleton = mappable_copy(first)  # its own numbers are never read

    def mapped(nets: slice) -> Network:
        skeleton.train(storage.modules[0].training)
        return _Mapped(skeleton, storage, nets)

    return mapped
