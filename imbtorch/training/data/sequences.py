"""Rows that are sequences of unequal length: padded with zeros when a batch is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from imbtorch._common.inputs import PaddedSteps
from imbtorch._common.sequences import step_places

__all__ = ["SequenceFeatures"]


class SequenceFeatures:
    """Sequences; see :class:`imbtorch.training.data.features.Features`.

    Parameters
    ----------
    flat : Tensor of shape (n_steps, ...)
        The steps of all sequences, one sequence behind the other, on the device or on the CPU.
    lengths : Tensor of int64, shape (n,)
        Number of steps of each sequence, on the CPU.
    device : torch.device
        Device to compute on.
    """

    blocks = 1

    def __init__(self, flat: Tensor, lengths: Tensor, device: torch.device) -> None:
        self.flat, self.lengths, self.device = flat, lengths, device
        self.starts = lengths.cumsum(0) - lengths
        step = flat[0].numel() * flat.element_size()
        self.row_bytes = step * int(lengths.max())  # a batch is at most as long as the longest row

    def __len__(self) -> int:
        """Count the sequences."""
        return len(self.lengths)

    def gather(self, index: Tensor) -> _Unpadded:
        """Return the sequences at these positions, which are padded when they are split."""
        return _Unpadded(self, index.cpu())

    def slice(self, start: int, stop: int) -> PaddedSteps:
        """Return neighbouring sequences, padded to the longest of them."""
        return self.padded(torch.arange(start, min(stop, len(self))))

    def padded(self, index: Tensor) -> PaddedSteps:
        """Return sequences, padded with zeros on the right to the longest of them."""
        lengths, starts = self.lengths[index], self.starts[index]
        n_steps = int(lengths.max())
        there = self.flat.device
        places, padding = step_places(starts.to(there), lengths.to(there), n_steps)
        steps = self.flat.index_select(0, places.reshape(-1))
        batch = steps.reshape(*places.shape, *self.flat.shape[1:])
        batch.masked_fill_(padding.reshape(*padding.shape, *[1] * (batch.ndim - 2)), 0)
        return PaddedSteps(batch.to(self.device), lengths.to(self.device))

    def same_as(self, other: Any) -> bool:
        """Return whether these are known to be the same rows."""
        return (
            isinstance(other, SequenceFeatures)
            and torch.equal(self.lengths, other.lengths)
            and torch.equal(self.flat, other.flat)
        )


class _Unpadded:
    """Chosen sequences, which are padded batch by batch."""

    def __init__(self, features: SequenceFeatures, index: Tensor) -> None:
        self.features, self.index = features, index

    def split(self, sizes: Any) -> Iterator[PaddedSteps]:
        return map(self.features.padded, self.index.split(sizes))
