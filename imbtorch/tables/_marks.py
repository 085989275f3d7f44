"""How the cells of each column are written, over all rows of a text file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import NamedTuple

from imbtorch.tables._numbers import are_codes, is_digits
from imbtorch.tables._words import TableError

__all__ = ["ColumnMarks", "Shape", "TableMarks", "check_points", "shape_of"]

_GROUPED = re.compile(r"[^\d.]*[1-9]\d{0,2}\.\d{3}\D*")  # such as 1.234, also with a unit
_CHUNK = 1000


class Shape(NamedTuple):
    """How many cells a row has, and the number of the last one that is not empty."""

    cells: int
    filled: int

    def fits(self, width: int) -> bool:
        """Return whether the row has this number of cells, apart from empty ones at its end."""
        return self.filled <= width <= self.cells


def shape_of(row: Sequence[str]) -> Shape:
    """Return the shape of a row.

    Examples
    --------
    >>> from imbtorch.tables._marks import shape_of
    >>> shape_of(["a", "", "b", ""]), shape_of(["a", "", "b", ""]).fits(3)
    (Shape(cells=4, filled=3), True)
    """
    filled = len(row)
    while filled and not row[filled - 1].strip():
        filled -= 1
    return _shape(len(row), filled)


_shape = cache(Shape)  # rows are many, and their shapes are few


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

    def merge(self, other: ColumnMarks) -> None:
        """Take note of what is known about further cells."""
        self._are_digits &= other._are_digits
        self._has_code |= other._has_code
        self.has_point |= other.has_point
        self._are_grouped &= other._are_grouped


class TableMarks:
    """What is known about the cells of all columns, apart for rows of each shape.

    Parameters
    ----------
    missing : collection of str
        Words that stand for a gap.
    """

    def __init__(self, missing: Collection[str]) -> None:
        self._missing = missing
        self._waiting: dict[Shape, list[Sequence[str]]] = defaultdict(list)
        self._columns: dict[Shape, list[ColumnMarks]] = {}

    def add(self, row: Sequence[str], shape: Shape | None = None) -> None:
        """Take note of a row; many are looked at together, which is faster."""
        shape = shape_of(row) if shape is None else shape
        rows = self._waiting[shape]
        rows.append(row)
        if len(rows) >= _CHUNK:
            self._look_at(shape)

    def columns(self, width: int) -> list[ColumnMarks]:
        """Return what is known about the columns, from the rows that fit a number of columns."""
        for shape in list(self._waiting):
            self._look_at(shape)
        found = [ColumnMarks(self._missing) for _ in range(width)]
        for shape, columns in self._columns.items():
            if shape.fits(width):
                for column, other in zip(found, columns, strict=False):  # surplus cells are empty
                    column.merge(other)
        return found

    def _look_at(self, shape: Shape) -> None:
        if shape not in self._columns:
            self._columns[shape] = [ColumnMarks(self._missing) for _ in range(shape.cells)]
        rows = self._waiting.pop(shape, [])
        for column, cells in zip(self._columns[shape], zip(*rows, strict=True), strict=bool(rows)):
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
