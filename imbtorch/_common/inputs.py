"""Several inputs of a net: arrays, or the tensors of a batch, that belong to the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, TypeAlias, TypeVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from imbtorch._common.sequences import Sequences, are_sequences
from imbtorch._common.sklearn_private import _safe_indexing

__all__ = [
    "InputBatch",
    "InputShape",
    "Inputs",
    "Key",
    "PaddedSteps",
    "RowDtype",
    "SeveralInputs",
    "as_inputs",
    "batch_of",
    "given_form",
    "is_one_sequence",
    "joined_batches",
    "lengths_key",
    "named_sequences",
    "sequence_keys",
    "shapes_by_key",
    "split_together",
]

T = TypeVar("T")
Key: TypeAlias = str | int  # name of an argument of forward, or its position
Shape: TypeAlias = tuple[Any, ...]  # integers; None for the length of sequences
InputShape: TypeAlias = Shape | dict[str, Shape] | tuple[Shape, ...]
RowDtype: TypeAlias = torch.dtype | dict[Key, torch.dtype]
SeveralInputs: TypeAlias = "Inputs | Sequences | Mapping[str, Any] | tuple[Any, ...]"


_LENGTHS = ":lengths"
_IF_ROWS = " Arrays in a tuple are several inputs; if they are rows of one, give np.stack(X)."


def shapes_by_key(input_shape: Any) -> dict[Key, Shape] | None:
    """Return the shape of a row of each input, by name or position; None for a single input."""
    if isinstance(input_shape, dict):
        return dict(input_shape)
    if input_shape and isinstance(input_shape[0], tuple):
        return dict(enumerate(input_shape))
    return None


def given_form(parts: dict[Key, T]) -> dict[str, T] | tuple[T, ...]:
    """Return values in the form in which inputs are given: a dict by name, or a tuple."""
    if 0 in parts:
        return tuple(parts.values())
    return {str(key): value for key, value in parts.items()}


def sequence_keys(input_shape: Any) -> list[Key]:
    """Return which inputs are sequences of unequal length, by name or position."""
    shapes = shapes_by_key(input_shape) or {}
    return [key for key, shape in shapes.items() if shape[:1] == (None,)]


def is_one_sequence(input_shape: Any) -> bool:
    """Return whether the only input is a sequence: ``X`` was a list of arrays, for example."""
    return len(input_shape) == 1 and sequence_keys(input_shape) == [0]


def lengths_key(key: Key) -> str:
    """Return under which key a batch holds the lengths of sequences; no argument is called so."""
    return f"{key}{_LENGTHS}"


def _is_lengths_key(key: Key) -> bool:
    return isinstance(key, str) and key.endswith(_LENGTHS)


class PaddedSteps(NamedTuple):
    """A batch of sequences: values of shape ``(b, t, ...)``, and their lengths ``(b,)``."""

    values: Tensor
    lengths: Tensor


class _Parts:
    """What arrays and tensors of several inputs have in common."""

    parts: dict[Key, Any]

    def __len__(self) -> int:
        """Count the rows."""
        return _length(next(iter(self.parts.values())))

    @property
    def shape(self) -> tuple[int]:
        """Number of rows; :attr:`input_shape` says what a row consists of."""
        return (len(self),)

    @property
    def input_shape(self) -> Any:
        """Shape of a row of each input: a dict by name, or a tuple."""
        return given_form({key: _row_shape(part) for key, part in self.parts.items()})


class Inputs(_Parts):
    """Several arrays that belong to the same rows, such as images and a table.

    ``fit`` and the methods that predict also take the mapping or the tuple itself. ``Inputs`` is
    for everything that takes rows out of ``X``, such as the splitters and searches of
    scikit-learn: it has a length, a ``shape``, and ``X[rows]``.

    Parameters
    ----------
    parts : mapping of str to array-like, or sequence of array-like
        Arrays of shape ``(n, ...)`` with the same n: numpy arrays, tensors, memory maps, frames,
        sparse matrices, and sequences of unequal length, see :class:`Sequences`. The keys of a
        mapping are the names of the arguments of the module's ``forward``. Arrays in a tuple or a
        list are its arguments in this order.

    Attributes
    ----------
    parts : dict
        The arrays by name, or by position.
    shape : tuple of int
        ``(n,)``.

    Raises
    ------
    TypeError
        If a key is not a string.
    ValueError
        If there is no array, or the arrays have different numbers of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch import Inputs
    >>> X = Inputs({"image": np.zeros((6, 1, 8, 8)), "table": np.zeros((6, 3))})
    >>> X, len(X[[0, 2]]), X["table"].shape
    (Inputs(image: (6, 1, 8, 8), table: (6, 3)), 2, (6, 3))
    """

    def __init__(self, parts: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> None:
        named = isinstance(parts, Mapping)
        pairs: Any = parts.items() if isinstance(parts, Mapping) else enumerate(parts)
        self.parts: dict[Key, Any] = dict(pairs)
        if not self.parts:
            raise ValueError("X holds no input: give one array or more.")
        wrong = [key for key in self.parts if named and not isinstance(key, str)]
        if wrong:
            raise TypeError(
                f"The keys of X are names of the arguments of forward, so they must be strings; "
                f"got {wrong[0]!r}."
            )
        for key, part in self.parts.items():
            if are_sequences(part):
                self.parts[key] = named_sequences(key, part)
        lengths = {key: _length(part, key) for key, part in self.parts.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"The inputs in X have different numbers of rows: {lengths}. Each input needs one "
                f"row for each row of y.{'' if named else _IF_ROWS}"
            )

    def __getitem__(self, rows: Any) -> Any:
        """Return the inputs of some rows; for a name, the array with this name."""
        if isinstance(rows, str):
            return self.parts[rows]
        if isinstance(rows, tuple):  # (rows, ...) of scikit-learn
            rows = rows[0]
        if isinstance(rows, int | np.integer):
            raise TypeError(
                f"A single row is X[{rows}:{rows + 1}]: rows are taken by slices, positions or "
                "masks."
            )
        return self._like({key: _safe_indexing(part, rows) for key, part in self.parts.items()})

    __iter__ = None

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        """Raise TypeError: several inputs are not one array."""
        raise TypeError(
            f"{self!r} holds several inputs, which are no single array. Only nets of imbtorch take "
            "them, and what takes rows out of X, such as splitters and searches. Apply everything "
            "else to the single inputs before, such as X['name']."
        )

    def __repr__(self) -> str:
        """Return the names and shapes."""
        shapes = (
            f"{key}: {tuple(part.shape) if hasattr(part, 'shape') else (len(part), '...')}"
            for key, part in self.parts.items()
        )
        return f"Inputs({', '.join(shapes)})"

    def check_length(self, n_rows: int) -> None:
        """Raise ValueError if there are not as many rows as there are targets."""
        if len(self) != n_rows and is_one_sequence(self.input_shape):
            raise ValueError(
                f"X holds {len(self)} sequences, but y has {n_rows} rows. Several inputs of a "
                "module come in a tuple or a mapping, not in a list."
            )
        if len(self) != n_rows:
            raise ValueError(
                f"The inputs in X have {len(self)} rows, but y has {n_rows}."
                f"{_IF_ROWS if 0 in self.parts else ''}"
            )

    def map(self, change: Callable[[Key, Any], Any]) -> Inputs:
        """Return ``change(key, array)`` of each array."""
        return self._like({key: change(key, part) for key, part in self.parts.items()})

    def integers(self) -> dict[Key, bool]:
        """Return which arrays of numbers are of an integer type."""
        return {key: part.dtype.kind in "iub" for key, part in self.parts.items()}

    @staticmethod
    def _like(parts: dict[Key, Any]) -> Inputs:
        made = object.__new__(Inputs)
        made.parts = parts
        return made


class InputBatch(_Parts):
    """Tensors of the same rows; a module gets them as separate arguments.

    It has the methods of a tensor that the training uses, which act on each of the tensors.

    Parameters
    ----------
    parts : dict of str or int to Tensor
        Tensors of shape ``(b, ...)`` by the name or the position of the argument; and the lengths
        of sequences by :func:`lengths_key`.
    """

    def __init__(self, parts: dict[Key, Tensor]) -> None:
        self.parts: dict[Key, Tensor] = parts

    def __getitem__(self, rows: Any) -> InputBatch:
        """Return some rows."""
        return self.map(lambda part: part[rows])

    def __repr__(self) -> str:
        """Return names, shapes and dtypes."""
        return ", ".join(
            f"{key}: {tuple(part.shape)} {str(part.dtype).removeprefix('torch.')}"
            for key, part in self.given.items()
        )

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return next(iter(self.parts.values())).device

    @property
    def arguments(self) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Arguments of ``forward`` by position and by name."""
        given = given_form(self.given)
        return ((), given) if isinstance(given, dict) else (given, {})

    @property
    def given(self) -> dict[Key, Tensor]:
        """The tensors without the lengths of sequences."""
        return {key: part for key, part in self.parts.items() if not _is_lengths_key(key)}

    def map(self, change: Callable[[Tensor], Tensor]) -> InputBatch:
        """Return ``change(tensor)`` of each tensor."""
        return InputBatch({key: change(part) for key, part in self.parts.items()})

    def to(self, wanted: Any, *, non_blocking: bool = False) -> InputBatch:
        """Return the tensors on a device, or in their dtypes."""
        if isinstance(wanted, dict):
            return InputBatch(
                {key: part.to(wanted.get(key, part.dtype)) for key, part in self.parts.items()}
            )
        return self.map(lambda part: part.to(wanted, non_blocking=non_blocking))

    def numel(self) -> int:
        """Count the numbers of all tensors."""
        return sum(part.numel() for part in self.parts.values())

    def element_size(self) -> int:
        """Return the most bytes that a number takes."""
        return max(part.element_size() for part in self.parts.values())

    def clone(self) -> InputBatch:
        """Return a copy."""
        return self.map(Tensor.clone)

    def detach(self) -> InputBatch:
        """Return the same tensors without a graph."""
        return self.map(Tensor.detach)

    def pin_memory(self) -> InputBatch:
        """Return copies in pinned memory."""
        return self.map(Tensor.pin_memory)

    def copy_(self, other: InputBatch) -> None:
        """Copy the values of another batch into the tensors."""
        for key, part in self.parts.items():
            part.copy_(other.parts[key])

    def numpy(self) -> Inputs:
        """Return the tensors as arrays."""
        return Inputs._like({key: part.numpy() for key, part in self.parts.items()})


