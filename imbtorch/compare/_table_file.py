"""Read a file with a table as features and labels, with clear errors if it is not valid."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target

from imbtorch.compare._compare import import_pandas
from imbtorch.features import TableFeatures

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FileError", "TableFile", "read"]

_SHOWN = 12


class FileError(ValueError):
    """A file cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class TableFile:
    """Content of a file as features and labels.

    Parameters
    ----------
    X : DataFrame
        Features; columns of categories hold text or have the type ``category``.
    y : ndarray
        Labels.
    notes : list of str
        How the columns are read.
    """

    X: pd.DataFrame
    y: NDArray[Any]
    notes: list[str]


def read(
    path: Path, target: str, drop: Sequence[str] = (), categorical: Sequence[str] = ()
) -> TableFile:
    """Read a CSV or parquet file.

    Parameters
    ----------
    path : Path
        File to read: parquet if its extension says so, else CSV.
    target : str
        Column of the labels.
    drop : sequence of str
        Columns to leave out.
    categorical : sequence of str
        Columns of numbers that are categories, such as codes of shops. All columns of text are
        categories without being named; ``"auto"`` names these.

    Raises
    ------
    FileError
        If the file or a column is missing or is not valid.
    """
    table = _read_table(path)
    for name in [target, *drop, *(name for name in categorical if name != "auto")]:
        _check_column(table, name)
    if target in drop:
        raise FileError(f"{target!r} is the target and cannot be dropped.")
    y = _labels(table, target)
    X = table.drop(columns=[target, *drop])
    if not X.shape[1]:
        raise FileError(f"no column is left besides the target {target!r}.")
    _check_numbers(X.select_dtypes("number"))
    X = X.astype({name: "category" for name in X if name in categorical})
    return TableFile(X, y, _notes(X))


def _notes(X: pd.DataFrame) -> list[str]:
    """Say which columns are categories and which have gaps, as the nets will read them."""
    try:
        encoder = TableFeatures().fit(X).encoder_
    except (ValueError, TypeError) as error:
        reason = str(error).split(". ")[0].removesuffix(".")
        raise FileError(f"{reason}. Leave such columns out with --drop COLUMN ...") from error
    name_of, words = encoder.columns.name_of, encoder.columns.vocabulary
    counted = [f"{name_of(j)} ({len(words[j])})" for j in words]
    gaps = [name_of(encoder.numbers[j]) for j in encoder.indicators]
    notes = [f"categories, with the number of different ones: {_some(counted)}"] if counted else []
    if gaps:
        notes.append(
            "missing numbers become the mean of the training rows, and a column that marks them: "
            f"{_some(gaps)}"
        )
    return notes


def _read_table(path: Path) -> pd.DataFrame:
    pandas = import_pandas()
    if not path.is_file():
        raise FileError(f"there is no file {path}.")
    is_parquet = path.suffix.lower() in {".parquet", ".pq"}
    kind = "parquet" if is_parquet else "CSV"
    try:
        table = (
            pandas.read_parquet(path)
            if is_parquet
            else pandas.read_csv(path, skipinitialspace=True)
        )
    except ImportError as error:
        raise FileError(
            "reading parquet needs pyarrow, which is not installed: pip install 'imbtorch[parquet]'"
        ) from error
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileError(f"{path} cannot be read as {kind}: {reason}") from error
    if table.empty:
        raise FileError(f"{path} has no rows.")
    table.columns = [str(name).strip() for name in table.columns]
    return table


def _check_column(table: pd.DataFrame, name: str) -> None:
    if name in table.columns:
        return
    close = difflib.get_close_matches(name.lower(), [c.lower() for c in table.columns], n=3)
    alike = [column for column in table.columns if column.lower() in close]
    hint = f" Did you mean {' or '.join(map(repr, alike))}?" if alike else ""
    raise FileError(f"there is no column {name!r}.{hint} Columns: {_some(table.columns)}.")


def _labels(table: pd.DataFrame, target: str) -> NDArray[Any]:
    column = table[target]
    if n_missing := int(column.isna().sum()):
        raise FileError(f"{n_missing} rows have no value of the target {target!r}; remove them.")
    y: NDArray[Any] = column.to_numpy()
    if y.dtype.kind not in "biuf":
        y = y.astype(str)
    if y.dtype.kind == "f" and (y == y.astype(np.int64)).all():
        y = y.astype(np.int64)
    if type_of_target(y) not in {"binary", "multiclass"}:
        raise FileError(f"the target {target!r} is continuous; a comparison needs classes.")
    n_classes = len(np.unique(y))
    if n_classes > 2 and n_classes > len(y) / 5:
        raise FileError(
            f"the target {target!r} has {n_classes} different values in {len(y)} rows; a "
            "comparison needs classes."
        )
    return y


def _check_numbers(X: pd.DataFrame) -> None:
    if empty := [name for name in X if X[name].isna().all()]:
        raise FileError(f"columns without any value: {_some(empty)}. Leave them out with --drop.")
    infinite = [name for name in X if np.isinf(X[name].to_numpy()).any()]
    if infinite:
        raise FileError(
            f"columns with infinite values: {_some(infinite)}. Replace them, or leave the columns "
            "out with --drop."
        )


def _some(names: Any) -> str:
    words = [str(name) for name in names]
    more = f", ... ({len(words)} in all)" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more
