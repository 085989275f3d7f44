"""A Parquet file as a memory map, for tables that are larger than the memory.

Parquet is compressed column by column, so that a single row cannot be read without its neighbours.
The order of an epoch needs single rows. The numbers are therefore written once as they lie in
memory, row after row.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from imbtorch._safe_file import replacing
from imbtorch.tables._words import TableError, some

__all__ = ["parquet_to_memmap"]

_BLOCK = 2**25  # bytes of rows that are written together
_NO_PYARROW = (
    "reading parquet needs pyarrow, which is not installed: pip install 'imbtorch[parquet]'"
)


def parquet_to_memmap(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    destination: str | os.PathLike[str],
    target: str | Sequence[str] | None = None,
    *,
    columns: Sequence[str] | None = None,
    dtype: str = "float32",
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Write the numbers of Parquet files to a ``.npy`` file, and open it as a memory map.

    ``fit`` and ``predict`` read rows of a memory map in any order, without holding it in memory.
    The files are read one row group after the other; only the targets stay in memory.

    Parameters
    ----------
    source : str, path or sequence of these
        A Parquet file, or several with the same columns, whose rows follow each other.
    destination : str or path
        File to write, whose name ends in ``.npy``, in a folder that exists. A former file is
        replaced when all rows are written; if an error occurs, it stays as it was.
    target : str, sequence of str or None, default=None
        Column of the labels or values; several columns for several labels.
    columns : sequence of str or None, default=None
        Columns of the features, in this order. None takes all but those of the target, in the order
        of the first file.
    dtype : {"float32", "float64"}, default="float32"
        Type of the features. A memory map of float32 needs no cast while a net trains.

    Returns
    -------
    X : memmap of shape (n, n_columns)
        Features, read-only. Booleans are 0 and 1, and gaps NaN.
    y : ndarray of shape (n,) or (n, n_targets), or None
        Targets in the type of their column; text as strings. None without a ``target``.

    Raises
    ------
    TableError
        If pyarrow is not installed, a file is missing, damaged or empty, its columns differ from
        those of the first file, a column does not exist, is named twice or does not hold numbers, a
        number does not fit into ``dtype``, a target has gaps, is neither numbers nor text or has
        more than one type, or ``destination`` or ``dtype`` is not valid. A TableError is a
        ValueError.

    Notes
    -----
    A whole number above 16,777,216 has no exact float32, and is an error with
    ``dtype="float32"``. Columns of text or categories have to be encoded as whole numbers before;
    ``categorical_features`` of the estimators then names them by position.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pyarrow as pa
    >>> import pyarrow.parquet as pq
    >>> from imbtorch import ImbalancedNetClassifier
    >>> from imbtorch.tables import parquet_to_memmap
    >>> columns = {"amount": [1.0, 9.0, 2.0, 3.0], "hour": [3, 4, 3, 5], "fraud": [0, 1, 0, 0]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source, destination = Path(folder) / "rows.parquet", Path(folder) / "rows.npy"
    ...     pq.write_table(pa.table(columns), source)
    ...     X, y = parquet_to_memmap(source, destination, "fraud")
    ...     clf = ImbalancedNetClassifier(max_epochs=1).fit(X, y)
    >>> type(X).__name__, X.shape, y.tolist()
    ('memmap', (4, 2), [0, 1, 0, 0])
    """
    if dtype not in ("float32", "float64"):
        raise TableError(f"invalid value for dtype: {dtype!r}; use 'float32' or 'float64'.")
    path = Path(destination)
    if path.suffix != ".npy":
        raise TableError(f"the name of the destination must end in .npy; got {path}.")
    if not path.parent.is_dir():
        raise TableError(f"there is no folder {path.parent}; make it, or name another destination.")
    if path.exists() and not path.is_file():
        raise TableError(f"the destination {path} is not a regular file; choose another name.")
    paths = [source] if isinstance(source, str | os.PathLike) else list(source)
    targets = [] if target is None else [target] if isinstance(target, str) else list(target)
    with ExitStack() as to_close:
        files = _opened([Path(each) for each in paths], to_close)
        names = _features(files, targets, columns)
        _check_targets(files, targets)
        with replacing(path) as out:
            labels = _write(out, files, names, targets, np.dtype(dtype))
    y = [np.concatenate(column) for column in labels]
    if target is None:
        return np.load(path, mmap_mode="r"), None
    return np.load(path, mmap_mode="r"), y[0] if isinstance(target, str) else np.column_stack(y)


def _opened(paths: Sequence[Path], to_close: ExitStack) -> dict[Path, Any]:
    """Open the files until the stack closes them; check that they have the same columns, and rows.

    The stack gets each file before pyarrow parses it, so that a damaged file is closed as well.
    """
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise TableError(_NO_PYARROW) from error
    files = {}
    for path in paths:
        try:
            content = to_close.enter_context(pa.OSFile(str(path)))
            files[path] = to_close.enter_context(ParquetFile(content))
        except FileNotFoundError as error:
            raise TableError(f"there is no file {path}.") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise TableError(f"{path} cannot be read as parquet: {error}") from error
    if len(files) < len(paths):
        raise TableError("a file is named twice; leave one out.")
    if not sum(file.metadata.num_rows for file in files.values()):
        raise TableError(f"there are no rows in {some(files) or 'no files'}.")
    first = next(iter(files))
    for path, file in files.items():
        known, here = (set(each.schema_arrow.names) for each in (files[first], file))
        if known != here:
            raise TableError(
                f"{path} has other columns than {first}: {some(sorted(known ^ here))} "
                "stand in one of the two only."
            )
    return files


