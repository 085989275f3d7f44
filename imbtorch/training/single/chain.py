"""Back-propagation through a plain chain of layers, without an autograd graph.

For a small net autograd's own work takes most of a training step: it builds a node for each
operation, visits the nodes and accumulates gradients. A ``torch.nn.Sequential`` of linear layers,
activations and dropout does not need this, because its backward pass visits the same layers in
reverse order; embeddings of categories and of numbers may come first. A TabM is such a chain, too.
Values and gradients are equal to those of autograd. All other modules use autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _global_hooks

from imbtorch.modules import CategoryEmbeddings, PeriodicEmbeddings
from imbtorch.modules._member_layers import BatchEnsembleLinear, MemberHeads
from imbtorch.modules._structured import alone
from imbtorch.training.data.sparse_rows import SparseRows
from imbtorch.training.single.member_chain import MEMBER_LAYERS, BatchEnsemble, Heads, ReluInPlace
from imbtorch.training.single.normalization import BatchNormalization, LayerNormalization
from imbtorch.training.single.periodic import PERIODIC_PARAMETERS, Periodic

__all__ = [
    "Activation",
    "Chain",
    "Dropout",
    "Embeddings",
    "embeddings_in_front",
    "has_hooks",
    "plain_layers",
    "with_rows",
]

_aten = torch.ops.aten
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805

# derivative of each activation: (gradient, input, output, layer) -> gradient
_DERIVATIVES: dict[type[nn.Module], Callable[[Tensor, Tensor, Tensor, Any], Tensor]] = {
    nn.ReLU: lambda g, x, y, _: _aten.threshold_backward.default(g, y, 0),
    nn.SiLU: lambda g, x, y, _: _aten.silu_backward.default(g, x),
    nn.Tanh: lambda g, x, y, _: _aten.tanh_backward.default(g, y),
    nn.GELU: lambda g, x, y, m: _aten.gelu_backward.default(g, x, approximate=m.approximate),
    nn.ELU: lambda g, x, y, m: _aten.elu_backward.default(g, m.alpha, 1, 1, False, x),
    nn.SELU: lambda g, x, y, _: _aten.elu_backward.default(
        g, _SELU_ALPHA, _SELU_SCALE, 1, False, x
    ),
    nn.LeakyReLU: lambda g, x, y, m: _aten.leaky_relu_backward.default(
        g, x, m.negative_slope, False
    ),
    nn.Sigmoid: lambda g, x, y, _: _aten.sigmoid_backward.default(g, y),
    nn.Mish: lambda g, x, y, _: _aten.mish_backward.default(g, x),
    nn.Hardswish: lambda g, x, y, _: _aten.hardswish_backward.default(g, x),
    nn.Softplus: lambda g, x, y, m: _aten.softplus_backward.default(g, x, m.beta, m.threshold),
}
# activations that are computed only in a recorded chain, which autograd has verified
_ONLY_RECORDED = {nn.Sigmoid, nn.Mish, nn.Hardswish, nn.Softplus}
# layers of embeddings, in the order in which they may stand in front of a chain
_EMBEDDINGS: tuple[type[nn.Module], ...] = (CategoryEmbeddings, PeriodicEmbeddings)


class _Layer(Protocol):
    def forward(self, x: Any) -> Tensor: ...
    def backward(self, gradient: Tensor, first: bool) -> Tensor: ...


class _Linear:
    """A linear layer that writes its gradients directly into ``weight.grad`` and ``bias.grad``.

    The layer may lack biases. What that changes is chosen here, so that a step does not ask for it.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer
        self.weight = layer.weight.detach()
        self.transposed = self.weight.t()
        # Written again in each step: new memory for a large result takes as long as some products.
        self.output, self.gradient = (self.weight.new_empty(0, n) for n in self.weight.shape)
        layer.weight.grad = self.weight_grad = torch.zeros_like(self.weight)
        self.product: Callable[..., Tensor] = torch.mm
        self.write_bias_gradient: Callable[[Tensor], object] = _write_nothing
        if layer.bias is not None:
            self.bias = layer.bias.detach()
            layer.bias.grad = torch.zeros_like(self.bias)
            self.product = partial(torch.addmm, self.bias)
            self.write_bias_gradient = partial(torch.sum, dim=0, out=layer.bias.grad)

    def forward(self, x: Tensor | SparseRows) -> Tensor:
        self.x = x
        if isinstance(x, SparseRows):  # only plain layers get them, and these have biases
            return x.times(self.transposed).add_(self.bias)
        self.output = with_rows(self.output, x.shape[0])
        return self.product(x, self.transposed, out=self.output)

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        if isinstance(self.x, SparseRows):
            self.x.transposed_times(gradient, out=self.weight_grad.t())
        else:
            torch.mm(gradient.t(), self.x, out=self.weight_grad)
        self.write_bias_gradient(gradient)
        if first:
            return gradient
        self.gradient = with_rows(self.gradient, gradient.shape[0])
        return torch.mm(gradient, self.weight, out=self.gradient)


