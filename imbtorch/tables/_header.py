"""Names of columns: whether the first row holds them, and whether they are all different."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence

from imbtorch._common.gaps import is_missing
from imbtorch.tables._numbers import looks_like_a_number
from imbtorch.tables._words import TableError, some

__all__ = [
    "check_names",
    "check_replaced",
    "has_expected",
    "holds_data",
    "is_blank",
    "position_of",
    "positions_among",
    "tidy_names",
]

_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*")


def holds_data(first: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the cells of the first row that look like data rather than names.

    Parameters
    ----------
    first : sequence of str
        Cells of the first row.
    rows : sequence of sequence of str
        The rows that follow it.
    """
    found = []
    for place, cell in enumerate(first):
        name = cell.strip()
        column = {row[place].strip() for row in rows if place < len(row)}
        is_value = looks_like_a_number(name) or _DATE.fullmatch(name) or name in column
        if name and is_value:
            found.append(name)
    return found


def has_expected(first: Iterable[str], expected: Collection[str]) -> bool:
    """Return whether the first row has a name that a header should have.

    Parameters
    ----------
    first : iterable of str
        Cells of the first row.
    expected : collection of str
        Names; one that is a number may be the place of a column, and a value of a first row that
        holds data. Numbers count only if there are several names, all of them in the row.
    """
    cells = {cell.strip() for cell in first}
    if any(name in cells and not looks_like_a_number(name) for name in expected):
        return True
    return len(expected) > 1 and cells.issuperset(expected)


def check_replaced(
    first: Sequence[str], rows: Sequence[Sequence[str]], header: bool | None
) -> list[str]:
    """Return a note that names replace the first row.

    Parameters
    ----------
    first : sequence of str
        Cells of the first row.
    rows : sequence of sequence of str
        The rows that follow it.
    header : bool or None
        Whether the user says that the first row is a header.

    Raises
    ------
    TableError
        If the user does not say it, and the row looks like data.
    """
    if header is None and (data := holds_data(first, rows)):
        raise TableError(
            "--names would replace the first row, which looks like data and not like names: "
            f"{some(data)}. Say whether it holds names: --header or --no-header."
        )
    return [f"the header {some(cell.strip() for cell in first)} is replaced by --names"]


def tidy_names(names: Iterable[object]) -> list[str]:
    """Return the names without blanks around them; a column without a name is called by its place.

    Examples
    --------
    >>> from imbtorch.tables._header import tidy_names
    >>> tidy_names([" a ", "", "Unnamed: 2"])
    ['a', 'column_2', 'column_3']
    """
    tidied = []
    for place, name in enumerate(names, start=1):
        text = "" if is_missing(name) else str(name).strip()
        tidied.append(f"column_{place}" if is_blank(text) else text)
    return tidied


def is_blank(name: str) -> bool:
    """Return whether a name says nothing: it is empty, or what pandas writes for an empty one."""
    return not name or re.fullmatch(r"Unnamed: \d+(\.\d+|_level_\d+)?", name) is not None


def check_names(names: Sequence[str], left_out: Iterable[int]) -> None:
    """Raise TableError if a name stands above several of the columns that are not left out."""
    places: dict[str, list[int]] = {}
    dropped = set(left_out)
    for place, name in enumerate(names):
        if place not in dropped:
            places.setdefault(name, []).append(place + 1)
    for name, found in places.items():
        if len(found) > 1:
            raise TableError(
                f"the name {name!r} stands above {len(found)} columns, those at "
                f"{some(found)}. Leave out all but one by their places: --drop {found[-1]}; or "
                "rename them in the file."
            )


def positions_among(wanted: Iterable[str], names: Sequence[str]) -> set[int]:
    """Return the positions of those columns that are there, by their names or else by places."""
    found = set()
    for name in wanted:
        same = [place for place, other in enumerate(names) if other == name.strip()]
        place = int(name) if re.fullmatch(r"-?\d+", name.strip()) else 0
        if not same and 0 < abs(place) <= len(names):
            same = [place - 1 if place > 0 else len(names) + place]
        found.update(same)
    return found


def position_of(wanted: str, names: Sequence[str], left_out: Collection[int] = ()) -> int:
    """Return the position of a column, from 0, by its name or else by its place.

    Parameters
    ----------
    wanted : str
        A name; or a place, counted from 1, or from -1 at the end.
    names : sequence of str
        Names of all columns.
    left_out : collection of int, default=()
        Positions of columns that are left out, and do not count where a name stands twice.

    Raises
    ------
    TableError
        If there is no such column, or several ones have the name.

    Examples
    --------
    >>> from imbtorch.tables._header import position_of
    >>> position_of("b", ["a", "b"]), position_of("1", ["a", "b"]), position_of("-1", ["a", "b"])
    (1, 0, 1)
    """
    wanted = wanted.strip()
    found = [place for place, name in enumerate(names) if name == wanted]
    found = [place for place in found if place not in left_out] or found
    if len(found) == 1:
        return found[0]
    if found:
        places = some(place + 1 for place in found)
        raise TableError(
            f"{wanted!r} stands above several columns; name one by its place: {places}."
        )
    if re.fullmatch(r"-?\d+", wanted):
        place = int(wanted)
        if 0 < abs(place) <= len(names):
            return place - 1 if place > 0 else len(names) + place
    close = difflib.get_close_matches(wanted.lower(), [name.lower() for name in names], n=3)
    alike = [name for name in names if name.lower() in close]
    hint = f" Did you mean {' or '.join(map(repr, alike))}?" if alike else ""
    raise TableError(
        f"there is no column {wanted!r}.{hint} Columns: {some(names)}. Places count from 1."
    )