def split_together(parts: dict[Key, Any], sizes: Any) -> Iterator[InputBatch]:
    """Split blocks of the same rows, and yield the batches."""
    blocks = [part.split(sizes) for part in parts.values()]
    for tensors in zip(*blocks, strict=True):
        yield batch_of(dict(zip(parts, tensors, strict=True)))


def batch_of(parts: dict[Key, Tensor | PaddedSteps]) -> InputBatch:
    """Return the batch of several inputs, some of which may be sequences."""
    made: dict[Key, Any] = dict(parts)
    for key, part in parts.items():
        if isinstance(part, PaddedSteps):
            made[key], made[lengths_key(key)] = part
    return InputBatch(made)


def joined_batches(batches: list[Any]) -> Any:
    """Put tensors, or batches of several inputs, behind each other."""
    if isinstance(batches[0], Tensor):
        return torch.cat(batches)
    return InputBatch(
        {key: torch.cat([batch.parts[key] for batch in batches]) for key in batches[0].parts}
    )


def as_inputs(X: Any) -> Any:
    """Return ``Inputs`` for a mapping, a tuple of arrays or sequences; anything else as it is.

    Sequences that are the only input are the one argument of ``forward``.

    Parameters
    ----------
    X : object
        Features as the user gave them. A frame is no mapping, and a list holds rows.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch._common.inputs import as_inputs
    >>> as_inputs((np.zeros((6, 3)), np.zeros(6)))
    Inputs(0: (6, 3), 1: (6,))
    >>> as_inputs(((1.0, 2.0), (3.0, 4.0)))
    ((1.0, 2.0), (3.0, 4.0))
    """
    if isinstance(X, Mapping) and not sparse.issparse(X):  # a DOK matrix is a dict
        return Inputs(X)
    if isinstance(X, tuple) and X and all(map(_is_input, X)):
        return Inputs(X)
    if are_sequences(X):
        return Inputs((X if isinstance(X, Sequences) else Sequences(X),))
    return X


