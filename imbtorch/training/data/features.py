"""Rows of ``X`` on demand: what they can be asked for, and two views of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["ChosenFeatures", "DiskFeatures", "Features"]

_DISK_BLOCKS = 4  # the more rows are fetched at once, the nearer to each other they lie


class _Block(Protocol):
    """Gathered rows that split into batches, as tensors do."""

    def split(self, sizes: Any) -> Iterable[Any]: ...


class Features(Protocol):
    """Rows of ``X``, on demand; ``blocks`` of ``BLOCK_BYTES`` are gathered at once."""

    row_bytes: int
    blocks: int

    def __len__(self) -> int:
        """Count the rows."""

    def gather(self, index: Tensor) -> _Block:
        """Rows at these positions, on the device."""

    def slice(self, start: int, stop: int) -> Tensor:
        """Neighbouring rows, on the device."""

    def same_as(self, other: Any) -> bool:
        """Whether these are known to be the same rows."""


class DiskFeatures:
    """Rows that lie on a disk: read in the order in which they lie there, then put in theirs.

    Parameters
    ----------
    features : Features
        Rows of an array on a disk, which it gathers as tensors.
    """

    blocks = _DISK_BLOCKS

    def __init__(self, features: Features) -> None:
        self.features, self.row_bytes = features, features.row_bytes

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.features)

    def gather(self, index: Tensor) -> Tensor:
        """Rows at these positions, on the device."""
        lying, place = index.sort()
        back = torch.empty_like(place)
        back[place] = torch.arange(len(place), device=place.device)
        rows: Tensor
        (rows,) = self.features.gather(lying).split([len(lying)])
        return rows.index_select(0, back)

    def slice(self, start: int, stop: int) -> Tensor:
        """Neighbouring rows, on the device."""
        return self.features.slice(start, stop)

    def same_as(self, other: Any) -> bool:
        """Whether these are known to be the same rows."""
        return isinstance(other, DiskFeatures) and self.features.same_as(other.features)


class ChosenFeatures:
    """Some rows of others, which are not copied.

    Parameters
    ----------
    features : Features
        All rows.
    chosen : ndarray of int, shape (m,)
        Positions.
    device : torch.device
        Where the rows are needed.
    """

    blocks = 1

    def __init__(
        self, features: Features, chosen: NDArray[np.integer[Any]], device: torch.device
    ) -> None:
        self.features, self.row_bytes = features, features.row_bytes
        self.chosen = torch.from_numpy(chosen).to(device)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.chosen)

    def gather(self, index: Tensor) -> _Block:
        """Rows at these positions among the chosen ones, on the device."""
        return self.features.gather(self.chosen[index])

    def slice(self, start: int, stop: int) -> Tensor:
        """Neighbours among the chosen rows, on the device."""
        index = self.chosen[start:stop]
        rows: Tensor
        (rows,) = self.features.gather(index).split([len(index)])
        return rows

    def same_as(self, other: Any) -> bool:
        """Whether these are known to be the same rows."""
        return (
            isinstance(other, ChosenFeatures)
            and torch.equal(self.chosen, other.chosen)
            and (self.features is other.features or self.features.same_as(other.features))
        )
