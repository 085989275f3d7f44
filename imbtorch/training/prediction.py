"""Outputs of a trained net, in large chunks and without autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
    "refuse_outputs",
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
    for first in range(0, stop, step):
        last = min(first + step, stop)
        with torch.inference_mode(fast), torch.no_grad():  # a generator must not leak it
            with net.autocast():
                output = without_graph(module, partial(features.slice, first, last))
            net.task.check_outputs(output, last - first, module)
            result = link(net.read(output))
        yield result


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
