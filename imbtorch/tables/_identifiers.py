"""Columns that name rows instead of describing them: counters and identifiers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from imbtorch.tables._kinds import is_text
from imbtorch.tables._numbers import looks_like_a_number

__all__ = [
    "is_counter",
    "is_identifier",
    "is_measured",
    "may_be_dates",
    "may_be_identifier",
    "repeats_identifiers",
]

_ENOUGH = 10  # rows from which counting on is no coincidence
_NAME = re.compile(r"(^|[\W_])(id|ids|uid|uuid|guid|key|index|idx|nr|no)$", re.IGNORECASE)
_CAMEL_NAME = re.compile(r".*[a-z](Id|ID|Key|Index|Nr|No)")
_MEASURED = re.compile(r"[-+]?\d+([.,]\d+)?\s?[A-Za-z%°/µ²³\"']{1,6}")  # a number with its unit


def is_counter(name: str, column: Any, *, is_blank: bool) -> bool:
    """Return whether a column counts the rows: all integers of a range, in any order.

    Years or ages of one row each are such a range, too. So a range counts rows only if it begins
    at 0 or 1, or if the column has a name of identifiers.

    Parameters
    ----------
    name : str
        Name of the column.
    column : Series of shape (n,)
        Values of the column.
    is_blank : bool
        Whether the column has no name, as the index of another table. Then different integers will
        do: the rows may be a part of that table.
    """
    values = _integers(column)
    if values is None or len(values) < (2 if is_blank else _ENOUGH):
        return False
    if len(np.unique(values)) < len(values):
        return False
    if is_blank:
        return True
    is_range = int(values.max() - values.min()) == len(values) - 1
    return is_range and (int(values.min()) in (0, 1) or _is_named(name))


def is_identifier(name: str, column: Any) -> bool:
    """Return whether a column names the rows.

    Parameters
    ----------
    name : str
        Name of the column.
    column : Series of shape (n,)
        Values: text without blanks that differs in nearly every row; or integers that do, with a
        name of identifiers.
    """
    if is_text(column):
        words = column.dropna()
        if len(words) < _ENOUGH or words.nunique() < 0.95 * len(words):
            return False
        return sum(map(_says_something, words)) < 0.05 * len(words)
    values = _integers(column)
    if values is None or len(values) < _ENOUGH:
        return False
    return _is_named(name) and len(np.unique(values)) >= 0.95 * len(values)


def repeats_identifiers(name: str, column: Any) -> bool:
    """Return whether a column has a name of identifiers, and many of them, some repeated.

    Parameters
    ----------
    name : str
        Name of the column.
    column : Series of shape (n,)
        Its values.
    """
    values = _integers(column)
    return values is not None and _is_named(name) and len(np.unique(values)) > _ENOUGH


def may_be_identifier(name: str, column: Any) -> bool:
    """Return whether a column has all different integers of equally many digits.

    Parameters
    ----------
    name : str
        Name of the column.
    column : Series of shape (n,)
        Its values.
    """
    values = _integers(column)
    if values is None or len(values) < 5 * _ENOUGH or len(np.unique(values)) < len(values):
        return False
    return int(values.min()) > 999 and len(str(values.min())) == len(str(values.max()))


def _integers(column: Any) -> Any:
    """Return the integers of a column without gaps, or None."""
    if column.dtype.kind not in "iu" or column.isna().any():
        return None
    return column.to_numpy(dtype=np.float64 if column.dtype.kind == "u" else np.int64)


def _is_named(name: str) -> bool:
    return _NAME.search(name) is not None or _CAMEL_NAME.fullmatch(name) is not None


def _says_something(word: str) -> bool:
    """Return whether a word is several words, or a number, perhaps with a unit."""
    body = word.strip()
    several = re.search(r"\s", body) is not None
    return several or looks_like_a_number(body.strip("()")) or is_measured(body)


def is_measured(word: str) -> bool:
    """Return whether a word is a number with its unit, such as "12 kg"."""
    return _MEASURED.fullmatch(word.strip()) is not None


def may_be_dates(column: Any) -> bool:
    """Return whether all values of a column are integers such as 20260131."""
    values = _integers(column)
    if values is None or not len(values) or values.min() < 19000101 or values.max() > 21001231:
        return False
    months, days = values // 100 % 100, values % 100
    return bool(((months >= 1) & (months <= 12) & (days >= 1) & (days <= 31)).all())