def _features(
    files: dict[Path, Any], targets: Sequence[str], columns: Sequence[str] | None
) -> list[str]:
    """Return the columns of the features, which have to hold numbers."""
    present = next(iter(files.values())).schema_arrow.names
    chosen = [name for name in present if name not in targets] if columns is None else list(columns)
    both = [*chosen, *targets]
    if unknown := [name for name in both if name not in present]:
        raise TableError(f"there is no column {some(unknown)}. The columns are: {some(present)}.")
    twice = {name for name in both if both.count(name) > 1 or present.count(name) > 1}
    if twice:
        raise TableError(f"columns stand or are named twice: {some(sorted(twice))}.")
    if not chosen:
        raise TableError("no column is left for the features.")
    for path, file in files.items():
        kinds = {name: file.schema_arrow.field(name).type for name in chosen}
        if wrong := [f"{name} ({kind})" for name, kind in kinds.items() if not _is_number(kind)]:
            raise TableError(
                f"columns of {path} do not hold numbers: {some(wrong)}. Encode them as numbers, or "
                "leave them out: columns=[...]."
            )
    return chosen


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _check_targets(files: dict[Path, Any], targets: Sequence[str]) -> None:
    """Raise TableError if targets are neither numbers nor text, or have more than one type."""
    kinds: dict[str, str] = {}
    for path, file in files.items():
        for name in targets:
            given = file.schema_arrow.field(name).type
            kind = _kind_of_target(given)
            if kind is None:
                raise TableError(
                    f"the target {name} of {path} holds {given}, neither "
                    "integers, floating-point numbers, booleans nor text. Write it as one of these."
                )
            kinds.setdefault(kind, f"{name} of {path}")
    if len(kinds) > 1:
        found = ", ".join(f"{kind} ({where})" for kind, where in kinds.items())
        raise TableError(f"targets have more than one type: {found}. Write all in the same type.")


def _kind_of_target(kind: Any) -> str | None:
    """Return the type of a target by name, or None if it cannot be one."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    return str(kind) if _is_number(kind) else None


def _write(
    out: BinaryIO,
    files: dict[Path, Any],
    names: list[str],
    targets: list[str],
    dtype: np.dtype[Any],
) -> list[list[NDArray[Any]]]:
    """Write the features of all files, and return the blocks of each target."""
    labels: list[list[NDArray[Any]]] = [[] for _ in targets]
    n_rows = sum(file.metadata.num_rows for file in files.values())
    header = {"descr": dtype.str, "fortran_order": False, "shape": (n_rows, len(names))}
    step = max(1, _BLOCK // (len(names) * dtype.itemsize))
    np.lib.format.write_array_header_1_0(out, header)
    for batch in _batches(files, names + targets, step):
        block = np.empty((batch.num_rows, len(names)), dtype)
        for j, name in enumerate(names):
            block[:, j] = _numbers(batch.column(name), name, dtype)
        block.tofile(out)
        for name, blocks in zip(targets, labels, strict=True):
            blocks.append(_labels(batch.column(name), name))
    return labels


def _batches(files: dict[Path, Any], names: list[str], step: int) -> Iterator[Any]:
    from pyarrow import ArrowInvalid

    for path, file in files.items():
        try:
            for group in range(file.num_row_groups):  # a pass over all of them keeps what it read
                yield from file.iter_batches(step, row_groups=[group], columns=names)
        except (ArrowInvalid, OSError) as error:
            raise TableError(f"{path} cannot be read as parquet: {error}") from error


def _numbers(column: Any, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a column as numbers of a type, with NaN as gaps."""
    import pyarrow as pa

    try:
        cast = column.cast(pa.from_numpy_dtype(dtype))
    except pa.ArrowInvalid as error:  # whole numbers that would lose digits
        way_out = ' Use dtype="float64".' if dtype == np.float32 else " Leave the column out."
        raise TableError(f"column {name} does not fit into {dtype}: {error}.{way_out}") from error
    numbers: NDArray[Any] = cast.to_numpy(zero_copy_only=False)
    if np.isinf(numbers).any():
        raise TableError(
            f"column {name} holds infinity, or a number that is too large for {dtype}."
        )
    return numbers


def _labels(column: Any, name: str) -> NDArray[Any]:
    """Return a column of targets; text becomes strings of numpy, which take less memory."""
    from pyarrow import types

    if column.null_count:
        raise TableError(f"the target {name} has gaps; leave out the rows without a label.")
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    labels: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise TableError(f"the target {name} has gaps; leave out the rows without a label.")
    return labels.astype(str) if _kind_of_target(column.type) == "text" else labels
