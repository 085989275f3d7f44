"""Decide what the columns of a table are: numbers, categories, or nothing to learn from."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imbtorch.tables._header import is_blank
from imbtorch.tables._identifiers import (
    is_counter,
    is_identifier,
    is_measured,
    may_be_dates,
    may_be_identifier,
    repeats_identifiers,
)
from imbtorch.tables._kinds import (
    holds_dates,
    is_declared,
    is_text,
    stripped,
    text_if_mixed,
    word_counts,
)
from imbtorch.tables._numbers import Numbers, are_codes, is_gap, read_numbers
from imbtorch.tables._words import IN_COMMANDS, TableError, counted, some

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Statements", "Tidied", "as_numbers", "tidy"]

_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Statements:
    """What a user says about columns, and how messages name it.

    Parameters
    ----------
    numeric, categorical : collection of str
        Columns of numbers, and of categories.
    missing : sequence of str
        Words that stand for a gap.
    decimal, thousands : str or None
        Marks in numbers.
    blank : collection of str
        Columns that had no name in the file.
    ways_out : mapping of str to str
        How a question is settled, by its kind.
    """

    numeric: Collection[str] = ()
    categorical: Collection[str] = ()
    missing: Sequence[str] = ()
    decimal: str | None = None
    thousands: str | None = None
    blank: Collection[str] = ()
    ways_out: Mapping[str, str] = field(default_factory=lambda: IN_COMMANDS)

    def way(self, kind: str, column: object) -> str:
        """Return how a question about a column is settled."""
        return self.ways_out[kind].format(column)


@dataclass
class Tidied:
    """A table whose columns are decided upon.

    Parameters
    ----------
    frame : DataFrame
        Columns of numbers and of categories.
    notes : list of str
        What was decided.
    with_comma : list of str
        Columns whose numbers have a decimal comma.
    """

    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    with_comma: list[str] = field(default_factory=list)


def tidy(frame: pd.DataFrame, said: Statements) -> Tidied:
    """Decide what each column is, with a note for each decision that a reader should know.

    Parameters
    ----------
    frame : DataFrame
        Features; it is not changed.
    said : Statements
        What the user says about columns.

    Raises
    ------
    TableError
        If a column cannot be decided without a guess; the message names the ways out.
    """
    found, dates = Tidied(frame.copy(deep=False)), []
    for name in frame.columns:
        column = text_if_mixed(frame[name])
        if is_declared(column):
            found.frame[name] = column
        elif name in said.categorical:
            text = stripped(column) if is_text(column) else column
            found.frame[name] = text.astype("category")
        elif column.isna().all():
            _leave_out(found, name, "it has no value in any row")
        elif holds_dates(column):
            dates.append(str(name))
        elif is_text(column):
            _decide_text(found, name, column, said)
        elif name not in said.numeric:
            _decide_numbers(found, name, column, said)
    if dates:
        raise TableError(
            f"columns of dates or times: {dates}. A net would read them as nanoseconds. Make "
            "numbers of them, such as the month or the hour, or leave them out: "
            f"{said.way('drop', dates[0])}; if they are categories: "
            f"{said.way('categorical', dates[0])}"
        )
    return found


def _leave_out(found: Tidied, name: Any, why: str) -> None:
    found.frame = found.frame.drop(columns=[name])
    found.notes.append(f"{name!r} is left out: {why}")


def _decide_numbers(found: Tidied, name: Any, column: Any, said: Statements) -> None:
    blank = str(name) in said.blank or is_blank(str(name).strip())
    keep = f"If it says something about the class: {said.way('keep', name)}"
    if is_counter(str(name), column, is_blank=blank):
        kind = "the index of another table" if blank else "the position of the row"
        _leave_out(found, name, f"it counts the rows, as {kind} does. {keep}")
    elif is_identifier(str(name), column):
        _leave_out(found, name, f"its name and its values are those of an identifier. {keep}")
    elif repeats_identifiers(str(name), column):
        found.notes.append(
            f"{name!r} has the name of an identifier and is read as numbers. Rows with the same "
            f"value may be in both parts of a fold, unless {said.way('groups', name)}; else "
            f"{said.way('categorical', name)} or {said.way('drop', name)}"
        )
    elif may_be_dates(column):
        found.notes.append(
            f"{name!r} may hold dates, such as {column.iloc[0]}, and is read as numbers. If so, "
            f"make the month or the like of it, or {said.way('drop', name)}"
        )
    elif may_be_identifier(str(name), column):
        found.notes.append(
            f"{name!r} may be an identifier: its {column.nunique():,} integers are all different. "
            f"If so: {said.way('drop', name)}"
        )


def _decide_text(found: Tidied, name: Any, column: Any, said: Statements) -> None:
    words, is_stated = word_counts(column), name in said.numeric
    if are_codes(words) and not is_stated:
        _decide_codes(found, name, column, said)
        return
    numbers = _numbers(name, words, said, may_begin_with_0=is_stated)
    if numbers is not None:
        values = found.frame[name] = _mapped(column, numbers)
        _note_numbers(found, name, numbers, words)
        if not is_stated:
            _decide_numbers(found, name, values, said)
        return
    example = repr(next(iter(words)))
    if is_stated:
        raise TableError(
            f"--numeric names {name!r}, whose values are no numbers, such as {example}. If they "
            "have a mark of their own: --decimal, --thousands or --missing."
        )
    if said.decimal == "," and read_numbers(words) is not None:
        raise TableError(
            f"the numbers of {name!r} have no decimal comma, such as {example}. Write all columns "
            "alike, or leave --decimal out."
        )
    if _left_out_as_identifier(found, name, column):
        return
    if 2 * len(words) > sum(words.values()) and all(map(is_measured, words)):
        raise TableError(
            f"column {name!r} holds numbers with a unit, such as {example}. Write the numbers "
            f"alone; if they are categories: {said.way('categorical', name)}; else "
            f"{said.way('drop', name)}"
        )
    found.frame[name] = stripped(column)
    _note_case(found, name, words)


def _decide_codes(found: Tidied, name: Any, column: Any, said: Statements) -> None:
    """Read digits that begin with 0 as categories."""
    if not _left_out_as_identifier(found, name, column):
        # the type says that categories are meant, although they look like numbers
        found.frame[name] = stripped(column).astype("category")
        found.notes.append(
            f"{name!r} holds digits that begin with 0, as postal codes do, and is read as "
            f"categories. If these are numbers: {said.way('numeric', name)}"
        )


def _left_out_as_identifier(found: Tidied, name: Any, column: Any) -> bool:
    text = stripped(column)
    if not is_identifier(str(name), text):
        return False
    example = text.dropna().iloc[0]
    why = f"it holds an identifier in each row, such as {example!r}. A part of it that says "
    _leave_out(found, name, f"{why}something needs a column of its own")
    return True


def as_numbers(name: str, column: Any, said: Statements, found: Tidied) -> Any:
    """Return a column of text as numbers, because it held numbers in training.

    Parameters
    ----------
    name : str
        Name of the column.
    column : Series of shape (n,)
        Its values.
    said : Statements
        What the user says about columns.
    found : Tidied
        Is extended by what was decided.

    Raises
    ------
    TableError
        If some values are no numbers.
    """
    words = word_counts(column)
    gaps = [word for word in words if is_gap(word, said.missing)]
    truths = {word: _TRUTH.get(word.strip().lower()) for word in words if word not in set(gaps)}
    if None not in truths.values():  # truth values, or none at all
        values = {word: float(bool(value)) for word, value in truths.items()}
        numbers: Numbers | None = Numbers(values | dict.fromkeys(gaps, float("nan")), gaps)
    else:
        numbers = _numbers(name, words, said, may_begin_with_0=True)
    if numbers is None:
        raise TableError(
            f"{name!r} held numbers in training, but holds {next(iter(words))!r} now. Give it the "
            f"values that it had, or say what is missing: {said.way('missing', 'WORD')}"
        )
    _note_numbers(found, name, numbers, words)
    return _mapped(column, numbers)


def _mapped(column: Any, numbers: Numbers) -> Any:
    """Return the numbers of a column of text; integers, if all of them are."""
    values = column.map(numbers.values).astype(float)
    whole = values.notna().all() and (values % 1 == 0).all() and (values.abs() < 2**53).all()
    return values.astype("int64") if whole else values


def _numbers(
    name: Any, words: dict[str, int], said: Statements, *, may_begin_with_0: bool
) -> Numbers | None:
    numbers = read_numbers(
        words, said.missing, said.decimal, said.thousands, may_begin_with_0=may_begin_with_0
    )
    if numbers is not None:
        _check_numbers(name, numbers, words, said)
    return numbers


def _check_numbers(name: Any, numbers: Numbers, words: Mapping[str, int], said: Statements) -> None:
    """Raise TableError if it takes a guess to read a column as numbers."""
    if numbers.is_ambiguous:
        example = next(w for w in numbers.values if "," in w or "." in w)
        raise TableError(
            f"the numbers of {name!r} can be read in two ways: {example!r} has a decimal mark or a "
            f"separator of thousands. Say which one: {said.way('decimal', name)}"
        )
    if numbers.others:
        count = sum(words[word] for word in numbers.others)
        shown = some(map(repr, numbers.others[:5]))
        raise TableError(
            f"column {name!r} holds numbers, but also {shown} (in {count} of "
            f"{counted(sum(words.values()), 'row')}). If these stand for a gap: "
            f"{said.way('missing', numbers.others[0])}; if all values are categories: "
            f"{said.way('categorical', name)}; else {said.way('drop', name)}"
        )


def _note_numbers(found: Tidied, name: Any, numbers: Numbers, words: Mapping[str, int]) -> None:
    if numbers.decimal == ",":
        found.with_comma.append(str(name))
    if numbers.gaps:
        count = sum(words[word] for word in numbers.gaps)
        marks = some(map(repr, numbers.gaps))
        found.notes.append(
            f"{name!r} holds numbers; {marks} in {counted(count, 'row')} is a missing one"
        )
    if numbers.format:
        example = max((word for word in numbers.values if word not in numbers.gaps), key=len)
        value = f"{numbers.values[example]:.12g}"
        found.notes.append(f"{name!r} has {numbers.format}: {example!r} is read as {value}")


def _note_case(found: Tidied, name: Any, words: Mapping[str, int]) -> None:
    """Note categories that differ by upper and lower case only."""
    groups: dict[str, set[str]] = {}
    for word in words:
        plain = re.sub(r"\s+", " ", word.strip())
        groups.setdefault(plain.casefold(), set()).add(word.strip())
    alike = [sorted(group) for group in groups.values() if len(group) > 1]
    if alike:
        found.notes.append(
            f"{name!r} has categories that differ only by upper and lower case, and are kept "
            f"apart: {', '.join(map(repr, alike[0]))}"
        )
