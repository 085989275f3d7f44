"""The cells of one column, from a pandas or polars frame or from an array."""

from __future__ import annotations

import datetime
import sys
from abc import ABC, abstractmethod
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._common.gaps import is_missing

__all__ = ["TEMPORAL", "Cells", "cells_of", "is_frame", "no_dates"]

TEMPORAL = (np.datetime64, np.timedelta64, datetime.date, datetime.time, datetime.timedelta)


def is_frame(X: Any) -> bool:
    """Return whether ``X`` is a table with named columns, of pandas or polars."""
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def cells_of(X: Any, position: int, name: str) -> Cells:
    """Take one column out of a table.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n, n_columns)
        Table.
    position : int
        Number of the column.
    name : str
        Name of the column, for messages.

    Returns
    -------
    Cells
        The column.

    Raises
    ------
    ValueError
        If the column holds dates or durations.
    """
    if not is_frame(X):
        return _Values(X[:, position], name)
    column = X.iloc[:, position] if hasattr(X, "iloc") else X[:, position]
    if str(column.dtype).lower().startswith(("date", "time", "duration", "period")):
        raise no_dates(name)
    return _PandasCells(column, name) if hasattr(X, "iloc") else _PolarsCells(column, name)


class Cells(ABC):
    """One column of a table.

    Parameters
    ----------
    column : Series or ndarray of shape (n,)
        Its values.
    name : str
        Its name, for messages.
    """

    def __init__(self, column: Any, name: str) -> None:
        self.column, self.name = column, name

    @property
    def is_declared(self) -> bool:
        """Whether the column has a type of its own for categories."""
        return str(self.column.dtype).startswith(("category", "Categorical", "Enum"))

    @abstractmethod
    def holds_categories(self) -> bool:
        """Return whether the type of the column says that it holds categories."""

    @abstractmethod
    def numbers(self) -> NDArray[Any]:
        """Return floats, NaN where there is a gap, ``(n,)``.

        Raises
        ------
        ValueError
            If the column holds something else than finite numbers, truth values and gaps.
        """

    @abstractmethod
    def factorized(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the code of each cell, -1 for a gap, and the distinct values without gaps."""

    def finite(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return these values, or raise ValueError if some of them are infinite."""
        if np.isinf(values).any():
            raise ValueError(
                f"Input X contains infinity: column {self.name!r} has infinite values. Replace "
                "them by NaN, which stands for a missing value, or by the largest number that "
                "occurs."
            )
        return values

    def _not_numbers(self, example: Any) -> ValueError:
        return ValueError(
            f"Column {self.name!r} held numbers in fit, but holds {example!r} now, which is of "
            f"type {type(example).__name__}. Give the column the type that it had in fit."
        )


class _PandasCells(Cells):
    def holds_categories(self) -> bool:
        dtype = self.column.dtype
        if _is_categorical(dtype) or _holds_text(dtype):
            return True
        if dtype.kind in "biufc":
            return False
        if dtype.kind == "O":
            return _Values(self.column.to_numpy(), self.name).holds_categories()
        return True

    def numbers(self) -> NDArray[Any]:
        dtype = self.column.dtype
        if _is_categorical(dtype):
            return _Values(self.column.to_numpy(), self.name).numbers()
        if dtype.kind in "biuf" and not _holds_text(dtype):
            kept = isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize <= 4
            kind = np.float32 if kept else np.float64
            return self.finite(self.column.to_numpy(dtype=kind, na_value=np.nan))
        return _Values(self.column.to_numpy(dtype=object), self.name).numbers()

    def factorized(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        codes, values = sys.modules["pandas"].factorize(self.column)
        values = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
        return codes.astype(np.int64), _plain(values)


class _PolarsCells(Cells):
    def holds_categories(self) -> bool:
        kind = str(self.column.dtype)
        return not (self.column.dtype.is_numeric() or kind in ("Boolean", "Null"))

    def numbers(self) -> NDArray[Any]:
        polars = sys.modules["polars"]
        if self.holds_categories():
            first = self.column.drop_nulls()
            if len(first):
                raise self._not_numbers(first[0])
        kind = polars.Float32 if str(self.column.dtype) == "Float32" else polars.Float64
        return self.finite(self.column.cast(kind, strict=False).to_numpy())

    def factorized(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        polars = sys.modules["polars"]
        column = self.column
        if not column.dtype.is_numeric() and str(column.dtype) != "Boolean":
            column = column.cast(polars.String)
        elif column.dtype.is_float():
            column = column.fill_nan(None)
        values = column.drop_nulls().unique().sort()
        codes = column.replace_strict(
            values, np.arange(len(values)), default=None, return_dtype=polars.Int64
        )
        found = np.asarray(values.to_list(), dtype=None if column.dtype.is_numeric() else object)
        return codes.fill_null(-1).to_numpy(), found


class _Values(Cells):
    """A column of an array: of numbers, of text or of objects."""

    @property
    def gaps(self) -> NDArray[np.bool_]:
        values = self.column
        if values.dtype.kind == "f":
            return np.asarray(np.isnan(values))
        if values.dtype.kind != "O":
            return np.zeros(len(values), dtype=bool)
        pandas = sys.modules.get("pandas")
        if pandas is not None:
            return np.asarray(pandas.isna(values))
        return np.fromiter(map(is_missing, values), bool, len(values))

    def _types(self) -> set[type]:
        return set(map(type, self.column[~self.gaps].tolist()))

    def holds_categories(self) -> bool:
        if self.column.dtype.kind != "O":
            return self.column.dtype.kind not in "biufc"
        types = self._types()
        if any(issubclass(t, TEMPORAL) for t in types):
            raise no_dates(self.name)
        words = [t for t in types if issubclass(t, str)]
        if words and len(words) == len(types):
            return True
        wrong = [t.__name__ for t in types if not issubclass(t, Number | np.bool_)]
        kinds = sorted(t.__name__ for t in types)
        if words:
            raise ValueError(
                f"Column {self.name!r} holds text and other values ({' and '.join(kinds)}). Make "
                "text of all of them (astype(str)) if they are categories, or numbers "
                "(pandas.to_numeric)."
            )
        if wrong:
            raise TypeError(
                f"Column {self.name!r} holds values of type {', '.join(sorted(wrong))}: a value of "
                "a table must be a string or a number."
            )
        return False

    def numbers(self) -> NDArray[Any]:
        values = self.column
        if values.dtype.kind == "f":
            return self.finite(values)
        if values.dtype.kind in "biu":
            return np.asarray(values, dtype=np.float64)
        if self.holds_categories():
            raise self._not_numbers(values[~self.gaps][0])
        gaps = self.gaps
        numbers = np.full(len(values), np.nan)
        numbers[~gaps] = values[~gaps].astype(np.float64)
        return self.finite(numbers)

    def factorized(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        if self.column.dtype.kind in "fiub":
            gaps = self.gaps
            codes = np.full(len(gaps), -1, dtype=np.int64)
            numbers, codes[~gaps] = np.unique(self.column[~gaps], return_inverse=True)
            return codes, numbers
        cells = self.column.tolist()
        place = dict(zip(dict.fromkeys(cells), range(len(cells)), strict=False))
        codes = np.fromiter(map(place.__getitem__, cells), np.int64, len(cells))
        found = _Values(np.fromiter(place, object, len(place)), self.name)
        present = ~found.gaps  # looked for among the distinct values only
        renumbered = np.where(present, np.cumsum(present) - 1, -1)
        return renumbered[codes], found.column[present]


def _is_categorical(dtype: Any) -> bool:
    return isinstance(dtype, sys.modules["pandas"].CategoricalDtype)


def _holds_text(dtype: Any) -> bool:
    """Return whether a type of pandas is one of strings, or a dictionary of Arrow."""
    name = str(dtype)
    return name == "str" or name.startswith(("string", "large_string", "dictionary"))


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return words as an array of objects, and numbers as an array of numbers."""
    if values.dtype.kind in "biuf":
        return values
    return np.asarray(values.tolist(), dtype=object)


def no_dates(name: str) -> ValueError:
    return ValueError(
        f"X has columns of dates or durations: [{name!r}]. A net would read them as nanoseconds. "
        "Make numbers of them first, such as the year, the month, the hour, or the days since a "
        "fixed day; skrub.DatetimeEncoder does this."
    )
