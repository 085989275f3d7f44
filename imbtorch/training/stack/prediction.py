"""Compute the outputs of many trained nets for the same rows in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from imbtorch._common.seed import outside_autocast
from imbtorch.modules import CategoryEmbeddings, PeriodicEmbeddings
from imbtorch.training.data.features import Features
from imbtorch.training.data.sparse_rows import SparseRows
from imbtorch.training.net import Net
from imbtorch.training.plain_forward import in_evaluation
from imbtorch.training.prediction import rows_at_a_time
from imbtorch.training.single.chain import Embeddings, has_hooks, plain_layers
from imbtorch.training.single.periodic import PERIODIC_PARAMETERS, Periodic
from imbtorch.training.sparse_prediction import Outputs, way_of_computing
from imbtorch.training.stack.attributes import IncomparableError
from imbtorch.training.stack.compatibility import module_kind
from imbtorch.training.stack.modules import mappable_copy
from imbtorch.training.threads import threads_of_prediction

__all__ = ["FEW_ROWS", "Siblings", "predict_chunks_stacked"]

FEW_ROWS = 256  # for so few rows the choice of a way and the stack of the weights cost too much
_REMEMBERED = 4  # how many sets of rows to remember: test rows, training rows, and two more

Forward = Callable[[Any], Any]  # (b, ...) -> n_nets outputs of shape (b, n_outputs)


def predict_chunks_stacked(nets: Sequence[Net], features: Features) -> Iterator[list[Tensor]]:
    """Yield the outputs of every net, one chunk of rows after the other.

    Parameters
    ----------
    nets : sequence of Net
        Trained nets on one device.
    features : Features
        Rows to predict.

    Yields
    ------
    list of Tensor of shape (chunk, n_outputs)
        Outputs of each net for the chunk, in the form that losses expect: two columns for two
        classes.
    """
    stop = len(features)
    modules = [net.module_ for net in nets]
    features, outputs = way_of_computing(features, nets)
    one_by_one = partial(_one_by_one, nets, outputs)
    forward = one_by_one if stop <= FEW_ROWS else _forward(nets, modules, one_by_one)
    step = max(1, rows_at_a_time(features, modules[0]) // 4)
    at_once = min(step, stop) * (1 if stop <= FEW_ROWS else len(nets))
    threads = threads_of_prediction(nets[0], at_once)
    for first in range(0, stop, step):
        # as in predict_chunks
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            outside_autocast(nets[0].device),
            threads,
        ):
            found = forward(features.slice(first, min(first + step, stop)))
            read = [net.read(output) for net, output in zip(nets, found, strict=True)]
        yield read


def _forward(nets: Sequence[Net], modules: Sequence[nn.Module], one_by_one: Forward) -> Forward:
    """Choose how to compute the outputs of all modules for the same rows.

    Nothing is kept for later calls: weights may be changed in place, which leaves no trace.
    """
    try:
        alike = len({module_kind(module) for module in modules}) == 1
    except IncomparableError:
        alike = False
    apart = len(modules) == 1 or not alike or any(net.half is not None for net in nets)
    if apart or any(map(has_hooks, modules[0].modules())):
        return one_by_one
    for module in modules:
        in_evaluation(module)
    tensors = [{**dict(m.named_parameters()), **dict(m.named_buffers())} for m in modules]
    layers = plain_layers(modules[0])
    if layers is not None:
        stacked = {n: torch.stack([own[n].detach() for own in tensors]) for n in tensors[0]}
        return _chain(layers, stacked)
    return _mapped(modules, tensors, one_by_one)


def _one_by_one(nets: Sequence[Net], outputs: Outputs, x: Any) -> list[Tensor]:
    return [_outputs_of(net, outputs, x) for net in nets]


def _outputs_of(net: Net, outputs: Outputs, x: Any) -> Tensor:
    with net.autocast():
        return outputs(net.module_, x.clone)


def _chain(layers: Sequence[nn.Module], stacked: dict[str, Tensor]) -> Forward:
    n = len(next(iter(stacked.values())))

    def forward(rows: Any) -> Tensor:
        x: Any = rows if isinstance(rows, SparseRows) else rows.expand(n, *rows.shape)
        for place, layer in enumerate(layers):
            if isinstance(layer, nn.Linear):
                weight, bias = stacked[f"{place}.weight"], stacked[f"{place}.bias"].unsqueeze(1)
                if isinstance(x, SparseRows):
                    x = x.times_each(weight).add_(bias)
                else:
                    x = torch.baddbmm(bias, x, weight.transpose(1, 2))
            elif isinstance(layer, CategoryEmbeddings):
                x = Embeddings(layer, stacked[f"{place}.weight"]).forward(x)
            elif isinstance(layer, PeriodicEmbeddings):
                own = [stacked[f"{place}.{name}"] for name in PERIODIC_PARAMETERS]
                x = Periodic(layer, own).forward(x)
            else:
                x = layer(x)
        outputs: Tensor = x
        return outputs

    return forward


def _mapped(
    modules: Sequence[nn.Module], tensors: Sequence[dict[str, Tensor]], one_by_one: Forward
) -> Forward:
    """Map the module over its parameters if that gives equal outputs for the first rows."""
    skeleton = mappable_copy(modules[0])
    stacked = {n: torch.stack([own[n].detach() for own in tensors]) for n in tensors[0]}

    def one(own: Any, x: Tensor) -> Tensor:
        output: Tensor = functional_call(skeleton, own, (x,))
        return output

    everything = vmap(one, in_dims=(0, None), randomness="different")
    tried: list[bool] = []

    def forward(x: Any) -> Any:
        if isinstance(x, SparseRows):  # which vmap cannot take
            return one_by_one(x)
        if not tried:
            tried.append(_agree(everything, stacked, one_by_one, x[:4]))
        try:
            return everything(stacked, x) if tried[0] else one_by_one(x)
        except IndexError:  # an embedding lacks an identifier, which a single net explains
            return one_by_one(x)

    return forward


def _agree(everything: Any, stacked: Any, one_by_one: Forward, x: Tensor) -> bool:
    try:
        found = everything(stacked, x.clone())
    except Exception:  # vmap raises many types of errors
        return False
    expected = torch.stack(list(one_by_one(x)))
    return found.dtype == expected.dtype and torch.allclose(
        found, expected, rtol=1e-4, atol=1e-5, equal_nan=True
    )


class Siblings:
    """Nets that predict the same rows: the first request computes the outputs of all of them.

    Parameters
    ----------
    nets : sequence of Net
        Trained nets, which must not be trained further while they are siblings.
    """

    def __init__(self, nets: Sequence[Net]) -> None:
        self.nets = list(nets)
        self.known: list[tuple[Features, dict[int, Tensor]]] = []

    def __enter__(self) -> None:
        """Attach the nets to each other."""
        for net in self.nets:
            net.siblings = self

    def __exit__(self, *error: object) -> None:
        """Detach the nets from each other."""
        for net in self.nets:
            del net.siblings

    def outputs(self, net: Net, features: Features) -> Tensor:
        """Return the outputs of a net; compute the outputs of all nets if they are not known.

        Parameters
        ----------
        net : Net
            One of the nets.
        features : Features
            Rows to predict.

        Returns
        -------
        Tensor of shape (n, n_outputs)
            Outputs of the net, in the form that its loss expects.
        """
        for rows, found in self.known:
            if rows.same_as(features):
                return found[id(net)]
        chunks = zip(*predict_chunks_stacked(self.nets, features), strict=True)
        found = {id(n): torch.cat(parts) for n, parts in zip(self.nets, chunks, strict=True)}
        self.known = [(features, found), *self.known][:_REMEMBERED]
        return found[id(net)]
