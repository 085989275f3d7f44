"""Read a table: numbers as they are, categories as codes, gaps as NaN."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import OrdinalEncoder

from imbtorch.features._cells import TEMPORAL, Cells, cells_of, is_frame, no_dates

__all__ = [
    "UNKNOWN",
    "TableColumns",
    "as_table",
    "is_text",
    "needs_reading",
    "positions_of",
    "read_new_table",
]

UNKNOWN = -1.0  # code of a category that the table of the fit did not have


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table, and the vocabulary of those that hold categories.

    Attributes
    ----------
    n_columns : int
        Number of columns.
    names : tuple of str or None
        Names of the columns; None for arrays.
    vocabulary : dict of int to ndarray
        Sorted categories of each column of categories, by its position.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.features import TableFeatures
    >>> X = np.array([["a", 1.0], ["b", None]], dtype=object)
    >>> columns = TableFeatures().fit(X).columns_
    >>> columns.read(np.array([["b", 2.0], ["c", None]], dtype=object)).tolist()
    [[1.0, 2.0], [-1.0, nan]]
    """

    n_columns: int
    names: tuple[str, ...] | None = None
    vocabulary: dict[int, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def named(cls, n_columns: int, names: Any = None) -> TableColumns:
        """Describe columns of numbers, with or without names."""
        return cls(n_columns, None if names is None else tuple(map(str, names)))

    def name_of(self, position: int) -> str:
        """Return how a column is called in messages and in names of features."""
        return f"x{position}" if self.names is None else self.names[position]

    @cached_property
    def numbers(self) -> list[int]:
        """Positions of the columns of numbers."""
        return [j for j in range(self.n_columns) if j not in self.vocabulary]

    def read(self, X: Any) -> NDArray[Any]:
        """Turn a table into a matrix of numbers.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            Table whose columns are in the order of the fit.

        Returns
        -------
        ndarray of shape (n, n_columns)
            Numbers, and codes of categories: a position in the vocabulary, or -1 for a category
            that is not in it. NaN is a gap. Arrays of numbers are returned as they are.

        Raises
        ------
        ValueError
            If a column holds something else than in the fit, or an infinite number.
        """
        if isinstance(X, np.ndarray) and X.dtype.kind in "fiub" and not self.vocabulary:
            return X
        columns = [self._read(cells_of(X, j, self.name_of(j)), j) for j in range(self.n_columns)]
        return _side_by_side(columns)

    def _read(self, cells: Cells, position: int) -> NDArray[Any]:
        words = self.vocabulary.get(position)
        if words is None:
            return cells.numbers()
        if _are_exact_floats(words):
            return _known_codes(words, cells.numbers())[:-1]
        try:
            codes, values = cells.factorized()
        except TypeError:  # values such as lists, which no dictionary takes
            cells.holds_categories()
            raise
        other = _of_another_type(words, values)
        if other is not None:
            raise ValueError(
                f"Column {cells.name!r} held {_kind(words[0])} in fit, such as {words[0]!r}, but "
                f"holds {_kind(other)} now, such as {other!r}, so that this category would not be "
                "known. Give the column the type that it had."
            )
        return _known_codes(words, values)[codes]


def _side_by_side(columns: list[NDArray[Any]]) -> NDArray[Any]:
    dtype = np.result_type(np.float32, *(column.dtype for column in columns))
    matrix = np.empty((len(columns[0]), len(columns)), dtype=dtype)
    for j, column in enumerate(columns):
        matrix[:, j] = column
    return matrix


def _are_exact_floats(words: NDArray[Any]) -> bool:
    """Return whether the sorted categories are numbers that a float holds without rounding."""
    if words.dtype.kind not in "biuf" or not len(words):
        return False
    return float(words[0]) >= -(2**53) and float(words[-1]) <= 2**53


def _known_codes(words: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Return the position of each value among the sorted words, -1 for others, NaN for gaps.

    A last element, NaN, follows: a column whose cells refer to values has code -1 for gaps.
    """
    kind = np.float32 if len(words) <= 2**24 else np.float64
    known = np.full(len(values) + 1, UNKNOWN, dtype=kind)
    known[-1] = np.nan
    if len(words) and len(values):
        place = np.searchsorted(words, values).clip(max=len(words) - 1)
        known[:-1] = np.where(words[place] == values, place, UNKNOWN)
    if values.dtype.kind == "f":
        known[:-1][np.isnan(values)] = np.nan
    return known


def is_text(values: NDArray[Any]) -> bool:
    """Return whether categories are words rather than numbers."""
    return values.dtype.kind in "OUS" and bool(len(values)) and isinstance(values[0], str)


def _of_another_type(words: NDArray[Any], values: NDArray[Any]) -> Any:
    """Return a value that cannot be compared with the words, or None."""
    if not len(words):
        return None
    if values.dtype.kind in "biuf":
        return values[0] if is_text(words) and len(values) else None
    return next((v for v in values if isinstance(v, str) != is_text(words)), None)


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "numbers"


def as_table(X: Any) -> Any:
    """Turn lists into arrays that keep the type of each value; return all else as it is.

    Parameters
    ----------
    X : array-like
        A list of rows, which may hold text beside numbers, or anything else.

    Returns
    -------
    object
        An array of objects for rows that hold text; else ``X``.
    """
    if not isinstance(X, list | tuple):
        return X
    try:
        array = np.asarray(X)
    except ValueError:  # rows of unequal length, which scikit-learn reports
        return X
    return np.asarray(X, dtype=object) if array.dtype.kind in "US" else array


def needs_reading(X: Any, categorical: Any, columns: TableColumns | None) -> bool:
    """Return whether a table holds more than numbers, so that its columns are read one by one.

    Parameters
    ----------
    X : DataFrame, ndarray or CSR matrix of shape (n, n_columns)
        Table.
    categorical : object
        Which columns hold categories, see :func:`read_new_table`.
    columns : TableColumns or None
        Columns of the fit, if there was one.
    """
    if columns is not None:
        return bool(columns.vocabulary) or is_table(X)
    named = categorical is not None and not isinstance(categorical, str)
    return (named and len(categorical) > 0) or is_table(X)


def read_new_table(
    X: Any, categorical_features: Any, names: Any = None
) -> tuple[TableColumns, NDArray[Any]]:
    """Find out which columns of a table hold categories, and which these are; read the table.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n, n_columns)
        Table.
    categorical_features : {"from_dtype"}, sequence of str, int or bool, or None
        See :class:`imbtorch.features.TableFeatures`.
    names : sequence of str or None, default=None
        Names of the columns.

    Returns
    -------
    columns : TableColumns
        The columns, with all categories of ``X``.
    matrix : ndarray of shape (n, n_columns)
        What :meth:`TableColumns.read` returns of ``X``.

    Raises
    ------
    ValueError
        If ``categorical_features`` names columns that are not there, or a column holds neither
        numbers nor categories.
    """
    n_columns = int(X.shape[1])
    columns = TableColumns.named(n_columns, names)
    chosen = positions_of(categorical_features, n_columns, columns.names)
    read: list[NDArray[Any]] = []
    for position in range(n_columns):
        cells = cells_of(X, position, columns.name_of(position))
        holds_categories = cells.holds_categories()
        if holds_categories if chosen is None else position in chosen:
            codes, values = cells.factorized()
            if values.dtype.kind == "f":
                cells.finite(values)
            _check_categories(values, cells.name)
            if chosen is None and not cells.is_declared:
                _warn_of_numbers(values, cells.name)
            words = columns.vocabulary[position] = _sorted(values, cells.name)
            read.append(_known_codes(words, values)[codes])
        elif holds_categories:
            raise ValueError(
                f"Column {cells.name!r} holds text, but categorical_features="
                f"{categorical_features!r} does not name it. Add it there, leave the column out, "
                "or use categorical_features='from_dtype'."
            )
        else:
            read.append(cells.numbers())
    return columns, _side_by_side(read)


def _check_categories(values: NDArray[Any], name: str) -> None:
    """Raise ValueError if categories are something else than text, numbers or truth values."""
    if values.dtype.kind != "O":
        return
    wrong = [value for value in values if not isinstance(value, str | Number | np.bool_)]
    if any(isinstance(value, TEMPORAL) for value in wrong):
        raise no_dates(name)
    if wrong:
        raise ValueError(
            f"Column {name!r} holds categories of type {type(wrong[0]).__name__}, such as "
            f"{wrong[0]!r}, but a category must be text, a number or a truth value. Make text of "
            f"them: X[{name!r}].astype(str)."
        )


def _warn_of_numbers(values: NDArray[Any], name: str) -> None:
    """Warn if all categories of a column of text are numbers that were written as text."""
    if not is_text(values):
        return
    try:
        values.astype(np.float64)
    except (ValueError, TypeError):
        return
    warnings.warn(
        f"Column {name!r} holds numbers that are written as text, such as {values[0]!r}; it is "
        f"read as categories. If it holds numbers, convert it: pandas.to_numeric(X[{name!r}]). If "
        "it holds categories, such as postal codes, say so: give it the type 'category', or name "
        "it in categorical_features.",
        UserWarning,
        stacklevel=2,
    )


def _sorted(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the words of a column in the order of scikit-learn's encoders."""
    if not len(values):
        return values
    try:
        encoder = OrdinalEncoder().fit(values.reshape(-1, 1))
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in values})
        raise ValueError(
            f"Column {name!r} holds categories of several types: {', '.join(kinds)}. Make one of "
            f"them, for example with X[{name!r}].astype(str)."
        ) from error
    words: NDArray[Any] = encoder.categories_[0]
    return words