def _is_input(part: Any) -> bool:
    """Return whether an entry of a tuple is an array or a list of arrays, and no row of numbers."""
    if isinstance(part, list):
        return bool(part) and len(getattr(part[0], "shape", ())) > 0
    return are_sequences(part) or len(getattr(part, "shape", ())) > 0


def named_sequences(key: Key, part: Any) -> Sequences:
    """Return one of several inputs as sequences; an error names the input."""
    try:
        return part if isinstance(part, Sequences) else Sequences(part)
    except ValueError as error:
        raise ValueError(f"X[{key!r}] is not valid: {error}") from error


def _row_shape(part: Any) -> Shape:
    """Return the shape of a row of an array, or of a list of rows that is not checked yet."""
    if hasattr(part, "shape"):
        return tuple(part.shape[1:])
    try:
        return tuple(np.shape(part)[1:])
    except ValueError:  # rows of unequal length, which the check of this input reports
        return ()


def _length(part: Any, key: Key = "") -> int:
    """Count the rows of an array; ``key`` names it in messages."""
    shape = getattr(part, "shape", None)
    if shape is not None and len(shape):
        return int(shape[0])
    if isinstance(part, list | tuple):
        return len(part)
    raise ValueError(
        f"X[{key!r}] must be an array with one row for each row of y; got a {type(part).__name__}."
    )
