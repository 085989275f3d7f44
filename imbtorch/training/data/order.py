"""Which rows an epoch sees, in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["RowOrder"]


class RowOrder:
    """Training rows in random order, another one each epoch; shared by runs that see the same.

    Parameters
    ----------
    index : ndarray of int, shape (n_rows,), or None
        Positions of the training rows; None for all.
    n_rows : int
        How many there are.
    seed : int
        Of the order.
    device : torch.device
        Where the positions are needed.
    """

    def __init__(
        self,
        index: NDArray[np.integer[Any]] | None,
        n_rows: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.n_rows, self.seed, self.device = n_rows, seed, device
        self.kind = torch.int32 if n_rows < 2**31 else torch.int64
        self.positions = None if index is None else torch.from_numpy(index).to(device, self.kind)
        self._restart()

    def _restart(self) -> None:
        self._generator, self._epoch = torch.Generator().manual_seed(self.seed), -1
        self._latest = torch.empty(0)

    def shuffled(self, epoch: int) -> Tensor:
        """All rows in the order of this epoch; epochs are drawn one after the other.

        Parameters
        ----------
        epoch : int
            From 0; that of the last call costs nothing.

        Returns
        -------
        Tensor of int, shape (n_rows,)
            Positions, on the device.
        """
        if epoch < self._epoch:
            self._restart()
        while self._epoch < epoch:
            order = torch.randperm(self.n_rows, generator=self._generator, dtype=self.kind)
            self._epoch += 1
            if self._epoch == epoch:
                self._latest = self._located(order)
        return self._latest

    def chosen(self, order: NDArray[np.integer[Any]]) -> Tensor:
        """Locate the rows that a sampler chose.

        Parameters
        ----------
        order : ndarray of int, shape (m,)
            Numbers among the training rows.

        Returns
        -------
        Tensor of int, shape (m,)
            Positions, on the device.
        """
        return self._located(torch.from_numpy(order))

    def _located(self, order: Tensor) -> Tensor:
        order = order.to(self.device)
        return order if self.positions is None else self.positions[order]
