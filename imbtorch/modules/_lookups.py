"""Which positions of a row a module looks up in an embedding, and which identifiers fit there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imbtorch._common.inputs import InputBatch, Key

__all__ = ["Lookup", "bounds_of", "check_ids", "explain_ids", "watch_lookups"]

_WAYS_OUT = (
    "Encode identifiers as 0, 1, 2, ... (OrdinalEncoder), unknown ones as a number of their own "
    "(unknown_value), or build the module with more rows (num_embeddings)."
)


@dataclass(frozen=True)
class Lookup:
    """An embedding in which a module looks up values of ``X`` as they are.

    Attributes
    ----------
    name : str
        Name of the layer in the module.
    size : int
        Number of rows of the embedding: identifiers are below it.
    positions : ndarray of int
        Positions in a flattened row of ``X``.
    part : str or int, default=0
        Name or position of the input in which they are.
    """

    name: str
    size: int
    positions: NDArray[np.int64]
    part: Key = 0

    def in_steps(self, n_channels: int) -> Lookup:
        """Return the same for sequences: positions in a step, whichever step it is."""
        return replace(self, positions=np.unique(self.positions % n_channels))


def watch_lookups(module: nn.Module, found: list[Lookup]) -> None:
    """Let a module note in its next call what it looks up; a call with wrong identifiers fails.

    Values that the module computes from its input, such as a remainder, are not noted.

    Parameters
    ----------
    module : torch.nn.Module
        Copy of a module: the hooks stay.
    found : list of Lookup
        List to which the lookups are added.
    """
    given: list[tuple[Key, Tensor, int]] = []

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        parts: dict[Any, Tensor] = {**dict(enumerate(args)), **kwargs}
        given.extend((key, part, part._version) for key, part in parts.items())

    module.register_forward_pre_hook(begin, with_kwargs=True)
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            note = partial(_note, name or type(layer).__name__, given, found)
            layer.register_forward_pre_hook(note, with_kwargs=True)


def _note(
    name: str,
    given: list[tuple[Key, Tensor, int]],
    found: list[Lookup],
    layer: nn.Embedding | nn.EmbeddingBag,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    ids: Tensor = args[0] if args else kwargs["input"]
    size = layer.num_embeddings
    if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < size):
        raise ValueError(
            f"the embedding {name!r} has {size} rows, but identifiers from {int(ids.min())} to "
            f"{int(ids.max())} are looked up in it. {_WAYS_OUT}"
        )
    for key, rows, version in given:
        is_view = ids.untyped_storage().data_ptr() == rows.untyped_storage().data_ptr()
        if not is_view or ids.dtype != rows.dtype or rows._version != version:
            continue
        places = torch.arange(rows.untyped_storage().nbytes() // rows.element_size())
        places = places.as_strided(ids.shape, ids.stride(), ids.storage_offset())
        first = int(rows.storage_offset())
        positions = np.unique((places.numpy() - first) % rows[0].numel())
        found.append(Lookup(name, size, positions, key))


def bounds_of(X: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the smallest and the largest value at each position of a flattened row.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, ...)
        Checked features.

    Returns
    -------
    low, high : ndarray of shape (n_positions,)
        Bounds of the values.
    """
    if hasattr(X, "indptr"):
        low, high = (bound(axis=0).toarray().ravel() for bound in (X.min, X.max))
        return low, high
    flat = X.reshape(len(X), -1)
    return flat.min(axis=0), flat.max(axis=0)


def check_ids(
    bounds: tuple[NDArray[Any], NDArray[Any]],
    lookups: Sequence[Lookup],
    names: Sequence[Any] | None = None,
    *,
    is_flat: bool = True,
    whole: str = "X",
) -> None:
    """Raise ValueError if an embedding has no row for some identifiers.

    Parameters
    ----------
    bounds : tuple of ndarray
        Result of :func:`bounds_of` for the features.
    lookups : sequence of Lookup
        What the module looks up.
    names : sequence of str or None, default=None
        Names of the columns of ``X``.
    is_flat : bool, default=True
        Whether a row of ``X`` has one dimension.
    whole : str, default="X"
        What the rows are called in messages.

    Raises
    ------
    ValueError
        If there are such identifiers; the message names their columns.
    """
    low, high = bounds
    for lookup in lookups:
        own = lookup.positions
        wrong = own[(low[own] < 0) | (high[own] >= lookup.size)]
        if len(wrong):
            raise ValueError(
                f"{_place(wrong, names, is_flat=is_flat)} of {whole} holds identifiers from "
                f"{int(low[wrong].min())} to {int(high[wrong].max())}, but the embedding "
                f"{lookup.name!r}, in which the module looks them up, has {lookup.size} rows: 0 to "
                f"{lookup.size - 1}. {_WAYS_OUT}"
            )


def _place(wrong: NDArray[np.int64], names: Sequence[Any] | None, *, is_flat: bool) -> str:
    first, last = int(wrong[0]), int(wrong[-1])
    if not is_flat:
        return f"One of the positions {first} to {last} of the flattened rows"
    if last > first:
        ends = (first, last) if names is None else (names[first], names[last])
        return f"One of the columns {ends[0]!r} to {ends[1]!r}"
    return f"Column {first if names is None else names[first]!r}"


def explain_ids(module: nn.Module, rows: Tensor | InputBatch, error: Exception) -> None:
    """Raise ValueError if a module has failed because its embeddings lack an identifier.

    Parameters
    ----------
    module : torch.nn.Module
        Module that has failed.
    rows : Tensor or InputBatch
        Batch that it was given.
    error : Exception
        Error that it has raised.

    Raises
    ------
    ValueError
        If the error comes from an embedding.
    """
    sizes = [m.num_embeddings for m in module.modules() if isinstance(m, nn.Embedding)]
    sizes += [m.num_embeddings for m in module.modules() if isinstance(m, nn.EmbeddingBag)]
    if not sizes or not (isinstance(error, IndexError) or "valid range" in str(error)):
        return
    parts = rows.given if isinstance(rows, InputBatch) else {"": rows}
    ranges = " and ".join(
        f"values from {part.min().item()} to {part.max().item()}" + (f" ({key})" if key else "")
        for key, part in parts.items()
    )
    raise ValueError(
        f"An embedding of {type(module).__name__} lacks an identifier ({error}): the embeddings "
        f"have {sizes} rows, and this batch of X holds {ranges}. {_WAYS_OUT}"
    ) from error
