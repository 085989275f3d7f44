"""Read a file as features and labels: the public door."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imbtorch.features import TableFeatures
from imbtorch.tables._columns import Statements, tidy
from imbtorch.tables._header import check_names, position_of
from imbtorch.tables._labels import Labels, read_labels
from imbtorch.tables._marks import check_points
from imbtorch.tables._options import Options
from imbtorch.tables._raw import RawTable
from imbtorch.tables._roles import as_groups, as_times, as_weights
from imbtorch.tables._source import open_source
from imbtorch.tables._text_file import read_text
from imbtorch.tables._typed_file import read_excel, read_parquet
from imbtorch.tables._words import TableError, some

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "read_file", "read_table"]


@dataclass(frozen=True)
class Table:
    r"""A table that was read from a file.

    Parameters
    ----------
    X : DataFrame of shape (n, n_features)
        Features: numbers, and categories as text or with the type ``category``.
    y : ndarray of shape (n,)
        Labels.
    notes : list of str
        What was decided about the file and its columns.
    sample_weight : ndarray of shape (n,) or None
        Weight of each row.
    groups : ndarray of shape (n,) or None
        Group of each row.
    is_in_order : bool
        Whether the rows are sorted by a column of times.
    target : str
        Name of the column of the labels.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from imbtorch.tables import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "data.csv"
    ...     _ = path.write_text("a,b,class\n1.5,x,yes\n2.5,y,no\n0.5,x,no\n")
    ...     table = read_table(path, "class")
    >>> table.X.columns.tolist(), table.y.tolist()
    (['a', 'b'], ['yes', 'no', 'no'])
    """

    X: pd.DataFrame
    y: NDArray[Any]
    notes: list[str] = field(default_factory=list)
    sample_weight: NDArray[np.float64] | None = None
    groups: NDArray[Any] | None = None
    is_in_order: bool = False
    target: str = ""


def read_table(
    path: str | os.PathLike[str],
    target: str,
    *,
    sep: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    names: Sequence[str] | None = None,
    skip_lines: int = 0,
    skip_bad_rows: bool = False,
    missing: Sequence[str] = (),
    decimal: str | None = None,
    thousands: str | None = None,
    drop: Sequence[str] = (),
    numeric: Sequence[str] = (),
    categorical: Sequence[str] = (),
    weight: str | None = None,
    groups: str | None = None,
    time: str | None = None,
    drop_unlabelled: bool = False,
    case: str | None = None,
) -> Table:
    r"""Read a table from a file that you did not make, without a wrong step in silence.

    What is safe is decided, with a note: separator, encoding, comments, an index or an identifier
    among the columns, numbers written as text. What is not safe is an error that names the option
    of the command line that settles it; the parameters of this function have the same names.

    Parameters
    ----------
    path : str or path-like
        CSV file with any separator, also compressed; Parquet (with pyarrow); or Excel (with
        openpyxl). The content decides, not the extension.
    target : str
        Column of the labels, by name or by place: ``"1"`` is the first one, ``"-1"`` the last one.
        All other columns may be named in the same way.
    sep : str or None, default=None
        Separator of the cells; None finds out whether it is a comma, semicolon, tab or bar.
    encoding : str or None, default=None
        Encoding of the text; None finds it.
    header : bool or None, default=None
        Whether the first row holds the names of the columns. None takes it as such, and raises an
        error if it looks like data.
    names : sequence of str or None, default=None
        Names of all columns, in place of those in the header.
    skip_lines : int, default=0
        Number of lines before the table. Comments before it are recognised by themselves.
    skip_bad_rows : bool, default=False
        Whether rows that are longer or shorter than the header are left out, with a note.
    missing : sequence of str, default=()
        Words that stand for a missing value in all columns, such as ``"-999"``. Empty cells always
        do. In columns of numbers so do ``"?"``, ``"NA"`` and similar words.
    decimal, thousands : str or None, default=None
        Decimal mark and separator of thousands in numbers; None finds them in each column.
    drop : sequence of str, default=()
        Columns to leave out.
    numeric : sequence of str, default=()
        Columns that are numbers though they look like an index, identifiers or postal codes.
    categorical : sequence of str, default=()
        Columns of numbers whose values are categories. Text always is; ``"auto"`` names it.
    weight, groups, time : str or None, default=None
        Columns that are no features: the weight of each row, its group, and a time by which the
        rows are sorted.
    drop_unlabelled : bool, default=False
        Whether rows without a label are left out.
    case : {"merge", "keep"} or None, default=None
        Whether labels that differ only by upper and lower case are one class or several. None
        raises an error if there are such labels.

    Returns
    -------
    Table
        Features ``X``, labels ``y``, ``notes`` and the columns with a role of their own.

    Raises
    ------
    TableError
        A ``ValueError``, if the file cannot be read without a guess.
    ImportError
        If pandas, from the extra ``compare``, is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from imbtorch.tables import read_table
    >>> rows = [f"{n};{n % 7},5;{'fraud' if n % 9 == 0 else 'fine'}" for n in range(60)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "payments.csv"
    ...     _ = path.write_text("\n".join(["row;amount;label", *rows]))
    ...     table = read_table(path, "label")
    >>> table.X["amount"].head(3).tolist(), table.y[0].item()
    ([0.5, 1.5, 2.5], 'fraud')
    >>> print(table.notes[0])
    the separator is a semicolon
    """
    if case not in (None, "merge", "keep"):
        raise TableError(f"--case must be merge or keep; got {case!r}.")
    options = Options(
        sep, encoding, header, names, skip_lines, skip_bad_rows, missing, decimal, thousands
    )
    raw = read_file(path, options, [target])
    roles = {"target": target, "weight": weight, "groups": groups, "time": time}
    dropped = [position_of(name, raw.names) for name in drop]
    places = {
        role: position_of(name, raw.names, dropped)
        for role, name in roles.items()
        if name is not None
    }
    _check_roles(places, dropped, raw.names)
    said = Statements(
        numeric=_named(numeric, raw.names),
        categorical=_named([name for name in categorical if name != "auto"], raw.names),
        missing=missing,
        decimal=decimal,
        thousands=thousands,
        blank=[raw.names[place] for place in raw.blank],
    )
    name, column = raw.names[places["target"]], raw.frame[places["target"]]
    labels = read_labels(column, name, said, drop_unlabelled=drop_unlabelled, case=case)
    return _assembled(raw, labels, places, dropped, said)


def _assembled(
    raw: RawTable,
    labels: Labels,
    places: Mapping[str, int],
    dropped: Sequence[int],
    said: Statements,
) -> Table:
    """Put the rows with a label together, in the order of time if there is one."""
    rows, y = np.flatnonzero(labels.known), labels.values()
    notes = [*raw.notes, *labels.notes]
    in_order = "time" in places
    if in_order:
        name = raw.names[places["time"]]
        order = as_times(raw.frame[places["time"]].iloc[rows], name, said).argsort(kind="stable")
        rows, y = rows[order], y[order]
        notes.append(f"the rows are sorted by {name!r}")
    target = raw.names[places["target"]]
    left = [n for n in range(len(raw.names)) if n not in {*places.values(), *dropped}]
    if not left:
        raise TableError(f"no column is left besides the target {target!r}.")
    marked = [raw.names[places[role]] for role in ("weight", "time") if role in places]
    X, decided = _features(raw, rows, left, said, marked)

    def other(
        role: str, read: Callable[[Any, str, Statements], NDArray[Any]]
    ) -> NDArray[Any] | None:
        place = places.get(role)
        return None if place is None else read(raw.frame[place].iloc[rows], raw.names[place], said)

    weights, groups = other("weight", as_weights), other("groups", as_groups)
    return Table(X, y, [*notes, *decided], weights, groups, in_order, target)


def read_file(
    path: str | os.PathLike[str],
    options: Options,
    expected: Sequence[str] = (),
    as_text: Sequence[str] = (),
) -> RawTable:
    """Read a file of any kind, and decide nothing about its columns yet.

    Parameters
    ----------
    path : str or path-like
        The file.
    options : Options
        What the user states about it.
    expected : sequence of str, default=()
        Names that the header should have.
    as_text : sequence of str, default=()
        Columns of a text file whose cells stay as they are written, by name or by place; those that
        the file does not have do not matter.

    Raises
    ------
    TableError
        If the file cannot be read without a guess, or has no rows.
    """
    source = open_source(Path(path))
    if source.kind == "text":
        raw = read_text(source, options, expected, as_text)
    elif source.kind == "parquet":
        raw = read_parquet(source, options)
    else:
        raw = read_excel(source, options, expected)
    if not len(raw.frame):
        raise TableError(f"{path} has no rows.")
    return raw


def _named(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    return [names[position_of(name, names)] for name in columns]


def _check_roles(places: Mapping[str, int], dropped: Sequence[int], names: Sequence[str]) -> None:
    """Raise TableError if a column has two roles, or two columns have the same name."""
    check_names(names, dropped)
    for role, place in places.items():
        if place in dropped:
            raise TableError(f"{names[place]!r} is the {role} and cannot be dropped.")
        for other, its_place in places.items():
            if other != role and its_place == place:
                raise TableError(f"{names[place]!r} cannot be both the {role} and the {other}.")


def _features(
    raw: RawTable,
    rows: NDArray[np.intp],
    left: Sequence[int],
    said: Statements,
    others: Sequence[str],
) -> tuple[pd.DataFrame, list[str]]:
    """Return the features and the notes about them; ``others`` names further numbers."""
    frame = raw.frame[left].iloc[rows].reset_index(drop=True)
    tidied = tidy(frame.set_axis([raw.names[n] for n in left], axis=1), said)
    X = tidied.frame
    if not X.shape[1]:
        raise TableError(f"no column is left to learn from: {'; '.join(tidied.notes)}.")
    numbers = X.select_dtypes("number")
    if tidied.with_comma and not (said.decimal or said.thousands):
        check_points(raw.names, raw.in_doubt, {*numbers, *others}, tidied.with_comma[0])
    if infinite := [name for name in numbers if np.isinf(numbers[name].to_numpy()).any()]:
        raise TableError(
            f"columns with infinite values: {some(infinite)}. Replace them, say that they are "
            "missing (--missing inf), or leave the columns out with --drop."
        )
    return X, [*tidied.notes, *_read_by_nets(X)]


def _read_by_nets(X: pd.DataFrame) -> list[str]:
    """Say which columns are categories and which have gaps, as the nets will read them."""
    try:
        encoder = TableFeatures().fit(X).encoder_
    except (ValueError, TypeError) as error:
        reason = str(error).split(". ")[0].removesuffix(".")
        raise TableError(f"{reason}. Leave such columns out with --drop COLUMN ...") from error
    name_of, words = encoder.columns.name_of, encoder.columns.vocabulary
    counted = [f"{name_of(j)} ({len(words[j])})" for j in words]
    gaps = [name_of(encoder.numbers[j]) for j in encoder.indicators]
    notes = [f"categories, with the number of different ones: {some(counted)}"] if counted else []
    if gaps:
        notes.append(
            "missing numbers become the mean of the training rows, and a column that marks them: "
            f"{some(gaps)}"
        )
    return notes
