"""Outputs of a trained net, in large chunks and without autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from imbtorch.training.data.features import Features
from imbtorch.training.net import Net

__all__ = ["CHUNK_BYTES", "CHUNK_ROWS", "predict_chunks"]

CHUNK_BYTES = 8 * 2**20  # of input rows per forward pass: the activations stay in the cache
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
    stop = len(features)
    step = max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(1, features.row_bytes)))
    net.module_.train(False)
    for first in range(0, stop, step):
        with torch.inference_mode():  # inside the loop: a generator must not leak the mode
            x = features.slice(first, min(first + step, stop))
            output = net.module_(x)
            net.task.check_outputs(output, len(x), net.module_)
            result = link(net.read(output))
        yield result
