"""Outputs of a module, with as little work around its layers as possible.

For one row of a small net, what ``torch.nn.Module`` does around each layer, which looks for hooks
and parameters by name, takes as long as the arithmetic. In a sequence of known layers without hooks
it can be left out; the calls of torch, and so the bits of the outputs, are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.modules import module as _global_hooks

from imbtorch.modules import CategoryEmbeddings, PeriodicEmbeddings
from imbtorch.modules._build import without_graph
from imbtorch.modules._member_layers import BatchEnsembleLinear, MemberHeads

__all__ = ["in_evaluation", "outputs_of"]

# layers whose ``forward`` computes their outputs and does nothing else
_KNOWN = {
    nn.Linear, nn.LayerNorm, nn.Dropout, nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU,
    nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, CategoryEmbeddings, PeriodicEmbeddings,
    BatchEnsembleLinear, MemberHeads,
}  # fmt: skip
_OF_LINEAR = {"weight", "bias"}


def outputs_of(module: nn.Module, rows: Callable[[], Any]) -> Tensor:
    """Return what a module gives in evaluation mode, ``(n, n_outputs)``, without a graph.

    Parameters
    ----------
    module, rows
        As for :func:`imbtorch.modules._build.without_graph`, which raises the same errors.
    """
    layers: Any = module._modules.values()
    if type(module) is not nn.Sequential or not _is_plain(module) or not _are_plain(layers):
        return without_graph(in_evaluation(module), rows)
    x: Tensor = rows()
    for layer in layers:
        own = layer._parameters
        if type(layer) is nn.Linear and own.keys() == _OF_LINEAR:  # attributes are looked up slowly
            x = F.linear(x, own["weight"], own["bias"])
        else:
            x = layer.forward(x)
    return x


def _are_plain(layers: Iterable[nn.Module]) -> bool:
    for layer in layers:
        if type(layer) not in _KNOWN or not _is_plain(layer):
            return False
    return not _global_hooks._has_any_global_hook()


def _is_plain(module: nn.Module) -> bool:
    """Return whether a call runs the ``forward`` of the class in evaluation mode, and no hook."""
    own = module.__dict__
    hooked = own["_forward_hooks"] or own["_forward_pre_hooks"]
    replaced = "forward" in own or "_compiled_call_impl" in own
    return not hooked and not replaced and not own["training"]


def in_evaluation(module: nn.Module) -> nn.Module:
    """Return a module after ``train(False)``, which writes into every layer only where it must.

    To look at the mode of the layers takes a tenth of the time, which counts for a single row.
    """
    return module.train(False) if _may_be_in_training(module) else module


def _may_be_in_training(module: nn.Module) -> bool:
    """Return whether a layer is in training mode, or decides by itself what its mode means."""
    if module.training or type(module).train is not nn.Module.train:
        return True
    for layer in module._modules.values():
        if layer is not None and _may_be_in_training(layer):
            return True
    return False
