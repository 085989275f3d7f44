"""Options that several commands share: how a file is read, and what is printed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imbtorch.tables import Table, read_table
from imbtorch.tables._options import Options

__all__ = [
    "check_writable",
    "columns_parser",
    "file_options",
    "file_parser",
    "output_parser",
    "positive",
    "read",
    "reading_options",
]


def output_parser() -> argparse.ArgumentParser:
    """Return the options of what is printed."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print the result as JSON")
    group.add_argument("--quiet", action="store_true", help="print nothing but results and errors")
    group.add_argument("--debug", action="store_true", help="show where in the code an error arose")
    return parser


def file_parser() -> argparse.ArgumentParser:
    """Return the options of how a file is read."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("reading the file", "What is not stated is found out.")
    add = group.add_argument
    add("--sep", metavar="CHARACTER", help="separator of the cells; also: tab, comma, semicolon")
    add("--encoding", metavar="NAME", help="encoding of the text, such as utf-8 or cp1252")
    add(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first row holds the names of the columns",
    )
    add("--names", nargs="+", metavar="NAME", help="names of all columns, replacing the header")
    add("--skip-lines", type=int, default=0, metavar="N", help="lines before the table")
    add("--skip-bad-rows", action="store_true", help="leave out rows that are too long or short")
    add("--missing", nargs="+", default=[], metavar="WORD", help="words for a missing value")
    add("--decimal", metavar="MARK", help="decimal mark of numbers: . or ,")
    add("--thousands", metavar="MARK", help="separator of thousands in numbers")
    add("--drop", nargs="+", default=[], metavar="COLUMN", help="columns to leave out")
    return parser


def columns_parser() -> argparse.ArgumentParser:
    """Return the options of what the columns of a file with labels are."""
    parser = argparse.ArgumentParser(add_help=False)
    add = parser.add_argument_group(
        "columns", "By name, or by place: 1 is the first one, -1 the last one."
    ).add_argument
    add("--target", required=True, metavar="COLUMN", help="column of the classes")
    add(
        "--categorical",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns of numbers that are categories, such as codes; text always is (auto)",
    )
    add(
        "--numeric",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns that are numbers, though they look like an index or like codes",
    )
    add("--drop-unlabelled", action="store_true", help="leave out rows without a class")
    add(
        "--case",
        choices=["merge", "keep"],
        help="what to do with classes that differ only by upper and lower case",
    )
    return parser


def file_options(arguments: argparse.Namespace) -> Options:
    """Return what the user states about the file."""
    return Options(
        arguments.sep,
        arguments.encoding,
        arguments.header,
        arguments.names,
        arguments.skip_lines,
        arguments.skip_bad_rows,
        arguments.missing,
        arguments.decimal,
        arguments.thousands,
    )


def read(
    arguments: argparse.Namespace,
    *,
    weight: str | None = None,
    groups: str | None = None,
    time: str | None = None,
) -> Table:
    """Read the file of a command as features and labels.

    Raises
    ------
    TableError
        If the file cannot be read without a guess.
    """
    given = reading_options(arguments, weight=weight, groups=groups, time=time)
    return read_table(arguments.file, arguments.target, **given)


def reading_options(
    arguments: argparse.Namespace,
    *,
    weight: str | None = None,
    groups: str | None = None,
    time: str | None = None,
) -> dict[str, Any]:
    """Return the arguments of ``read_table`` that differ from its defaults.

    Parameters
    ----------
    arguments : Namespace
        Options of a command.
    weight, groups, time : str or None, default=None
        Columns with a role of their own.
    """
    names = (
        "sep", "encoding", "header", "names", "skip_lines", "skip_bad_rows", "missing", "decimal",
        "thousands", "drop", "numeric", "categorical", "drop_unlabelled", "case",
    )  # fmt: skip
    given = {name: getattr(arguments, name) for name in names}
    given |= {"weight": weight, "groups": groups, "time": time}
    # False is the default of the others, but a choice of header
    return {k: v for k, v in given.items() if v or (k == "header" and v is not None)}


def check_writable(option: str, out: Path | None, inputs: Sequence[Path]) -> None:
    """Raise ValueError if a file cannot or must not be written, before minutes of work are lost.

    Parameters
    ----------
    option : str
        Option that names the file.
    out : Path or None
        File to write; None if there is none.
    inputs : sequence of Path
        Files that the command reads, none of which it may write over.

    Raises
    ------
    ValueError
        If ``out`` is no file in a folder that exists, is not writable, or is one of ``inputs``,
        also under another spelling of its path or as a link.
    """
    if out is None:
        return
    if str(out) == "-":  # elsewhere this is the standard output
        raise ValueError(f"{option} must be the name of a file; got '-'.")
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise ValueError(f"{option} must be a file in a folder that exists; got {out}.")
    if not os.access(out if out.exists() else out.resolve().parent, os.W_OK):
        raise ValueError(f"{option} cannot be written: {out}.")
    for given in inputs:
        if _is_same_file(out, given):
            raise ValueError(
                f"{option} {out} is the file {given} that is read, and would replace it; name "
                "another file."
            )


def _is_same_file(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one file, also by links or by upper and lower case."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def positive(option: str, value: int | None, least: int = 1) -> None:
    """Raise ValueError if a number is smaller than it must be."""
    if value is not None and value < least:
        raise ValueError(f"{option} must be at least {least}; got {value}.")
