"""What the reader says: errors, lists of names, and the ways out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["IN_COMMANDS", "IN_PYTHON", "TableError", "counted", "some"]

_SHOWN = 12

# How a person settles a question, on the command line and for a frame in Python
IN_COMMANDS: Mapping[str, str] = {
    "drop": "--drop {}",
    "categorical": "--categorical {}",
    "numeric": "--numeric {}",
    "keep": "--numeric {}",
    "missing": "--missing {}",
    "decimal": "--decimal , or --decimal .",
    "groups": "--groups {}",
    "unlabelled": "--drop-unlabelled",
    "one class": "--case merge",
    "different classes": "--case keep",
    "no class": "--missing {}",
}
IN_PYTHON: Mapping[str, str] = {
    "drop": "X.drop(columns=[{!r}])",
    "categorical": "X[{!r}].astype('category')",
    "numeric": "pandas.to_numeric(X[{!r}], errors='coerce')",
    "keep": "check_columns=False",
    "missing": "X.replace({!r}, None)",
    "decimal": "pandas.to_numeric(X[...].str.replace(...))",
    "groups": "groups=X[{!r}]",
    "unlabelled": "X[y.notna()], y[y.notna()]",
    "one class": "y.str.strip().str.lower()",
    "different classes": "check_columns=False",
    "no class": "y.replace({!r}, None)",
}


class TableError(ValueError):
    """A table cannot be used as it is; the message says why, and what settles it.

    Examples
    --------
    >>> from imbtorch.tables import TableError, read_table
    >>> try:
    ...     read_table("no.csv", "label")
    ... except TableError as error:
    ...     print(error)
    there is no file no.csv.
    """


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 row" or "2,000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def some(values: Iterable[Any]) -> str:
    """Return the first values as text, separated by commas, and how many there are in all."""
    words = [str(value) for value in values]
    more = f", ... ({len(words)} in all)" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more
