"""Columns that are no features: weights, groups and times."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch.tables._columns import Statements
from imbtorch.tables._kinds import is_text, stripped, word_counts
from imbtorch.tables._numbers import read_numbers
from imbtorch.tables._pandas import import_pandas
from imbtorch.tables._words import TableError, counted

__all__ = ["as_groups", "as_times", "as_weights"]


def as_weights(column: Any, name: str, said: Statements) -> NDArray[np.float64]:
    """Return the weights of the rows, ``(n,)``.

    Raises
    ------
    TableError
        If some are missing, negative or no numbers.
    """
    _check_complete(column, name, "weight")
    if is_text(column):
        numbers = _all_numbers(column, said)
        if numbers is None:
            raise TableError(
                f"the weights in {name!r} are not all numbers, or can be read in two ways; got "
                f"{column.iloc[0]!r}. Their marks can be stated: --decimal and --thousands."
            )
        column = numbers
    values = np.asarray(column.to_numpy(), dtype=np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise TableError(
            f"the weights in {name!r} must be finite, at least 0 and not all 0; the smallest is "
            f"{values.min():g}."
        )
    return values


def as_groups(column: Any, name: str, said: Statements) -> NDArray[Any]:
    """Return the groups of the rows, ``(n,)``.

    Raises
    ------
    TableError
        If some are missing.
    """
    if is_text(column):
        column = stripped(column)
    _check_complete(column, name, "group")
    return np.asarray(import_pandas().factorize(column)[0])


def as_times(column: Any, name: str, said: Statements) -> NDArray[Any]:
    """Return what the rows are sorted by, ``(n,)``: numbers or dates.

    Raises
    ------
    TableError
        If some are missing, or neither numbers nor dates whose order is clear.
    """
    _check_complete(column, name, "time")
    pandas = import_pandas()
    if is_text(column):
        if (numbers := _all_numbers(column, said)) is not None:
            return np.asarray(numbers.to_numpy())
        try:
            return np.asarray(pandas.to_datetime(column, format="ISO8601", utc=True).to_numpy())
        except ValueError as error:
            raise TableError(
                f"the times in {name!r} must be numbers, or dates as 2026-01-31 or "
                f"2026-01-31 23:59:00; got {column.iloc[0]!r}. Dates of another order are not "
                "sorted, because day and month may be confused."
            ) from error
    if column.dtype.kind not in "biufM" and not str(column.dtype).startswith("date"):
        raise TableError(f"the times in {name!r} must be numbers or dates; got {column.dtype}.")
    return np.asarray(column.to_numpy())


def _all_numbers(column: Any, said: Statements) -> Any:
    """Return a column of text as numbers; None if some are none, or can be read in two ways."""
    numbers = read_numbers(word_counts(column), said.missing, said.decimal, said.thousands)
    if numbers is None or numbers.others or numbers.gaps or numbers.is_ambiguous:
        return None
    return column.map(numbers.values).astype(float)


def _check_complete(column: Any, name: str, what: str) -> None:
    if n_missing := int(column.isna().sum()):
        raise TableError(
            f"there is no {what} in {name!r} in {counted(n_missing, 'row')}; fill them in."
        )
