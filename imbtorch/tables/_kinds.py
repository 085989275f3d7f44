"""What a column of a frame holds: text, dates, or a type that its owner gave it."""

from __future__ import annotations

import datetime
import re
from typing import Any

from imbtorch.tables._pandas import import_pandas

__all__ = [
    "are_dates",
    "holds_dates",
    "is_declared",
    "is_text",
    "stripped",
    "text_if_mixed",
    "word_counts",
]

_MONTH, _DAY = r"(0?[1-9]|1[0-2])", r"(0?[1-9]|[12]\d|3[01])"
_MARK = r"(?P<mark{0}>[-/.])"  # the same one in both places
_DATES = re.compile(
    rf"""\d{{4}}{_MARK.format(1)}{_MONTH}(?P=mark1){_DAY}([T\ ]\d.*)?  # 2026-01-31, or with a time
    | ({_DAY}{_MARK.format(2)}{_MONTH}(?P=mark2)|{_MONTH}{_MARK.format(3)}{_DAY}(?P=mark3))
      (\d{{4}}|\d{{2}})(\ \d.*)?                                     # 31.01.2026, 1/31/26
    | \d{{1,2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?(\ ?[apAP][mM])?  # 23:59
    | \d{{1,2}}[-\ ][A-Za-z]{{3,9}}[-\ ,]*\d{{2,4}}(\ \d.*)?   # 31 Jan 2026
    | [A-Za-z]{{3,9}}\ \d{{1,2}},?\ \d{{4}}(\ \d.*)?        # Jan 31, 2026""",
    re.VERBOSE,
)
_TEMPORAL = (datetime.date, datetime.time, datetime.timedelta)


def is_declared(column: Any) -> bool:
    """Return whether the column has the type of categories."""
    return isinstance(column.dtype, import_pandas().CategoricalDtype)


def is_text(column: Any) -> bool:
    """Return whether all values of a column are text, apart from gaps."""
    if is_declared(column) or column.dtype.kind in "biufcmM":
        return False
    values = column.dropna()
    return bool(len(values)) and all(isinstance(value, str) for value in values)


def text_if_mixed(column: Any) -> Any:
    """Return a column of text and numbers as text; return any other column as it is."""
    if is_declared(column) or column.dtype.kind != "O":
        return column
    kinds = set(map(type, column.dropna().tolist()))
    if str not in kinds or len(kinds) == 1:
        return column
    return column.map(str, na_action="ignore")


def word_counts(column: Any) -> dict[str, int]:
    """Return how often each value of a column of text occurs."""
    counts = column.value_counts(sort=False)
    return dict(zip(counts.index.tolist(), counts.tolist(), strict=True))


def are_dates(words: Any) -> bool:
    """Return whether nearly all of these words are dates or times of a day."""
    sample = [word for word in words if word.strip()][:500]
    dates = sum(_DATES.fullmatch(word.strip()) is not None for word in sample)
    return bool(sample) and dates >= 0.95 * len(sample)


def holds_dates(column: Any) -> bool:
    """Return whether a column holds dates, times or durations, also as text."""
    if is_declared(column):
        return False
    if str(column.dtype).lower().startswith(("date", "time", "duration", "period")):
        return True
    if is_text(column):
        return are_dates(word_counts(column))
    values = column.dropna() if column.dtype.kind == "O" else ()
    return bool(len(values)) and isinstance(next(iter(values)), _TEMPORAL)


def stripped(column: Any) -> Any:
    """Return a column of text without blanks around its values; an empty value is a gap."""
    text = column.map(lambda word: word.strip(), na_action="ignore")
    return text.mask(text == "")
