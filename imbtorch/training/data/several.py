"""Rows of several inputs: one kind of features for each of them, gathered together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from skorch.utils import to_tensor
from torch import Tensor

from imbtorch._common.inputs import InputBatch, Key, batch_of, split_together

__all__ = ["InputFeatures", "named", "on_device"]


class InputFeatures:
    """Rows of several inputs; see :class:`imbtorch.training.data.features.Features`.

    Parameters
    ----------
    parts : dict of str or int to Features
        Rows of each input.
    """

    def __init__(self, parts: dict[Key, Any]) -> None:
        self.parts = parts
        self.row_bytes = sum(part.row_bytes for part in parts.values())
        self.blocks = max(part.blocks for part in parts.values())

    def __len__(self) -> int:
        """Count the rows."""
        return len(next(iter(self.parts.values())))

    def gather(self, index: Tensor) -> _InputBlock:
        """Return the rows at these positions, on the device."""
        return _InputBlock(self._each(lambda part: part.gather(index)))

    def slice(self, start: int, stop: int) -> InputBatch:
        """Return copies of neighbouring rows, on the device."""
        return batch_of(self._each(lambda part: part.slice(start, stop)))

    def same_as(self, other: Any) -> bool:
        """Return whether these are known to be the same rows."""
        return (
            isinstance(other, InputFeatures)
            and self.parts.keys() == other.parts.keys()
            and all(part.same_as(other.parts[key]) for key, part in self.parts.items())
        )

    @property
    def lengths(self) -> Tensor | None:
        """Lengths of the rows, ``(n,)``, added up over all inputs that are sequences; or None."""
        found = [part.lengths for part in self.parts.values() if hasattr(part, "lengths")]
        return torch.stack(found).sum(dim=0) if found else None

    def _each(self, act: Callable[[Any], Any]) -> dict[Key, Any]:
        return {key: named(key, act, part) for key, part in self.parts.items()}


def named(key: Key, act: Callable[[Any], Any], part: Any) -> Any:
    """Return ``act(part)``; an error about the values names the input that holds them."""
    try:
        return act(part)
    except ValueError as error:
        raise ValueError(f"X[{key!r}] is not valid: {error}") from error


class _InputBlock:
    """Gathered rows of several inputs, which split into batches."""

    def __init__(self, parts: dict[Key, Any]) -> None:
        self.parts = parts

    def split(self, sizes: Any) -> Iterator[InputBatch]:
        return split_together(self.parts, sizes)


def on_device(x: Any, device: torch.device | str) -> Any:
    """Return a batch that a callback of skorch holds, as the module gets it."""
    if isinstance(x, InputBatch):
        return x.to(device)
    if isinstance(x, Mapping):
        return InputBatch({key: to_tensor(part, device=device) for key, part in x.items()})
    if isinstance(x, list | tuple):
        return InputBatch({i: to_tensor(part, device=device) for i, part in enumerate(x)})
    return to_tensor(x, device=device)
