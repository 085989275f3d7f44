"""A text file as a table: dialect, header, rows; pandas reads the cells."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from imbtorch.tables._dialect import Dialect, find_dialect
from imbtorch.tables._encoding import BYTE_ORDER_MARK, find_encoding
from imbtorch.tables._header import (
    check_replaced,
    has_expected,
    holds_data,
    positions_among,
    tidy_names,
)
from imbtorch.tables._marks import ColumnMarks
from imbtorch.tables._options import Options
from imbtorch.tables._pandas import import_pandas
from imbtorch.tables._raw import RawTable, without
from imbtorch.tables._rows import Rows, scan
from imbtorch.tables._source import Source
from imbtorch.tables._words import TableError, counted, some

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_text"]

_SNIFFED = 300  # lines in which the separator is looked for


def read_text(
    source: Source, options: Options, expected: Collection[str], as_text: Collection[str]
) -> RawTable:
    """Read a text file.

    Parameters
    ----------
    source : Source
        The file.
    options : Options
        What the user states about it.
    expected : collection of str
        Names that the header should have; if it has one of them, it is a header.
    as_text : collection of str
        Names or places of columns whose cells stay as they are written.

    Raises
    ------
    TableError
        If the file cannot be read without a guess.
    """
    encoding, notes = find_encoding(source, options.encoding)

    def lines(skip: int) -> io.TextIOWrapper:
        handle = io.TextIOWrapper(io.BytesIO(source.data), encoding, newline="")
        if handle.read(1) != BYTE_ORDER_MARK:  # which most encodings leave in the text
            handle.seek(0)
        for _ in range(skip):
            handle.readline()
        return handle

    first = list(islice(lines(0), options.skip_lines + _SNIFFED))
    dialect = find_dialect(first, options.sep, options.skip_lines, expected)
    notes += dialect.notes
    n_columns = len(options.names) if options.names is not None else None
    rows = scan(lines(dialect.skip), dialect.sep, dialect.skip, options.missing, n_columns)
    header, has_names = _header(rows, dialect, options, expected)
    if options.names is not None and has_names:
        notes += check_replaced(rows.first, _others_than(rows.first, rows), options.header)
    if not has_names:
        rows.add_first(dialect.skip + 1)
    if not rows.shapes:
        raise TableError(f"{source.path} has no rows.")
    width = len(header) if options.names is not None else rows.width_of(header)
    names = tidy_names(header[:width])
    skipped = _left_out(rows, width, options, has_names, notes)
    longest = rows.check_widths(width, has_names)
    if longest > width:
        notes.append("separators at the ends of rows are left out")
    marks = rows.marks.columns(width)
    as_written = positions_among(as_text, names)
    raw = as_written | _read_as_text(marks, options)
    gaps = {n: [""] if n in as_written else ["", *options.missing] for n in range(width)}
    frame = _cells(lines(dialect.skip), source, dialect, gaps, skipped, raw, longest)
    _check_count(len(frame), rows.count - len(skipped))
    stated = [n for n in range(width) if n not in as_written]
    frame[stated] = without(options.missing, frame[stated])
    blank = [n for n, name in enumerate(header[:width]) if not name.strip()]
    in_doubt = [n for n, column in enumerate(marks) if column.may_have_thousands]
    return RawTable(names, frame, notes, blank, in_doubt)


def _read_as_text(marks: Sequence[ColumnMarks], options: Options) -> set[int]:
    """Return the columns that pandas would read as other numbers, or numbers that are codes."""
    # pandas would take 1.234 for a number with a decimal point
    points = options.decimal == "," or options.thousands == "."
    return {n for n, m in enumerate(marks) if m.holds_codes or (points and m.has_point)}


def _check_count(read: int, expected: int) -> None:
    """Raise TableError if pandas has read other rows than the first pass."""
    if read != expected:
        raise TableError(
            f"{counted(expected, 'row')} were counted, but {read:,} were read. Perhaps quotes or "
            "ends of lines are written in several ways: write the file anew, in one of them."
        )


def _left_out(
    rows: Rows, width: int, options: Options, has_names: bool, notes: list[str]
) -> set[int]:
    """Return the rows that are left out, with a note unless it is the header.

    Raises
    ------
    TableError
        If these are most rows, although only those of another length are to be left out.
    """
    left_out = {rows.first_place} if has_names else set()
    misfits = rows.misfits(width)
    if options.skip_bad_rows and misfits:
        if 2 * len(misfits) > (n_rows := rows.shapes.total()):
            raise TableError(
                f"--skip-bad-rows would leave out {len(misfits):,} of {counted(n_rows, 'row')}: "
                f"there are {width} columns, but these rows are longer or shorter. Name all "
                "columns: --names NAME ...; or, if the table begins further down: --skip-lines "
                "NUMBER."
            )
        notes.append(f"left out, because of another length: lines {some(misfits.values())}")
        left_out |= set(misfits)
        rows.forget(width)
    if len(rows.first) == 1 and rows.blank_lines:  # which may be meant as gaps
        lines = f"{counted(rows.blank_lines, 'blank line')} left out"
        notes.append(f"{lines}; a missing value is written as two quotes")
    if has_names and rows.repeated:
        times = counted(len(rows.repeated), "row")
        notes.append(f"left out, because the header is repeated: {times}")
        left_out |= set(rows.repeated)
        rows.shapes -= Counter(rows.repeated.values())
    return left_out


def _cells(
    handle: io.TextIOWrapper,
    source: Source,
    dialect: Dialect,
    gaps: dict[int, list[str]],
    left_out: set[int],
    raw: set[int],
    longest: int,
) -> pd.DataFrame:
    """Let pandas read the cells: ``gaps`` by column; those of the columns ``raw`` stay text.

    The rows have up to ``longest`` cells; those without a column are empty.
    """
    pandas = import_pandas()
    try:
        return pandas.read_csv(
            handle,
            sep=dialect.sep,
            header=None,
            names=list(range(longest)),
            usecols=list(gaps),
            index_col=False,
            skiprows=sorted(left_out),
            skipinitialspace=True,
            keep_default_na=False,
            na_values=gaps,
            dtype=dict.fromkeys(raw, object),
            low_memory=False,
        )
    except (ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TableError(f"{source.path} cannot be read as CSV: {reason}") from error


def _others_than(first: list[str], rows: Rows) -> list[list[str]]:
    return [row for row in rows.sample if row != first]


def _header(
    rows: Rows, dialect: Dialect, options: Options, expected: Collection[str]
) -> tuple[list[str], bool]:
    """Return the names of the columns, and whether the first row held names."""
    first, width = rows.first, len(rows.first)
    if options.names is not None:
        names = [name.strip() for name in options.names]
        n_cells = rows.widths.most_common(1)[0][0] if rows.shapes else width
        if len(names) != n_cells and 2 * len(rows.misfits(len(names))) > rows.shapes.total():
            raise TableError(f"--names gives {len(names)} names, but rows have {n_cells} cells.")
        return names, options.header is not False
    if options.header is False:
        return [""] * width, False
    if options.header or has_expected(first, expected):
        return first, True
    data = holds_data(first, _others_than(first, rows))
    commented = _commented_names(dialect, width)
    if commented and (data or set(expected) & set(commented)):
        return commented, False
    if data:
        raise TableError(
            f"the first row looks like data and not like names: {some(data)}. If the file has no "
            "header: --no-header, and name columns by their places, such as --target -1; if these "
            "are names: --header."
        )
    return first, True


def _commented_names(dialect: Dialect, width: int) -> list[str]:
    """Return the names in the last comment before the table, if it has as many cells."""
    if not dialect.comments:
        return []
    names = next(csv.reader([dialect.comments[-1]], delimiter=dialect.sep, skipinitialspace=True))
    return names if len(names) == width > 1 else []
