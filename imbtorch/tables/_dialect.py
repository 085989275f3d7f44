"""How the lines of a text file become cells: its separator, and where the table begins."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from imbtorch.tables._numbers import looks_like_a_number
from imbtorch.tables._words import TableError, counted

__all__ = ["Dialect", "find_dialect", "separator_named"]

_CANDIDATES = (",", ";", "\t", "|")
_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "bar": "|", "pipe": "|"}
_COMMENTS = ("#", "//", "%")


@dataclass(frozen=True)
class Dialect:
    """How to read a text file.

    Parameters
    ----------
    sep : str
        Separator of the cells.
    skip : int
        Lines before the table.
    comments : tuple of str
        The comments among these lines, without their marks.
    notes : tuple of str
        What was decided.
    """

    sep: str
    skip: int = 0
    comments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def separator_named(sep: str) -> str:
    """Return the character that a separator is named by.

    Raises
    ------
    TableError
        If it is not one character.
    """
    found = _NAMES.get(sep.lower(), sep)
    if len(found) != 1 or found in '"\r\n':
        raise TableError(
            f"--sep must be one character, or tab, comma, semicolon or bar; got {sep!r}."
        )
    return found


def find_dialect(
    lines: Sequence[str], sep: str | None, skip_lines: int, expected: Collection[str] = ()
) -> Dialect:
    """Find the separator of a text file, and the lines before its table.

    Parameters
    ----------
    lines : sequence of str
        The first lines of the file, some hundreds.
    sep : str or None
        Separator; None looks for it.
    skip_lines : int
        Lines that the user wants to be skipped.
    expected : collection of str, default=()
        Names that the header should have. If there is one only, and it is the first line, the file
        has one column.

    Raises
    ------
    TableError
        If no line is left, no separator is found, or several ones do as well as each other.
    """
    skip, comments, notes = skip_lines, [], []
    if (
        skip < len(lines)
        and lines[skip].lower().startswith("sep=")
        and len(lines[skip].strip()) > 4
    ):
        sep = separator_named(lines[skip].strip()[4:]) if sep is None else sep
        skip += 1
    while skip < len(lines) and (not lines[skip].strip() or _is_comment(lines[skip])):
        if _is_comment(lines[skip]):
            comments.append(lines[skip].strip().lstrip("#/%").strip())
        skip += 1
    if skip >= len(lines):
        raise TableError("the file has no lines besides comments.")
    if comments:
        notes.append(f"comments before the table are left out: {counted(len(comments), 'line')}")
    header = lines[skip].strip().strip('"').strip()
    if sep is None and [header] == list(expected):  # any separator that is in no cell
        text = "".join(lines[skip:])
        sep = next((mark for mark in _CANDIDATES if mark not in text), ",")
    given, sep = sep, separator_named(sep) if sep is not None else _best(lines[skip:])
    if given is None and sep != ",":
        notes.append(f"the separator is {_title(sep)}")
    return Dialect(sep, skip, tuple(comments), tuple(notes))


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(_COMMENTS)


def _title(sep: str) -> str:
    return {";": "a semicolon", "\t": "a tab", "|": "a bar"}.get(sep, repr(sep))


def _cells(lines: Sequence[str], sep: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(lines, delimiter=sep, skipinitialspace=True) if row]
    except csv.Error as error:
        raise TableError(
            f"the file cannot be read as CSV: {error}. Perhaps a quote is opened and not closed."
        ) from error


def _best(lines: Sequence[str]) -> str:
    """Return the separator that cuts the lines into the same number of cells, as the first one."""
    rated = []
    for sep in _CANDIDATES:
        rows = _cells(lines, sep)
        width, count = Counter(map(len, rows)).most_common(1)[0]
        if max(width, len(rows[0])) > 1:
            cells = [cell for row in rows[1:] for cell in row if cell]
            numbers = sum(map(looks_like_a_number, cells)) / max(len(cells), 1)
            rate = (len(rows[0]) == width, round(count / len(rows), 1), round(numbers, 2))
            rated.append((rate, sep))
    if not rated:
        raise TableError(
            "the file has one column only: no comma, semicolon, tab or bar separates its cells. "
            "If another character does, name it: --sep CHARACTER."
        )
    rated.sort(reverse=True)
    if len(rated) > 1 and rated[0][0] == rated[1][0]:
        raise TableError(
            f"the cells may be separated by {_title(rated[0][1])} or by {_title(rated[1][1])}. "
            "Name one of them: --sep CHARACTER."
        )
    return rated[0][1]
