"""Outputs for rows of a sparse matrix, whose product with the first layer skips the zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from imbtorch.training.data.features import ChosenFeatures, Features, SparseFeatures
from imbtorch.training.data.sparse_rows import SparseRows
from imbtorch.training.net import Net
from imbtorch.training.plain_forward import in_evaluation, outputs_of
from imbtorch.training.single.chain import normalised_layers

__all__ = ["Outputs", "way_of_computing"]

Outputs = Callable[[Any, Callable[[], Any]], Tensor]


def way_of_computing(features: Features, nets: Sequence[Net]) -> tuple[Features, Outputs]:
    """Choose how nets compute their outputs for some rows.

    Parameters
    ----------
    features : Features
        Rows to predict.
    nets : sequence of Net
        Trained nets.

    Returns
    -------
    features : Features
        The same rows. They stay sparse, as :class:`SparseRows`, if products that skip the zeros are
        faster and each net is a sequence of layers that begins with a linear one.
    outputs : callable(module, rows) -> Tensor
        Function of a module and of a function that returns a new copy of some of these rows. For
        sparse rows the outputs differ by rounding from those for dense rows.
    """
    if not isinstance(features, SparseFeatures | ChosenFeatures) or not features.is_sparse_enough:
        return features, outputs_of
    if not all(map(_begins_with_linear, nets)):
        return features, outputs_of
    return features.sparse(), _sparse_outputs


def _begins_with_linear(net: Net) -> bool:
    layers = normalised_layers(net.module_)
    return net.half is None and bool(layers) and isinstance(layers[0], nn.Linear)


def _sparse_outputs(module: Any, rows: Callable[[], SparseRows]) -> Tensor:
    in_evaluation(module)
    first, *others = module
    x = rows().times(first.weight.t()).add_(first.bias)
    for layer in others:
        x = layer(x)
    return x