def positions_of(chosen: Any, n_columns: int, names: Sequence[str] | None) -> frozenset[int] | None:
    """Return the positions of the named columns; None for "from_dtype"."""
    if chosen is None:
        return frozenset()
    if isinstance(chosen, str):
        if chosen == "from_dtype":
            return None
        raise ValueError(
            f"categorical_features={chosen!r} is not 'from_dtype'. Give a list of the names or "
            "positions of columns, a mask, or None."
        )
    values = list(chosen)
    if values and all(isinstance(v, bool | np.bool_) for v in values):
        if len(values) != n_columns:
            raise ValueError(
                f"categorical_features is a mask of {len(values)} values, but X has {n_columns} "
                "columns."
            )
        return frozenset(np.flatnonzero(values).tolist())
    return frozenset(_position(value, n_columns, names) for value in values)


def _position(value: Any, n_columns: int, names: Sequence[str] | None) -> int:
    if isinstance(value, str):
        if names is None:
            raise ValueError(
                f"categorical_features names the column {value!r}, but the columns of X have no "
                "names. Give positions, or a DataFrame."
            )
        if value not in names:
            raise ValueError(
                f"categorical_features names the column {value!r}, which X does not have. Its "
                f"columns are {list(names)}."
            )
        return list(names).index(value)
    if not isinstance(value, int | np.integer) or not -n_columns <= value < n_columns:
        raise ValueError(
            f"categorical_features holds {value!r}, which is no column of X, which has "
            f"{n_columns} columns."
        )
    return int(value) % n_columns


def is_table(X: Any) -> bool:
    """Return whether ``X`` may hold something else than numbers and gaps."""
    if not isinstance(X, np.ndarray) and is_frame(X):
        return not all(map(_is_numeric, X.dtypes))
    return getattr(getattr(X, "dtype", None), "kind", "") in ("O", "U", "S", "T")


def _is_numeric(dtype: Any) -> bool:
    """Return whether a column of this type of pandas or polars holds numbers or truth values."""
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biuf"
    return bool(hasattr(dtype, "is_numeric") and dtype.is_numeric())
