"""Batches of a map-style Dataset, read by processes that may stay from one epoch to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

__all__ = ["BatchLoader"]

Call = tuple[list[int], int]  # positions of the rows of a batch, and the seed of the pass
Read = Callable[[list[int], int], Any]


class BatchLoader:
    """Read batches pass by pass.

    Parameters
    ----------
    read : callable(positions, seed) -> batch
        Function that reads a batch. It draws from generators that it seeds itself, so that a batch
        does not depend on the process that reads it. Workers get a copy of it.
    num_workers : int
        Number of processes that read ahead; 0 reads in this process.
    pin_memory : bool, default=False
        Whether batches are put into memory from which a GPU copies faster.

    Attributes
    ----------
    keeps_workers : bool
        Whether the workers of a pass stay for the passes that follow, and end with this object.
        They keep their copy of ``read`` and of the Dataset behind it, so this may be True only
        where nobody changes the Dataset between two passes. False, at first, starts new workers
        in each pass.
    """

    def __init__(self, read: Read, num_workers: int, *, pin_memory: bool = False) -> None:
        self.read, self.num_workers, self.pin_memory = read, num_workers, pin_memory
        self.keeps_workers = False
        self._calls = _Calls()
        self._loader: DataLoader[Any] | None = None
        self._is_busy = False

    def __call__(self, batches: Sequence[Tensor], seed: int) -> Iterator[Any]:
        """Yield the batches of a pass.

        Parameters
        ----------
        batches : sequence of Tensor of int, shape (b,)
            Positions of the rows of each batch.
        seed : int
            Seed of the pass.
        """
        if self._is_busy:  # workers serve one pass at a time
            other = BatchLoader(self.read, self.num_workers, pin_memory=self.pin_memory)
            yield from other(batches, seed)
            return
        self._calls.batches, self._calls.seed = batches, seed
        if self._loader is None or not self.keeps_workers:
            self._loader = self._open()
        self._is_busy = True
        try:
            yield from self._loader
        except BaseException:  # the pass was left, and batches may be under way
            self._loader = None
            raise
        finally:
            self._is_busy, self._calls.batches = False, ()

    def _open(self) -> DataLoader[Any]:
        return DataLoader(
            _Called(self.read),
            batch_size=None,
            sampler=self._calls,
            collate_fn=_as_it_is,
            num_workers=self.num_workers,
            persistent_workers=self.keeps_workers and self.num_workers > 0,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # leaves torch's default generator unchanged
        )


class _Calls:
    """What workers are asked for in a pass, one batch after the other."""

    def __init__(self) -> None:
        self.batches: Sequence[Tensor] = ()
        self.seed = 0

    def __iter__(self) -> Iterator[Call]:
        return ((batch.tolist(), self.seed) for batch in self.batches)


class _Called(Dataset[Any]):
    """A Dataset whose index is what a function is called with."""

    def __init__(self, read: Read) -> None:
        self.read = read

    def __getitem__(self, call: Any) -> Any:
        return self.read(*call)


def _as_it_is(batch: Any) -> Any:
    return batch
