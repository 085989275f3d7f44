"""Parquet and Excel files, whose cells have types."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from imbtorch._common.gaps import is_missing
from imbtorch.tables._header import check_replaced, has_expected, holds_data, is_blank, tidy_names
from imbtorch.tables._options import Options, check_unused
from imbtorch.tables._pandas import import_pandas
from imbtorch.tables._raw import RawTable, without
from imbtorch.tables._source import Source
from imbtorch.tables._words import TableError, some

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_excel", "read_parquet"]


def read_parquet(source: Source, options: Options) -> RawTable:
    """Read a Parquet file.

    Raises
    ------
    TableError
        If pyarrow is not installed, or the file is damaged.
    """
    pandas = import_pandas()
    check_unused(options, "a Parquet file", ("sep", "encoding", "skip_lines", "skip_bad_rows"))
    if options.header is False:
        raise TableError("--no-header does not fit a Parquet file, which always has names.")
    try:
        frame = pandas.read_parquet(io.BytesIO(source.data))
    except ImportError as error:
        raise TableError(
            "reading parquet needs pyarrow, which is not installed: pip install 'imbtorch[parquet]'"
        ) from error
    except (ValueError, OSError) as error:  # pyarrow's own errors are one of the two
        raise TableError(f"{source.path} cannot be read as parquet: {_first(error)}") from error
    notes = []
    if not isinstance(frame.index, pandas.RangeIndex):
        names = [str(name) for name in frame.index.names if name is not None]
        notes.append(f"the index of the frame{f' ({some(names)})' if names else ''} is left out")
    if options.names is not None:
        _check_number(options.names, frame.shape[1])
        notes.append(f"the names {some(frame.columns)} are replaced by --names")
        frame = frame.set_axis(list(options.names), axis=1)
    return _raw(frame.reset_index(drop=True), options, notes)


def read_excel(source: Source, options: Options, expected: Collection[str]) -> RawTable:
    """Read the first sheet of an Excel file.

    Raises
    ------
    TableError
        If openpyxl is not installed, the file is damaged or its first row holds data.
    """
    pandas = import_pandas()
    check_unused(options, "an Excel file", ("sep", "encoding", "skip_bad_rows"))
    try:
        with pandas.ExcelFile(io.BytesIO(source.data), engine="openpyxl") as book:
            sheets = book.sheet_names
            cells = pandas.read_excel(
                book,
                header=None,
                dtype=object,
                skiprows=options.skip_lines,
                keep_default_na=False,
                na_values=[""],
            )
    except ImportError as error:
        raise TableError(
            "reading Excel files needs openpyxl, which is not installed: pip install "
            "'imbtorch[excel]'"
        ) from error
    except Exception as error:  # openpyxl raises errors of zip files, of XML and its own
        raise TableError(f"{source.path} cannot be read as Excel: {_first(error)}") from error
    others = some(map(repr, sheets[1:]))
    notes = [f"the first sheet, {sheets[0]!r}, is read; others: {others}"] if sheets[1:] else []
    cells = cells.dropna(how="all")
    if not len(cells):
        raise TableError(f"{source.path} has no rows in its first sheet, {sheets[0]!r}.")
    names = _excel_names(cells, options, expected, notes)
    body = cells if options.header is False else cells.iloc[1:]
    frame = body.reset_index(drop=True).infer_objects()
    frame.columns = names
    return _raw(frame, options, notes)


def _excel_names(
    cells: pd.DataFrame, options: Options, expected: Collection[str], notes: list[str]
) -> list[str]:
    first = ["" if is_missing(cell) else str(cell).strip() for cell in cells.iloc[0]]
    rows = cells.iloc[1:1001].astype(str).to_numpy().tolist()
    if options.names is not None:
        _check_number(options.names, cells.shape[1])
        if options.header is not False:
            notes += check_replaced(first, rows, options.header)
        return list(options.names)
    if options.header is False:
        return [""] * cells.shape[1]
    data = [] if options.header or has_expected(first, expected) else holds_data(first, rows)
    if data:
        raise TableError(
            f"the first row looks like data and not like names: {some(data)}. If the sheet has no "
            "header: --no-header; if these are names: --header; if the table begins further down: "
            "--skip-lines NUMBER."
        )
    return first


def _check_number(names: Sequence[str], n_columns: int) -> None:
    if len(names) != n_columns:
        raise TableError(f"--names gives {len(names)} names, but rows have {n_columns} cells.")


def _raw(frame: pd.DataFrame, options: Options, notes: list[str]) -> RawTable:
    given = ["" if name is None else str(name).strip() for name in frame.columns]
    frame = frame.set_axis(range(len(given)), axis=1)
    frame = without(options.missing, frame)
    blank = [place for place, name in enumerate(given) if is_blank(name)]
    return RawTable(tidy_names(given), frame, notes, blank)


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
