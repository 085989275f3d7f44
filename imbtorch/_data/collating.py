"""Batches of items: made by this package, or by a ``collate_fn`` of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imbtorch._common.inputs import InputBatch
from imbtorch._data.dataset_items import (
    collate,
    collate_features,
    collate_targets,
    refuse_infinite,
    row_shape,
    to_array,
)

__all__ = ["Collate", "has_form"]


@dataclass(frozen=True)
class Collate:
    """How items become a batch.

    Attributes
    ----------
    allow_nan : bool
        Whether NaN stands for a missing value.
    collate_fn : callable(items) -> batch, or None
        Function of the user, which gets a list of items and returns ``(X, y)``, ``(X, y,
        sample_weight)``, or ``X`` alone if the items have no targets. In ``X`` there is one row for
        each item; several inputs are a mapping, or a tuple inside of a pair.
    """

    allow_nan: bool = False
    collate_fn: Callable[[list[Any]], Any] | None = None

    def features(self, items: Sequence[Any]) -> Any:
        """Return the features of items, ``(n, ...)``, or those of several inputs."""
        if self.collate_fn is None:
            return collate_features(items, allow_nan=self.allow_nan)
        return self._own(items)[0]

    def targets(self, items: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Return the shape of an item's features, the targets, and the weights or None."""
        if self.collate_fn is None:
            return collate_targets(items, allow_nan=self.allow_nan)
        x, y, w = self.batch(items)
        return row_shape(x), y, w

    def batch(self, items: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Return features ``(n, ...)``, targets ``(n,)`` or ``(n, k)``, and weights or None."""
        if self.collate_fn is None:
            return collate(items, allow_nan=self.allow_nan)
        x, y, w = self._own(items)
        if y is None:
            raise ValueError(
                "collate_fn returned no targets: for a fit it must return (X, y) or (X, y, "
                "sample_weight)."
            )
        y, w = to_array(y), None if w is None else to_array(w)
        for name, values in (("y", y), ("sample_weight", w)):
            if values is not None and values.shape[:1] != (len(items),):
                raise ValueError(
                    f"collate_fn returned {name} of shape {values.shape} for {len(items)} items; "
                    "it must hold one entry for each item."
                )
        return x, y, None if w is None else w.astype(np.float64)

    def _own(self, items: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Call the function of the user; the features are checked, the targets are not."""
        assert self.collate_fn is not None
        made = self.collate_fn(list(items))
        is_pair = isinstance(made, tuple | list) and len(made) in (2, 3)
        x, y, w = (*made, None)[:3] if is_pair else (made, None, None)
        return self._checked(x, len(items)), y, w

    def _checked(self, x: Any, n_items: int) -> Any:
        if isinstance(x, tuple | list) and x and all(isinstance(p, _ARRAYS) for p in x):
            x = dict(enumerate(x))
        if isinstance(x, Mapping):
            parts = {key: _as_rows(part, n_items, f"X[{key!r}]") for key, part in x.items()}
            for key, part in parts.items():
                refuse_infinite(part, f"Input {key!r}")
            return InputBatch(parts)
        rows = _as_rows(x, n_items, "X")
        if rows.ndim < 2:
            raise ValueError(
                "collate_fn returned single numbers as features, of shape "
                f"{tuple(rows.shape)}; they must have at least two dimensions, as X.reshape(-1, 1)."
            )
        refuse_infinite(rows, "Features", allow_nan=self.allow_nan)
        return rows


_ARRAYS = (Tensor, np.ndarray)


def _as_rows(x: Any, n_items: int, name: str) -> Tensor:
    """Return a copy of an array of a batch as a tensor; it must have one row for each item.

    What a user's function returns may be a view of the user's data, and a module may write into
    its input.
    """
    numbers = isinstance(x, Tensor) or (isinstance(x, np.ndarray) and x.dtype.kind in "fiub")
    if not numbers:
        what = f"an array of {x.dtype}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
        raise ValueError(
            "collate_fn must return (X, y), (X, y, sample_weight) or X, where X is a tensor or an "
            f"array of numbers, or a mapping or a tuple of these; got {what} as {name}."
        )
    rows = x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.array(x, order="C"))
    if rows.shape[:1] != (n_items,):
        raise ValueError(
            f"collate_fn returned {name} of shape {tuple(rows.shape)} for {n_items} items; it must "
            "hold one row for each item, in their order."
        )
    return rows.clone() if isinstance(x, Tensor) else rows


def has_form(shape: Any, known: Any) -> bool:
    """Return whether rows have the inputs and the number of dimensions of other rows.

    This is what the batches of a ``collate_fn`` have in common, which may pad each one to its
    longest row.
    """
    if isinstance(known, dict) and isinstance(shape, dict):
        return shape.keys() == known.keys() and all(has_form(shape[k], known[k]) for k in known)
    if isinstance(known, dict) or isinstance(shape, dict) or len(shape) != len(known):
        return False
    for size, other in zip(shape, known, strict=True):
        if isinstance(size, tuple) != isinstance(other, tuple):
            return False
        if isinstance(size, tuple) and not has_form(size, other):
            return False
    return True
