"""Read a table: numbers as they are, categories as codes, gaps as NaN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import OrdinalEncoder

from imbtorch.features._cells import Cells, cells_of, is_frame

__all__ = ["UNKNOWN", "TableColumns", "find_columns"]

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
    """

    n_columns: int
    names: tuple[str, ...] | None = None
    vocabulary: dict[int, NDArray[Any]] = field(default_factory=dict)

    def name_of(self, position: int) -> str:
        """Return how a column is called in messages and in names of features."""
        return f"x{position}" if self.names is None else self.names[position]

    @property
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
        dtype = np.result_type(np.float32, *(c.dtype for c in columns))
        matrix = np.empty((len(columns[0]), self.n_columns), dtype=dtype)
        for j, column in enumerate(columns):
            matrix[:, j] = column
        return matrix

    def _read(self, cells: Cells, position: int) -> NDArray[Any]:
        words = self.vocabulary.get(position)
        if words is None:
            return cells.numbers()
        codes, values = cells.factorized()
        if not len(values):
            return np.full(len(codes), np.nan, np.float32)
        if is_text(values) != is_text(words) and len(words):
            raise ValueError(
                f"Column {cells.name!r} held {_kind(words)} in fit, such as {words[0]!r}, but "
                f"holds {_kind(values)} now, such as {values[0]!r}, so that no category would be "
                "known. Give the column the type that it had."
            )
        known = _encoder(words).transform(values.reshape(-1, 1))[:, 0]
        return np.where(codes < 0, np.nan, known[codes])


def is_text(values: NDArray[Any]) -> bool:
    """Return whether categories are words rather than numbers."""
    return values.dtype.kind in "OUS" and bool(len(values)) and isinstance(values[0], str)


def _kind(values: NDArray[Any]) -> str:
    return "text" if is_text(values) else "numbers"


def _encoder(words: NDArray[Any]) -> OrdinalEncoder:
    encoder = OrdinalEncoder(
        categories=[words], handle_unknown="use_encoded_value", unknown_value=int(UNKNOWN)
    )
    return encoder.fit(words[:1].reshape(-1, 1)) if len(words) else encoder


def find_columns(X: Any, categorical_features: Any, names: Any = None) -> TableColumns:
    """Find out which columns of a table hold categories, and which categories these are.

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
    TableColumns
        The columns, with all categories of ``X``.

    Raises
    ------
    ValueError
        If ``categorical_features`` names columns that are not there, or a column holds neither
        numbers nor categories.
    """
    n_columns = int(X.shape[1])
    names = None if names is None else tuple(map(str, names))
    chosen = _positions(categorical_features, n_columns, names)
    if isinstance(X, np.ndarray) and X.dtype.kind in "fiub" and not chosen:
        return TableColumns(n_columns, names)
    columns = TableColumns(n_columns, names)
    for position in range(n_columns):
        cells = cells_of(X, position, columns.name_of(position))
        wanted = cells.holds_categories() if chosen is None else position in chosen
        if wanted:
            columns.vocabulary[position] = _vocabulary(cells)
        elif chosen is not None and cells.holds_categories():
            raise ValueError(
                f"Column {cells.name!r} holds text, but categorical_features="
                f"{categorical_features!r} does not name it. Add it there, leave the column out, "
                "or use categorical_features='from_dtype'."
            )
    return columns


def _vocabulary(cells: Cells) -> NDArray[Any]:
    _, values = cells.factorized()
    if not len(values):
        return values
    try:
        encoder = OrdinalEncoder().fit(values.reshape(-1, 1))
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in values})
        raise ValueError(
            f"Column {cells.name!r} holds categories of several types: {', '.join(kinds)}. Make "
            f"one of them, for example with X[{cells.name!r}].astype(str)."
        ) from error
    words: NDArray[Any] = encoder.categories_[0]
    return words


def _positions(chosen: Any, n_columns: int, names: Sequence[str] | None) -> frozenset[int] | None:
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
    if is_frame(X):
        return not all(map(_is_numeric, X.dtypes))
    return getattr(getattr(X, "dtype", None), "kind", "") in ("O", "U", "S", "T")


def _is_numeric(dtype: Any) -> bool:
    """Return whether a column of this type of pandas or polars holds numbers or truth values."""
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biuf"
    return bool(hasattr(dtype, "is_numeric") and dtype.is_numeric())
