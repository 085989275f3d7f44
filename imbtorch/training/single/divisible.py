"""Check whether a batch may be computed in parts, one after the other or in several processes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from imbtorch.training.net import Net

__all__ = ["indivisible_because"]


def indivisible_because(net: Net, *, hooked: bool, normalizes_parts: bool = False) -> str | None:
    """Return why the gradient of a batch is not the sum of the gradients of its parts.

    Parameters
    ----------
    net : Net
        Net to be trained.
    hooked : bool
        Whether callbacks look at batches.
    normalizes_parts : bool, default=False
        Whether batch normalisation may take its statistics from a part of the batch.

    Returns
    -------
    str or None
        The reason as a main clause, to be used in messages; None if the gradients add up.
    """
    module, loss = net.module_, net.criterion_
    watching = net.observing_layers()
    norms = [
        layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm)
        or (isinstance(layer, _NormBase) and layer.track_running_stats)
    ]
    if norms and not normalizes_parts:
        return f"{type(norms[0]).__name__} takes its statistics from the whole batch"
    if watching:
        return f"{type(watching[0]).__name__} looks at the targets of the whole batch"
    if not loss.sums_over_rows or _compares_rows(net):
        return f"{type(loss).__name__} compares the rows of a batch with each other"
    if hooked:
        return "callbacks look at whole batches (on_batch_begin, on_batch_end, on_grad_computed)"
    return None


@torch.no_grad()
def _compares_rows(net: Net) -> bool:
    """Return whether a trial shows that the loss of random rows is not the sum over the rows."""
    n, width = 12, net.n_outputs
    loss = copy.deepcopy(net.criterion_).train(True)
    loss.set_epoch(2**31)  # past any warm-up
    before = _values(loss)
    draw = torch.Generator().manual_seed(0)
    output = torch.randn(n, width, generator=draw, dtype=net.dtype).to(net.device)
    values = torch.randn(n, width, generator=draw, dtype=net.dtype).to(net.device)
    target, share = net.task.example_targets(values), net.task.even_share(output)

    def value(rows: slice) -> float:
        return float(loss.batch_loss(output[rows], target[rows], share[rows]))

    whole = value(slice(None))
    parts = sum(value(slice(row, row + 1)) for row in range(n))
    adds_up = abs(whole - parts) <= 1e-5 * max(1.0, abs(whole))
    return not adds_up or _values(loss) != before


def _values(module: nn.Module) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, Tensor) else repr(value)  # an extra state
        for name, value in module.state_dict().items()
    }