def _write_nothing(gradient: Tensor) -> None:
    """Leave out the gradient of biases that a layer does not have."""


def with_rows(kept: Tensor, n: int) -> Tensor:
    """Return matrices of ``n`` rows to write into: those that were kept, if they have so many."""
    *nets, rows, width = kept.shape
    return kept if rows == n else kept.new_empty(*nets, n, width)


class Embeddings:
    """Embeddings of categories, for one net or for each net of a stack.

    Parameters
    ----------
    layer : CategoryEmbeddings
        The layer, or that of the first net.
    weight : Tensor of shape (n_rows, size) or (n_nets, n_rows, size)
        Contiguous vectors of all categories.
    gradient : Tensor or None, default=None
        Tensor like ``weight`` that gets the gradient; None for predictions alone.
    """

    def __init__(
        self, layer: CategoryEmbeddings, weight: Tensor, gradient: Tensor | None = None
    ) -> None:
        self.n_numbers, self.starts = layer.n_numbers, layer.starts
        self.vectors = weight.view(-1, layer.size)
        self.gradient = None if gradient is None else gradient.view(-1, layer.size)
        if weight.ndim == 3:  # the vectors of a net follow those of the net before
            nets = torch.arange(len(weight), device=weight.device)
            self.starts = self.starts + (weight.shape[1] * nets)[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Replace the codes by vectors, and keep their places."""
        codes = x[..., self.n_numbers :].to(torch.int64)
        self.places = (codes + self.starts).reshape(-1)
        vectors = self.vectors.index_select(0, self.places)
        return torch.cat([x[..., : self.n_numbers], vectors.view(*x.shape[:-1], -1)], dim=-1)

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Add up the gradients of each vector; numbers have none, because they come first."""
        assert self.gradient is not None
        rows = gradient[..., self.n_numbers :].reshape(-1, self.gradient.shape[1])
        if rows.device.type == "cpu":
            self.gradient.zero_().index_add_(0, self.places, rows)
        else:  # whose index_add adds in another order each time
            n_rows = len(self.gradient)
            self.gradient.copy_(
                _aten.embedding_dense_backward.default(rows, self.places, n_rows, -1, False)
            )
        return gradient


class Activation:
    """An activation function and its derivative."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.derivative = layer, _DERIVATIVES[type(layer)]
        self.apply = layer.forward

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer, and keep input and output for its derivative."""
        self.x = x
        self.y = cast(Tensor, self.apply(x))
        return self.y

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Return the gradient by the input, given the gradient by the output."""
        return self.derivative(gradient, self.x, self.y, self.layer)


class Dropout:
    """Dropout: set random units to zero and scale up the others."""

    def __init__(self, layer: Any) -> None:
        self.p: float = layer.p

    def forward(self, x: Tensor) -> Tensor:
        """Draw a mask and apply it to the input."""
        y, self.mask = _aten.native_dropout.default(x, self.p, True)
        return cast(Tensor, y)

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Apply the mask to the gradient."""
        return cast(
            Tensor,
            _aten.native_dropout_backward.default(gradient, self.mask, 1 / (1 - self.p)),
        )


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module has forward or backward hooks, its own or those of every module.

    The hook that leaves the logits alone does not count: it keeps nothing and changes nothing else.
    """
    return bool(
        _global_hooks._has_any_global_hook()
        or any(hook is not alone for hook in module._forward_hooks.values())
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _is_trained_plainly(parameter: nn.Parameter) -> bool:
    hooked = parameter._backward_hooks or parameter._post_accumulate_grad_hooks
    return parameter.requires_grad and not hooked


def _holds(layer: nn.Module, parameters: set[str]) -> bool:
    """Return whether a layer has these parameters, no other tensors, and torch's ``forward``."""
    known = set(layer._parameters) == parameters and "forward" not in vars(layer)
    return known and not layer._buffers and not layer._modules


def _is_plain(layer: nn.Module) -> bool:
    is_scripted = isinstance(layer, torch.jit.ScriptModule)
    if is_scripted or has_hooks(layer) or not all(map(_is_trained_plainly, layer.parameters())):
        return False
    if type(layer) in _EMBEDDINGS:
        return "forward" not in vars(layer) and all(p.is_contiguous() for p in layer.parameters())
    if type(layer) in MEMBER_LAYERS:
        return _holds(layer, MEMBER_LAYERS[type(layer)])
    has_weights = type(layer) in (nn.Linear, nn.LayerNorm)
    if not _holds(layer, {"weight", "bias"} if has_weights else set()):
        return False
    if type(layer) in (nn.Linear, nn.LayerNorm):
        return layer.weight is not None and layer.bias is not None
    if type(layer) is nn.Dropout:
        return not layer.inplace and layer.p < 1
    if type(layer) is nn.ReLU:  # its derivative follows from its output
        return True
    is_activation = type(layer) in _DERIVATIVES and type(layer) not in _ONLY_RECORDED
    return is_activation and not getattr(layer, "inplace", False)


def plain_layers(module: nn.Module) -> list[nn.Module] | None:
    """Split a module into linear layers, activations and dropout, maybe behind embeddings.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.

    Returns
    -------
    list of torch.nn.Module or None
        Layers in forward order, of which the first is linear, maybe behind
        :class:`CategoryEmbeddings`, :class:`PeriodicEmbeddings` or both in this order; None if the
        module has other layers or does anything else.
    """
    parts = normalised_layers(module)
    return None if any(type(part) is nn.LayerNorm for part in parts) else parts or None


def normalised_layers(module: nn.Module) -> list[nn.Module]:
    """Split a module as :func:`plain_layers` does, which may also have layer normalisation."""
    parts, first = _parts(module)
    plain = (
        bool(parts)
        and type(parts[first]) is nn.Linear
        and not any(type(part) in MEMBER_LAYERS for part in parts)
        and not any(getattr(part, "inplace", False) for part in parts)
        and not any(hasattr(part, "n_members") for part in (module, parts[-1]))
    )
    return parts if plain else []


def _layers_of_members(module: nn.Module) -> list[nn.Module]:
    """Split a TabM into its layers, maybe behind embeddings; return none if it is not a TabM."""
    parts, first = _parts(module)
    known = {*MEMBER_LAYERS, nn.LayerNorm, nn.ReLU, nn.Dropout}
    fits = (
        bool(parts)
        and type(parts[-1]) is MemberHeads
        and type(parts[first]) in MEMBER_LAYERS
        and all(type(part) in known - {MemberHeads} for part in parts[first:-1])
    )
    return parts if fits else []


def _parts(module: nn.Module) -> tuple[list[nn.Module], int]:
    """Return the layers of a sequence that can be taken apart, and the place of the first linear.

    The list is empty if the module, or one of its layers, does anything else.
    """
    parts = list(module) if type(module) is nn.Sequential else []
    tensors = [p for part in parts for p in part.parameters()]
    first = _n_embeddings(parts)
    plain = (
        len(parts) > first
        and not has_hooks(module)
        and not (module._parameters or module._buffers or "forward" in vars(module))
        and all(map(_is_plain, parts))
        and len({id(p) for p in tensors}) == len(tensors)  # gradients of a shared one add up
        and not any(type(part) in _EMBEDDINGS for part in parts[first:])
    )
    return (parts if plain else []), first


def embeddings_in_front(module: nn.Module) -> list[nn.Module]:
    """Return the embeddings with which a sequence begins, as far as a chain may compute them.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.

    Returns
    -------
    list of torch.nn.Module
        :class:`CategoryEmbeddings`, :class:`PeriodicEmbeddings` or both in this order; empty if
        there are none, or if the sequence does anything besides calling its layers.
    """
    parts = list(module) if type(module) is nn.Sequential else []
    if has_hooks(module) or module._parameters or "forward" in vars(module):
        return []
    front = parts[: _n_embeddings(parts)]
    return front if all(map(_is_plain, front)) else []


def _n_embeddings(parts: list[Any]) -> int:
    """Count the layers of embeddings in front, as far as they read what has no gradient."""
    if not parts or type(parts[0]) not in _EMBEDDINGS:
        return 0
    if [type(part) for part in parts[:2]] != list(_EMBEDDINGS):
        return 1
    return 2 if max(parts[1].columns, default=0) < parts[0].n_numbers else 1


def _embeddings(layer: CategoryEmbeddings) -> Embeddings:
    layer.weight.grad = torch.zeros_like(layer.weight)
    return Embeddings(layer, layer.weight.detach(), layer.weight.grad)


def _periodic(layer: PeriodicEmbeddings) -> Periodic:
    parameters: list[Any] = [getattr(layer, name) for name in PERIODIC_PARAMETERS]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    values = [parameter.detach() for parameter in parameters]
    return Periodic(layer, values, [parameter.grad for parameter in parameters])


# what makes a layer of a chain from each kind of module
_LAYERS: dict[type[nn.Module], Callable[[Any], _Layer]] = {
    nn.Linear: _Linear,
    nn.Dropout: Dropout,
    nn.LayerNorm: LayerNormalization,
    nn.BatchNorm1d: BatchNormalization,
    CategoryEmbeddings: _embeddings,
    PeriodicEmbeddings: _periodic,
    BatchEnsembleLinear: BatchEnsemble,
    MemberHeads: Heads,
    **dict.fromkeys(_DERIVATIVES, Activation),
}
# Layers that write into memory of their own and do not read their outputs again.
_OVERWRITABLE = (_Linear, BatchEnsemble, LayerNormalization, BatchNormalization, Dropout)


class Chain:
    """A ``torch.nn.Sequential`` in training mode, run layer by layer.

    Parameters
    ----------
    layers : list of _Layer
        Layers in forward order; :meth:`of` creates them.
    """

    def __init__(self, layers: list[_Layer]) -> None:
        self.layers = layers
        self.without_graph = torch.no_grad()  # to make one takes longer than to enter it

    @classmethod
    def of(cls, module: nn.Module) -> Chain | None:
        """Split a module into its layers; return None if it is not a plain chain."""
        parts = normalised_layers(module) or _layers_of_members(module)
        return cls.made_of(parts) if parts else None

    @classmethod
    def made_of(cls, parts: list[Any]) -> Chain:
        """Make a chain of modules; a part that is no module is a layer of a chain already."""
        layers: list[_Layer] = []
        for part in parts:
            if not isinstance(part, nn.Module):
                layers.append(part)
            elif type(part) is nn.ReLU and layers and isinstance(layers[-1], _OVERWRITABLE):
                layers.append(ReluInPlace())  # nothing else reads the output of the layer before
            else:
                layers.append(_LAYERS[type(part)](part))
        return cls(layers)

    def store_by_feature(self, *, fresh: bool) -> bool:
        """Store the first weight matrix feature by feature, which speeds up sparse products.

        Values and shape stay the same. The optimizer state has the memory layout of the weights,
        so the layout may change only while the optimizer is ``fresh``. Return whether the matrix
        is stored feature by feature; codes of embeddings are never sparse.
        """
        if not isinstance(self.layers[0], _Linear):
            return False
        weight = self.layers[0].layer.weight
        if fresh and not weight.t().is_contiguous():
            weight.data = weight.data.t().contiguous().t()
            weight.grad = None
        return bool(weight.t().is_contiguous())

    def gradients(
        self,
        x: Tensor | SparseRows,
        loss: Callable[[Tensor], Tensor],
        share: Tensor,
        closed_form: Callable[[Tensor], tuple[Tensor, Tensor] | None] | None = None,
    ) -> Tensor:
        """Write the gradients of ``loss(chain(x))`` into the parameters.

        Parameters
        ----------
        x : Tensor or SparseRows of shape (b, n_features)
            Features of the batch.
        loss : callable(output) -> scalar Tensor
            Loss of the batch, which autograd differentiates.
        share : Tensor of shape (b,); with labels (b, 1) or (b, l)
            Factor of each row, or of each label, in that loss.
        closed_form : callable(output) -> (losses, gradient) or None
            Function that returns the loss of each row (of each label) and its gradient, or None
            if the loss has no closed form.

        Returns
        -------
        Tensor
            The loss, a detached scalar.
        """
        with self.without_graph:
            output: Any = x
            for layer in self.layers:
                output = layer.forward(output)
            known = None if closed_form is None else closed_form(output)
            if known is None:
                leaf = output.detach().requires_grad_()
                with torch.enable_grad():
                    value = loss(leaf.clone())  # the loss may change what it gets, or keep it
                    value.backward()
                value, gradient = value.detach(), leaf.grad
            else:
                values, gradient = known
                value = (values * share).sum()
                gradient.mul_(share if share.ndim == 2 else share.unsqueeze(1))
            first = self.layers[0]
            for layer in reversed(self.layers):
                gradient = layer.backward(gradient, layer is first)
        return value
