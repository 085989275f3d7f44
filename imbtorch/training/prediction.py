"""Outputs of a trained net, in large chunks and without autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from imbtorch.modules import PeriodicEmbeddings
from imbtorch.modules._build import without_graph
from imbtorch.training.data.features import ChosenFeatures, Features
from imbtorch.training.net import Net
from imbtorch.training.single.chain import has_hooks

__all__ = [
    "CHUNK_BYTES",
    "CHUNK_ROWS",
    "bytes_per_row",
    "is_made_of_known_layers",
    "predict_chunks",
]

CHUNK_BYTES = 8 * 2**20  # of rows and waves per forward pass: the activations stay in the cache
CHUNK_ROWS = 4_096


def predict_chunks(
    net: Net, features: Features, link: Callable[[Tensor], Tensor]
) -> Iterator[Tensor]:
    """Yield ``link(outputs)`` row by row, ``(chunk, n_outputs)``.

    Parameters
    ----------
    net : Net
        Trained; its outputs for two classes are read as two columns.
    features : Features
        Rows to predict.
    link : callable(outputs) -> Tensor
        From outputs to what is wanted.

    Yields
    ------
    Tensor of shape (chunk, n_outputs)
        On the device.
    """
    known = None if net.siblings is None else net.siblings.outputs(net, features)
    if known is not None:
        yield link(known)
        return
    lengths = getattr(features, "lengths", None)
    if lengths is not None and (lengths.diff() < 0).any():
        yield _by_length(net, features, lengths, link)
        return
    stop = len(features)
    module = net.module_.train(False)
    step = max(1, min(CHUNK_ROWS, CHUNK_BYTES // bytes_per_row(features, module)))
    fast = is_made_of_known_layers(module)
    bounds = [(first, min(first + step, stop)) for first in range(0, stop, step)]
    for (first, last), rows in zip(bounds, _chunks(features, bounds), strict=True):
        with torch.inference_mode(fast), torch.no_grad():  # a generator must not leak it
            with net.autocast():
                output = without_graph(module, rows)
            net.task.check_outputs(output, last - first, module)
            result = link(net.read(output))
        yield result


def _chunks(features: Features, bounds: list[tuple[int, int]]) -> Iterator[Callable[[], Any]]:
    """Yield functions that return a new copy of the rows of each chunk."""
    if not getattr(features, "reads_ahead", False):
        for first, last in bounds:
            yield partial(features.slice, first, last)
        return
    sizes = [last - first for first, last in bounds]
    for rows in features.gather(torch.arange(len(features))).split(sizes):
        yield rows.clone


def _by_length(
    net: Net, features: Features, lengths: Tensor, link: Callable[[Tensor], Tensor]
) -> Tensor:
    """Predict sequences of similar length together, and return what is wanted in their order."""
    order = torch.argsort(lengths, stable=True)
    sorted_rows = ChosenFeatures(features, order.numpy(), torch.device(net.device))
    linked = torch.cat(list(predict_chunks(net, sorted_rows, link)))
    result = torch.empty_like(linked)
    result[order.to(linked.device)] = linked
    return result


def bytes_per_row(features: Features, module: nn.Module) -> int:
    """Return how many bytes a row has, together with the waves that a net makes of its numbers.

    The embedding holds four tensors of the size of the waves at a time.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, PeriodicEmbeddings)]
    return max(1, features.row_bytes + 4 * sum(layer.frequency.nbytes for layer in layers))


def is_made_of_known_layers(module: nn.Module) -> bool:
    """Return whether a module has only layers of torch or of this package, without hooks.

    They may be called in ``torch.inference_mode``, which is faster for a single row. A user's class
    or hook may differentiate, or store tensors that a later training uses, and neither is possible
    in inference mode.
    """
    return all(
        type(layer).__module__.startswith(("torch.nn.", "imbtorch."))
        and "forward" not in vars(layer)
        and not has_hooks(layer)
        for layer in module.modules()
    )
