"""Rows that are sequences of unequal length: padded with zeros when a batch is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from imbtorch._common.inputs import Key, PaddedSteps, batch_of
from imbtorch._common.sequences import Sequences, step_places
from imbtorch.modules._several_inputs import spread_of

__all__ = ["SequenceFeatures", "with_padding"]


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


def with_padding(loader: Any, module: nn.Module) -> Any:
    """Return the batches of a skorch dataset, whose sequences are padded.

    Parameters
    ----------
    loader : DataLoader
        What skorch would loop over.
    module : torch.nn.Module
        Module that gets the batches, and knows which of its inputs are sequences.
    """
    spread = spread_of(module)
    if spread is not None and spread.sequences:
        loader.collate_fn = partial(_collated, spread.sequences, loader.collate_fn)
    return loader


def _collated(
    sequences: Collection[Key], collate: Callable[[list[Any]], Any], items: list[Any]
) -> tuple[Any, Any]:
    """Make a batch of the items of a skorch dataset, some of whose inputs are sequences.

    Parameters
    ----------
    sequences : collection of str or int
        Names or positions of the inputs that are sequences.
    collate : callable(items) -> batch
        Function that makes a batch of everything else.
    items : list of (inputs, target)
        The items; inputs are a dict or a tuple of arrays.
    """
    parts: dict[Key, Any] = {}
    rows = [x if isinstance(x, dict) else dict(enumerate(x)) for x, _ in items]
    for key in rows[0]:
        values = [row[key] for row in rows]
        if key in sequences:
            steps = Sequences(values)
            flat, lengths = torch.from_numpy(steps.flat), torch.from_numpy(steps.lengths)
            features = SequenceFeatures(flat, lengths, flat.device)
            parts[key] = features.slice(0, len(steps))
        else:
            parts[key] = collate(values)
    return batch_of(parts), collate([target for _, target in items])
