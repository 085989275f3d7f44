"""How the cells of each column are written, over all rows of a text file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from imbtorch.tables._numbers import are_codes, is_digits
from imbtorch.tables._words import TableError

__all__ = ["ColumnMarks", "TableMarks", "check_points"]

_GROUPED = re.compile(r"[^\d.]*[1-9]\d{0,2}\.\d{3}\D*")  # such as 1.234, also with a unit
_CHUNK = 1000


class ColumnMarks:
    """What is known about the cells of a column.

    Parameters
    ----------
    missing : collection of str
        Words that stand for a gap, and say nothing.
    """

    def __init__(self, missing: Collection[str]) -> None:
        self._ignored = {"", *missing}
        self._are_digits, self._has_code = True, False
        self.has_point, self._are_grouped = False, True

    @property
    def holds_codes(self) -> bool:
        """Whether all cells are digits, and some begin with 0."""
        return self._are_digits and self._has_code

    @property
    def may_have_thousands(self) -> bool:
        """Whether there are points, all of which could separate thousands."""
        return self.has_point and self._are_grouped

    def add(self, cells: Iterable[str]) -> None:
        """Take note of further cells."""
        if not (self._are_digits or self._are_grouped):
            return
        words = {cell.strip() for cell in cells} - self._ignored
        if self._are_digits:
            self._are_digits = is_digits(words)
            self._has_code |= self._are_digits and are_codes(words)
        if self._are_grouped:
            points = [word for word in words if "." in word]
            self.has_point |= bool(points)  # stays true when no more are looked for
            self._are_grouped = all(map(_GROUPED.fullmatch, points))


class TableMarks:
    """What is known about the cells of all columns, apart for rows of each length.

    Parameters
    ----------
    missing : collection of str
        Words that stand for a gap.
    """

    def __init__(self, missing: Collection[str]) -> None:
        self._missing = missing
        self._waiting: dict[int, list[Sequence[str]]] = defaultdict(list)
        self._columns: dict[int, list[ColumnMarks]] = {}

    def add(self, row: Sequence[str]) -> None:
        """Take note of a row; many are looked at together, which is faster."""
        rows = self._waiting[len(row)]
        rows.append(row)
        if len(rows) >= _CHUNK:
            self._look_at(len(row))

    def columns(self, width: int) -> list[ColumnMarks]:
        """Return what is known about the columns, from the rows of one length."""
        self._look_at(width)
        return self._columns[width]

    def _look_at(self, width: int) -> None:
        if width not in self._columns:
            self._columns[width] = [ColumnMarks(self._missing) for _ in range(width)]
        rows = self._waiting.pop(width, [])
        for column, cells in zip(self._columns[width], zip(*rows, strict=True), strict=bool(rows)):
            column.add(cells)


def check_points(
    names: Sequence[str], in_doubt: Collection[int], used: Collection[str], with_comma: str
) -> None:
    """Raise TableError if a point may separate thousands, where others have a decimal comma.

    Parameters
    ----------
    names : sequence of str
        Names of all columns.
    in_doubt : collection of int
        Columns whose points could all separate thousands.
    used : collection of str
        Names of the columns that are read as numbers.
    with_comma : str
        Name of a column with a decimal comma.
    """
    for place in sorted(in_doubt):
        if names[place] in used and names[place] != with_comma:
            raise TableError(
                f"{with_comma!r} has a decimal comma, so that a point in {names[place]!r} may "
                "separate thousands. Say which mark separates decimals: --decimal , or --decimal ."
            )
