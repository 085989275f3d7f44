"""Outputs of a trained net, in large chunks and without autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imbtorch._common.seed import outside_autocast
from imbtorch.modules import PeriodicEmbeddings
from imbtorch.training.data.features import ChosenFeatures, Features
from imbtorch.training.net import Net
from imbtorch.training.sparse_prediction import way_of_computing
from imbtorch.training.threads import threads_of_prediction

__all__ = [
    "CHUNK_BYTES",
    "CHUNK_ROWS",
    "predict_chunks",
    "refuse_outputs",
    "rows_at_a_time",
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
    module = net.module_
    features, outputs = way_of_computing(features, [net])
    step = rows_at_a_time(features, module)
    threads = threads_of_prediction(net, min(step, stop))
    bounds = [(first, min(first + step, stop)) for first in range(0, stop, step)]
    for (first, last), rows in zip(bounds, _chunks(features, bounds), strict=True):
        # a module may differentiate, which it cannot do in the inference mode of a caller; and a
        # generator must not leave modes behind for its caller
        with torch.inference_mode(False), torch.no_grad(), outside_autocast(net.device), threads:
            with net.autocast():
                output = outputs(module, rows)
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


def rows_at_a_time(features: Features, module: nn.Module) -> int:
    """Return how many rows a forward pass gets, so that the activations stay in the cache.

    The embedding of a net holds four tensors of the size of its waves at a time.
    """
    if len(features) == 1:  # the layers need not be looked at
        return 1
    layers = [layer for layer in module.modules() if isinstance(layer, PeriodicEmbeddings)]
    waves = 4 * sum(layer.frequency.nbytes for layer in layers)
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(1, features.row_bytes + waves)))


def refuse_outputs(net: Net, name: str, features: Features, linked: NDArray[Any]) -> None:
    """Raise ValueError if the module itself returned NaN or infinity.

    A ``target_prior`` of 0 makes infinite log-probabilities of finite outputs, which are right.

    Parameters
    ----------
    net : Net
        Trained.
    name : str
        Name of the class of the module, for the message.
    features : Features
        Rows that were predicted.
    linked : ndarray of shape (n, n_outputs)
        Predictions, some of which are not finite.

    Raises
    ------
    ValueError
        If an output is not finite; the message names the rows.
    """
    raw = [chunk.cpu().numpy() for chunk in predict_chunks(net, features, lambda z: z)]
    outputs = np.concatenate(raw).reshape(len(linked), -1)
    is_wrong = ~np.isfinite(outputs).all(axis=1) | np.isnan(linked).any(axis=1)
    rows = np.flatnonzero(is_wrong)
    if len(rows):
        shown = ", ".join(map(str, rows[:5].tolist())) + (", ..." if len(rows) > 5 else "")
        raise ValueError(
            f"The outputs of {name} are NaN or infinite for {len(rows)} of {len(linked)} rows of "
            f"X: {shown}. Look for a logarithm, a square root or a division in forward that does "
            "not take these rows, and for values far from those of the training data."
        )
