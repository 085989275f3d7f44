"""Batches of sequences of similar length, so that little of a batch is padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imbtorch.training.data.rows import RowOrder, ShuffledOrder, batch_sizes

__all__ = ["BucketedOrder", "bucketed"]

_POOL = 16  # batches whose rows are sorted together


def bucketed(order: RowOrder, lengths: Tensor | None, batch_size: int) -> RowOrder:
    """Return an order whose batches hold rows of similar length.

    Parameters
    ----------
    order, batch_size
        See :class:`BucketedOrder`; another order than a shuffled one stays as it is.
    lengths : Tensor of int64, shape (n,), or None
        Length of the row at each position; None where no input is a sequence.

    Returns
    -------
    RowOrder
        The given order itself, if nothing is to be sorted.
    """
    if lengths is None or not isinstance(order, ShuffledOrder) or lengths.min() == lengths.max():
        return order
    return BucketedOrder(order, lengths, batch_size)


class BucketedOrder(RowOrder):
    """A shuffled order whose batches hold sequences of similar length.

    The drawn order is cut into pools of 16 batches. The rows of a pool are sorted by length, and
    its batches are visited in a drawn order. So an epoch sees the rows of the drawn order, each
    one once. A last batch of another size stays as it was drawn: it would otherwise always hold
    the longest rows, and each of its rows counts more than those of the other batches.

    Rows that a sampler has chosen stay in its order, because some samplers decide which rows a
    batch holds together.

    Parameters
    ----------
    order : ShuffledOrder
        The drawn order; its seed also draws the order of the batches.
    lengths : Tensor of int64, shape (n,)
        Length of the row at each position.
    batch_size : int
        Number of rows of a batch.
    """

    def __init__(self, order: ShuffledOrder, lengths: Tensor, batch_size: int) -> None:
        self.order, self.n_rows = order, order.n_rows
        self.lengths, self.batch_size = lengths, batch_size

    def shuffled(self, epoch: int) -> Tensor:
        """Return all rows in the order of this epoch, ``(n_rows,)``, on the device."""
        drawn = self.order.shuffled(epoch)
        sizes = batch_sizes(len(drawn), self.batch_size)
        n_batches = len(sizes) - (sizes[-1] != self.batch_size)
        full, rest = drawn[: n_batches * self.batch_size], drawn[n_batches * self.batch_size :]
        lengths = self.lengths[full.cpu().long()]
        pools = torch.arange(len(full)) // (self.batch_size * _POOL)
        by_length = torch.argsort(pools * (self.lengths.max() + 1) + lengths, stable=True)
        batches = full[by_length.to(full.device)].reshape(n_batches, self.batch_size)
        rng = np.random.default_rng([self.order.seed, epoch, 2])
        visited = np.lexsort([rng.random(n_batches), np.arange(n_batches) // _POOL])
        return torch.cat([batches[torch.from_numpy(visited).to(full.device)].reshape(-1), rest])

    def chosen(self, order: NDArray[np.integer[Any]]) -> Tensor:
        """Return the positions of rows that a sampler chose, in its order."""
        return self.order.chosen(order)
