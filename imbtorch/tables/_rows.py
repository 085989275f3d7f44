"""One pass over the rows of a text file: how long they are, and which ones do not fit."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from imbtorch.tables._marks import TableMarks
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
    widths : Counter
        Number of rows by their number of cells, without the first row.
    odd : dict of int to (int, int)
        Number of cells, and the line in which the row ends, by the row; for rows that are not as
        long as the first one.
    repeated : list of int
        Rows that equal the first one.
    all_end_empty : bool
        Whether all rows but the first one end with an empty cell.
    marks : TableMarks
        How cells are written, in rows that differ from the first one.
    """

    first: list[str] = field(default_factory=list)
    first_place: int = 0
    count: int = 0
    blank_lines: int = 0
    sample: list[list[str]] = field(default_factory=list)
    widths: Counter[int] = field(default_factory=Counter)
    odd: dict[int, tuple[int, int]] = field(default_factory=dict)
    repeated: list[int] = field(default_factory=list)
    all_end_empty: bool = True
    marks: TableMarks = field(default_factory=lambda: TableMarks(()))

    @property
    def lines(self) -> str:
        """The lines of odd rows, as text."""
        return some(line for _, line in self.odd.values())

    def check_widths(self, has_names: bool) -> int:
        """Return the number of columns, those without a name at the end included.

        Raises
        ------
        TableError
            If rows are longer or shorter than the first one.
        """
        width = len(self.first)
        if set(self.widths) <= {width}:
            return width
        if set(self.widths) == {width + 1} and self.all_end_empty:
            return width + 1
        shown = ", ".join(
            f"{counted(n, 'row')} of {w} cells" for w, n in self.widths.most_common(3)
        )
        if has_names and width not in self.widths and len(self.widths) == 1:
            (wide,) = self.widths
            raise TableError(
                f"the header has {width} names, but all rows have {wide} cells, so that it is not "
                f"clear which name belongs to which column. Give all {wide} names: --names NAME "
                "...; or, if the table begins further down: --skip-lines NUMBER."
            )
        what = f"the header has {width} names" if has_names else f"the first row has {width} cells"
        raise TableError(
            f"{what}, but there are {shown}: see lines {self.lines}. A cell that holds the "
            "separator must be in quotes. Repair these rows, or leave them out: --skip-bad-rows. "
            "If the table begins further down: --skip-lines NUMBER. If the separator is another "
            "one: --sep CHARACTER."
        )


def scan(handle: Iterable[str], sep: str, skipped: int, missing: Collection[str] = ()) -> Rows:
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
            width = len(row)
            found.widths[width] += 1
            if width != len(found.first):
                found.odd[place] = (width, reader.line_num + skipped)
            elif row == found.first:
                found.repeated.append(place)
            if row != found.first:
                found.marks.add(row)
            found.all_end_empty &= not row[-1].strip()
            if len(found.sample) < _SAMPLE:
                found.sample.append(row)
    except csv.Error as error:
        raise TableError(
            f"the file cannot be read as CSV: in line {reader.line_num + skipped} {error}. Perhaps "
            "a quote is opened and not closed before it; a quote within a quoted cell is doubled."
        ) from error
    return found
