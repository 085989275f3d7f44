"""A warning where the batches of a loss that compares rows hold nothing to compare."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from imbtorch._data.targets import present_labels
from imbtorch.losses import BaseLoss
from imbtorch.losses._whole_batch import WholeBatchMixin
from imbtorch.training.callbacks import Monitor
from imbtorch.training.data.rows import ArrayRows, RowOrder, Rows, batch_sizes
from imbtorch.training.run import Plan

__all__ = ["PairWatch", "has_pair"]

_FEW = 0.1  # with pairs in more batches than this share, the loss trains the net


class PairWatch(Monitor):
    """Warn after the first epoch if hardly any batch held a positive and a negative row.

    Whole-batch losses compare positives with negatives. A batch without such a pair trains
    nothing, or pushes all scores in one direction. The batches are made again from the order of
    the epoch, so that the training loop counts nothing.

    Parameters
    ----------
    rows : Rows
        Training rows. Rows of a stream are not watched, because they cannot be asked for again.
    order : RowOrder
        The order in which an epoch sees them.
    plan : callable or None
        What a sampler chooses for an epoch.
    """

    def __init__(self, rows: Rows, order: RowOrder, plan: Plan | None) -> None:
        self.rows, self.order, self.plan = rows, order, plan

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """Remember where the training starts."""
        self.epochs, self.past = epochs, len(net.history)

    def epoch_end(self, net: Any, record: dict[str, Any]) -> bool:
        """Look at the batches of the first epoch."""
        loss = net.criterion_
        first = record["epoch"] == self.past + 1
        if first and isinstance(loss, WholeBatchMixin) and isinstance(self.rows, ArrayRows):
            chosen = None if self.plan is None else self.plan(0, self.epochs)
            order = self.order.shuffled(0) if chosen is None else self.order.chosen(chosen)
            _warn(loss, has_pair(self.rows.given_targets, order, net.batch_size), net.batch_size)
        return False


def has_pair(targets: Any, order: Tensor, batch_size: int) -> NDArray[np.bool_]:
    """Return for each batch whether it holds rows of two classes, or of a label 0 and 1.

    Parameters
    ----------
    targets : ndarray of int, shape (n,), or CSR matrix of shape (n, n_labels)
        Class codes, or labels of 0 and 1.
    order : Tensor of int, shape (m,)
        The rows of the epoch.
    batch_size : int
        Number of rows of a batch.

    Returns
    -------
    ndarray of bool, shape (n_batches,)
        One value for each batch.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from imbtorch._fit.pairs import has_pair
    >>> has_pair(np.array([0, 0, 0, 1]), torch.arange(4), 2).tolist()
    [False, True]
    """
    sizes = np.array(batch_sizes(len(order), batch_size), dtype=np.intp)
    found = targets[order.cpu().numpy()]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
    if not len(sizes):
        return np.zeros(0, dtype=bool)
    if not sparse.issparse(found):
        pairs: NDArray[np.bool_] = np.minimum.reduceat(found, starts) != np.maximum.reduceat(
            found, starts
        )
        return pairs
    found = present_labels(found)
    of_batch = np.repeat(np.arange(len(sizes)), sizes)
    shape = len(sizes), len(of_batch)
    adds = sparse.csr_array((np.ones(len(of_batch)), (of_batch, np.arange(len(of_batch)))), shape)
    counts = sparse.coo_array(adds @ found)
    mixed = (counts.data > 0) & (counts.data < sizes[counts.row])
    return np.bincount(counts.row[mixed], minlength=len(sizes)) > 0


def _warn(loss: BaseLoss, pairs: NDArray[np.bool_], batch_size: int) -> None:
    if not len(pairs) or pairs.mean() > _FEW:
        return
    warnings.warn(
        f"{type(loss).__name__} compares positive with negative rows, but {(~pairs).sum()} of the "
        f"{len(pairs)} batches of the first epoch held no pair of them, so that they trained "
        f"nothing useful. batch_size is {batch_size}: raise it, or use a sampler that puts rare "
        "rows into every batch, such as sampler='exact_batches'.",
        UserWarning,
        stacklevel=2,
    )
