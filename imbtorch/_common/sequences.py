"""Sequences of unequal length: one flat array, and where each sequence begins in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Sequences", "are_sequences", "step_places"]

Positions = NDArray[np.int64]

_FORM = (
    "X holds sequences: each row must be an array of numbers of shape (length,) or "
    "(length, n_channels)"
)

_SEVERAL = "Several inputs of a module come in a tuple or a mapping, not in a list."


class Sequences:
    """Sequences of unequal length, one for each row of ``y``.

    ``fit`` and the methods that predict also take a list of arrays of unequal length itself.
    ``Sequences`` says that arrays are sequences even where all of them happen to have the same
    length, and has what the splitters and searches of scikit-learn need: a length, a ``shape``, and
    ``X[rows]``.

    Parameters
    ----------
    rows : list of array-like, 1-d array of objects, nested tensor, or array of shape (n, t, ...)
        Arrays or tensors of shape ``(length,)`` or ``(length, n_channels)``, all of the same dtype
        and with the same number of channels. They are copied into one array.

    Attributes
    ----------
    flat : ndarray of shape (n_steps,) or (n_steps, n_channels)
        The steps of all sequences, one sequence behind the other.
    lengths : ndarray of int64, shape (n,)
        Number of steps of each sequence.
    offsets : ndarray of int64, shape (n + 1,)
        Sequence i is ``flat[offsets[i]:offsets[i + 1]]``.
    shape : tuple
        ``(n, None)`` or ``(n, None, n_channels)``.

    Raises
    ------
    ValueError
        If a row is no sequence, is empty, or has another dtype or number of channels than the
        first row; the message names the row.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch import Sequences
    >>> X = Sequences([np.zeros((4, 2)), np.ones((1, 2)), np.zeros((7, 2))])
    >>> X, X[[0, 2]].shape, X[1]
    (Sequences(3 of 1 to 7 steps of shape (2,), float64), (2, None, 2), array([[1., 1.]]))
    """

    def __init__(self, rows: Any) -> None:
        if isinstance(rows, Sequences):
            arrays = [rows.flat]
            lengths = rows.lengths
        elif isinstance(rows, np.ndarray) and rows.ndim in (2, 3) and rows.dtype.kind in "fiub":
            arrays = [rows.reshape(-1, *rows.shape[2:])]
            lengths = np.full(len(rows), rows.shape[1])
        elif not isinstance(rows, list | tuple | np.ndarray) and not _is_nested(rows):
            raise ValueError(
                f"{_FORM}, but X is a {type(rows).__name__}. Give a list of such arrays."
            )
        else:
            listed = rows.unbind() if _is_nested(rows) else list(rows)
            arrays = [_as_array(i, row) for i, row in enumerate(listed)]
            lengths = np.array([len(row) for row in arrays], dtype=np.int64)
        if not len(lengths):
            raise ValueError("X holds no sequence: give one or more.")
        _check_alike(arrays, lengths)
        self._set(np.concatenate(arrays) if len(arrays) > 1 else arrays[0], lengths)

    def _set(self, flat: NDArray[Any], lengths: NDArray[Any]) -> None:
        self.flat: NDArray[Any] = flat
        self.lengths: Positions = lengths.astype(np.int64, copy=False)
        self.offsets: Positions = np.concatenate([[0], np.cumsum(self.lengths)])

    def __len__(self) -> int:
        """Count the sequences."""
        return len(self.lengths)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Number of sequences, None for their lengths, and the shape of a step."""
        return (len(self), None, *self.flat.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of dimensions of a padded batch."""
        return self.flat.ndim + 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return self.flat.dtype

    def __getitem__(self, rows: Any) -> Any:
        """Return some of the sequences; for an integer, the array of one sequence."""
        if isinstance(rows, tuple):  # (rows, ...) of scikit-learn
            rows = rows[0]
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
            rows = rows if rows.size else rows.astype(np.int64)
        index = np.arange(len(self))[rows]
        if index.ndim == 0:
            return self.flat[self.offsets[index] : self.offsets[index + 1]]
        if isinstance(rows, slice) and rows.step in (None, 1):
            first, last = (index[0], index[-1] + 1) if len(index) else (0, 0)
            return self.like(
                self.flat[self.offsets[first] : self.offsets[last]], self.lengths[index]
            )
        lengths = self.lengths[index]
        ends = np.cumsum(lengths)
        skipped = np.repeat(self.offsets[index] - (ends - lengths), lengths)
        return self.like(self.flat[skipped + np.arange(len(skipped))], lengths)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the array of each sequence."""
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        """Raise TypeError: sequences of unequal length are not one array."""
        raise TypeError(
            f"{self!r} holds sequences of unequal length, which are no single array. Only nets of "
            "imbtorch take them, and what takes rows out of X, such as splitters and searches. "
            "Describe each sequence by numbers, such as its mean, for everything else."
        )

    def __repr__(self) -> str:
        """Return the number of sequences, their lengths and the shape of a step."""
        n, steps = len(self), self.flat.shape[1:]
        ends = f"{self.lengths.min()} to {self.lengths.max()}" if n else "0"
        shaped = f" of shape {steps}" if steps else ""
        return f"Sequences({n} of {ends} steps{shaped}, {self.dtype})"

    def check_finite(self) -> None:
        """Raise ValueError if a sequence holds NaN or infinity."""
        if self.dtype.kind != "f" or np.isfinite(self.flat.sum(dtype=np.float64)):
            return
        wrong = np.flatnonzero(~np.isfinite(self.flat).reshape(len(self.flat), -1).all(axis=1))
        if len(wrong):
            row = int(np.searchsorted(self.offsets, wrong[0], side="right")) - 1
            raise ValueError(
                f"Row {row} holds NaN or infinity at step {wrong[0] - self.offsets[row]}; the "
                "values of sequences must be finite numbers. Fill gaps before, or leave these "
                "steps out."
            )

    def joined(self, other: Sequences) -> Sequences:
        """Return these sequences, and others behind them."""
        if self.flat.shape[1:] != other.flat.shape[1:]:
            raise ValueError(
                f"the sequences of X have steps of shape {self.flat.shape[1:]}, but those of X_val "
                f"of shape {other.flat.shape[1:]}."
            )
        lengths = np.concatenate([self.lengths, other.lengths])
        return self.like(np.concatenate([self.flat, other.flat]), lengths)

    @staticmethod
    def like(flat: NDArray[Any], lengths: NDArray[Any]) -> Sequences:
        """Return sequences that are known to be valid."""
        made = object.__new__(Sequences)
        made._set(flat, lengths)
        return made


def step_places(starts: Tensor, lengths: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
    """Return where the steps of a padded batch lie, and which of them are padding.

    Parameters
    ----------
    starts, lengths : Tensor of int64, shape (b,)
        First step of each sequence in the flat array, and number of its steps.
    n_steps : int
        Number of steps t after padding.

    Returns
    -------
    places : Tensor of int64, shape (b, t)
        Positions in the flat array; those of padding are the last step of the sequence.
    padding : Tensor of bool, shape (b, t)
        Whether a step is padding.
    """
    steps = torch.arange(n_steps, device=starts.device)
    padding = steps >= lengths.unsqueeze(1)
    return starts.unsqueeze(1) + torch.minimum(steps, lengths.unsqueeze(1) - 1), padding


def are_sequences(X: Any) -> bool:
    """Return whether ``X`` is meant as sequences of unequal length.

    It is, if it is a nested tensor, a one-dimensional array of objects that are arrays, or a list
    of arrays of different shapes, of which the first row is one. A list of arrays of one shape is
    rows of one array, and lists of lists of numbers are rows of a table, in which a number may be
    missing.
    """
    if isinstance(X, Sequences) or _is_nested(X):
        return True
    if isinstance(X, np.ndarray):
        return X.dtype == object and X.ndim == 1 and any(map(_has_steps, X))
    if not isinstance(X, list) or not X or not _has_steps(X[0]):
        return False
    return len({_shape(row) for row in X}) > 1


def _is_nested(X: Any) -> bool:
    return isinstance(X, Tensor) and X.is_nested


def _shape(row: Any) -> tuple[int, ...] | None:
    """Return the shape of a row, which may also be a list; None if that is no array."""
    try:
        return tuple(row.shape) if hasattr(row, "shape") else np.shape(row)
    except ValueError:
        return None


def _has_steps(row: Any) -> bool:
    return isinstance(row, np.ndarray | Tensor) and row.ndim > 0


def _as_array(i: int, row: Any) -> NDArray[Any]:
    """Return a row as an array; raise ValueError if it is no sequence."""
    if isinstance(row, Tensor) and row.dtype == torch.bfloat16:
        raise ValueError(f"{_FORM}, but row {i} is a tensor of dtype bfloat16: use row.float().")
    if isinstance(row, Tensor) and not row.is_sparse:
        row = row.detach().cpu().numpy()
    if not isinstance(row, np.ndarray):
        raise ValueError(
            f"{_FORM}, but row {i} is of type {type(row).__name__}. Make an array of each row: "
            "X = [np.asarray(row) for row in X]."
        )
    if row.ndim not in (1, 2):
        raise ValueError(f"{_FORM}, but row {i} has the shape {row.shape}. {_SEVERAL}")
    if not row.size:
        raise ValueError(
            f"{_FORM} with one step or more, but row {i} has the shape {row.shape}. Leave empty "
            "sequences out of X and y, or give them one step of zeros."
        )
    if row.dtype.kind not in "fiub":
        raise ValueError(f"{_FORM}, but row {i} has the dtype {row.dtype}.")
    return row


def _check_alike(arrays: list[NDArray[Any]], lengths: NDArray[Any]) -> None:
    """Raise ValueError if a sequence differs from the first one in more than its length."""
    first = arrays[0]
    if not len(first) or not min(lengths):
        raise ValueError(f"{_FORM} with one step or more, but all rows have the length 0.")
    for i, row in enumerate(arrays):
        if row.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"{_FORM}, and all must have the same channels: row 0 has the shape {first.shape}, "
                f"but row {i} has {row.shape}. {_SEVERAL}"
            )
        if row.dtype != first.dtype:
            raise ValueError(
                f"{_FORM}, and all must have the same dtype: row 0 is {first.dtype}, but row {i} "
                f"is {row.dtype}. Convert them, for example with row.astype({first.dtype.name!r})."
            )
