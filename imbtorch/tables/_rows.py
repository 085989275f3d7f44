"""One pass over the rows of a text file: how long they are, and which ones do not fit."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from imbtorch.tables._marks import Shape, TableMarks, shape_of
from imbtorch.tables._words import TableError, counted, some

__all__ = ["Rows", "scan"]

_SAMPLE = 1000


@dataclass
class Rows:
    """What the pass has found; rows are counted from 0, blank lines included.

    Parameters
    ----------
    first : list of str
        The cells of the first row.
    count : int
        Number of rows, with the first one and without blank lines.
    blank_lines : int
        Number of blank lines.
    sample : list of list of str
        The rows that follow it, at most 1,000.
    shapes : Counter
        Number of rows by their shape, without the first row.
    odd : dict of int to (Shape, int)
        Shape, and the line in which the row ends, by the row; for rows that have not as many cells
        as there are columns.
    repeated : dict of int to Shape
        Rows that equal the first one, apart from empty cells at their ends.
    marks : TableMarks
        How cells are written, in rows that differ from the first one.
    """

    first: list[str] = field(default_factory=list)
    first_place: int = 0
    count: int = 0
    blank_lines: int = 0
    sample: list[list[str]] = field(default_factory=list)
    shapes: Counter[Shape] = field(default_factory=Counter)
    odd: dict[int, tuple[Shape, int]] = field(default_factory=dict)
    repeated: dict[int, Shape] = field(default_factory=dict)
    marks: TableMarks = field(default_factory=lambda: TableMarks(()))

    @property
    def widths(self) -> Counter[int]:
        """Number of rows by their number of cells, without the first row."""
        found: Counter[int] = Counter()
        for shape, number in self.shapes.items():
            found[shape.cells] += number
        return found

    def misfits(self, width: int) -> dict[int, int]:
        """Return the lines of the rows that do not fit a number of columns, by the row."""
        return {row: line for row, (shape, line) in self.odd.items() if not shape.fits(width)}

    def width_of(self, header: Sequence[str]) -> int:
        """Return the number of columns, without those at the end that have no name and no value."""
        shapes = [shape_of(header), *(one for one in self.shapes if one.filled <= len(header))]
        return max(1, *(shape.filled for shape in shapes))

    def add_first(self, line: int) -> None:
        """Count the first row, too, because it holds data."""
        shape = shape_of(self.first)
        self.shapes[shape] += 1
        self.odd[self.first_place] = (shape, line)
        self.marks.add(self.first, shape)

    def forget(self, width: int) -> None:
        """Do not count the rows that do not fit a number of columns."""
        self.shapes = Counter({s: number for s, number in self.shapes.items() if s.fits(width)})

    def check_widths(self, width: int, has_names: bool) -> int:
        """Return the number of cells of the longest row; more than ``width`` if some end empty.

        Parameters
        ----------
        width : int
            Number of columns.
        has_names : bool
            Whether a header has named them.

        Raises
        ------
        TableError
            If rows are longer or shorter, apart from empty cells at their ends.
        """
        if all(shape.fits(width) for shape in self.shapes):
            return max((shape.cells for shape in self.shapes), default=width)
        widths = self.widths
        shown = ", ".join(f"{counted(n, 'row')} of {w} cells" for w, n in widths.most_common(3))
        if has_names and width not in widths and len(widths) == 1:
            (wide,) = widths
            raise TableError(
                f"the header has {width} names, but all rows have {wide} cells, so that it is not "
                f"clear which name belongs to which column. Give all {wide} names: --names NAME "
                "...; or, if the table begins further down: --skip-lines NUMBER."
            )
        what = f"the header has {width} names" if has_names else f"the first row has {width} cells"
        raise TableError(
            f"{what}, but there are {shown}: see lines {some(self.misfits(width).values())}. A "
            "cell that holds the separator must be in quotes. Repair these rows, or leave them "
            "out: --skip-bad-rows. If the table begins further down: --skip-lines NUMBER. If the "
            "separator is another one: --sep CHARACTER."
        )


def scan(
    handle: Iterable[str],
    sep: str,
    skipped: int,
    missing: Collection[str] = (),
    n_columns: int | None = None,
) -> Rows:
    """Read all rows once.

    Parameters
    ----------
    handle : iterable of str
        Lines of the file, from the first row of the table on.
    sep : str
        Separator of the cells.
    skipped : int
        Lines before these.
    missing : collection of str, default=()
        Words that stand for a gap.
    n_columns : int or None, default=None
        Number of columns; None takes the number of cells of the first row.

    Raises
    ------
    TableError
        If a quote is not closed, or more follows after a closed one than the separator.
    """
    found, place, line = Rows(marks=TableMarks(missing)), -1, ""

    def remembered() -> Iterator[str]:
        nonlocal line
        for line in handle:  # noqa: UP028 (the line is looked at below)
            yield line

    # strict: otherwise two stray quotes make one cell of all the rows between them
    reader = csv.reader(remembered(), delimiter=sep, skipinitialspace=True, strict=True)
    try:
        for place, row in enumerate(reader):
            if not row or (len(row) == 1 and not row[0].strip() and '"' not in line):
                found.blank_lines += 1
                continue
            found.count += 1
            if not found.first:
                found.first, found.first_place = row, place
                continue
            shape = shape_of(row)
            found.shapes[shape] += 1
            if shape.cells != (n_columns or len(found.first)):
                found.odd[place] = (shape, reader.line_num + skipped)
            is_alike = row[0] == found.first[0] and row[: len(found.first)] == found.first
            if is_alike and shape.fits(len(found.first)):
                found.repeated[place] = shape
            else:
                found.marks.add(row, shape)
            if len(found.sample) < _SAMPLE:
                found.sample.append(row)
    except csv.Error as error:
        raise TableError(
            f"the file cannot be read as CSV: in line {reader.line_num + skipped} {error}. Perhaps "
            "a quote is opened and not closed before it; a quote within a quoted cell is doubled."
        ) from error
    return found
