"""How many threads torch computes with on the CPU: the rule behind ``n_threads="auto"``.

torch's threads wait for each other by spinning, at the end of each operation. In a small step they
wait longer than they compute; and where another program has a core, they wait until they get it
back, which takes a hundred times as long as the step. The rule looks at sizes and not at times, so
that the same data and parameters give the same bits on the same machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from imbtorch._common.threads import ThreadLimit
from imbtorch.modules import CategoryEmbeddings, PeriodicEmbeddings
from imbtorch.modules._member_layers import BatchEnsembleLinear, MemberHeads
from imbtorch.training.net import Net

__all__ = [
    "SMALL_PRODUCT",
    "product_per_row",
    "threads_of_prediction",
    "threads_of_training",
]

# Multiplications of a matrix product. On two idle cores, a training step whose largest product has
# 2.6 million took 1.8 times as long with two threads as with one, and 0.7 to 0.9 times with 4.2.
SMALL_PRODUCT = 2**22

# Layers whose largest product for a row has as many multiplications as their largest parameter has
# numbers; those of BatchEnsembleLinear are as many for each member.
_KNOWN = {
    nn.Linear, BatchEnsembleLinear, MemberHeads, PeriodicEmbeddings, CategoryEmbeddings,
    nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d, nn.Dropout, nn.AlphaDropout, nn.Identity, nn.ReLU,
    nn.ReLU6, nn.PReLU, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Hardswish, nn.Tanh, nn.Sigmoid, nn.Softplus,
}  # fmt: skip


def threads_of_training(runs: Sequence[Any]) -> AbstractContextManager[None]:
    """Return a context for the training of one net, or of a stack of nets.

    Parameters
    ----------
    runs : sequence of Run
        Runs that are trained together, whose nets have ``limits_threads``.
    """
    first = runs[0]
    rows = min(first.net.batch_size, max(run.row_order.n_rows for run in runs))
    own = -(-rows // first.processes.size)
    return _limit(first.net, own * len(runs))


def threads_of_prediction(net: Net, n_rows: int) -> AbstractContextManager[None]:
    """Return a context for the forward pass of some rows, which may be entered for each chunk.

    Parameters
    ----------
    net : Net
        The net, or one of several nets that compute together.
    n_rows : int
        Number of rows of a chunk, times the number of nets. For one row torch uses one thread.
    """
    if n_rows == 1 or not net.limits_threads:
        return nullcontext()
    return _limit(net, n_rows, is_short=True)


def _limit(net: Net, n_rows: int, *, is_short: bool = False) -> AbstractContextManager[None]:
    if net.n_threads != "auto":
        assert net.n_threads is not None  # the net limits threads
        return ThreadLimit(int(net.n_threads), is_short=is_short)
    is_small = n_rows * product_per_row(net.module_) < SMALL_PRODUCT
    return ThreadLimit(1, is_short=is_short) if is_small else nullcontext()


def product_per_row(module: nn.Module) -> int:
    """Return how many multiplications the largest matrix product of a module takes for one row.

    A module with other layers, or with a ``forward`` of its own, counts as large: a convolution or
    an attention uses each weight many times for a row, and how often is not known here.
    """
    layers = [layer for layer in module.modules() if type(layer) is not nn.Sequential]
    if not all(type(layer) in _KNOWN for layer in layers):
        return SMALL_PRODUCT
    return max(map(_product_of, layers), default=0)


def _product_of(layer: nn.Module) -> int:
    if isinstance(layer, CategoryEmbeddings):  # it looks vectors up
        return 0
    largest = max((p.numel() for p in layer.parameters(recurse=False)), default=0)
    return largest * layer.n_members if isinstance(layer, BatchEnsembleLinear) else largest
