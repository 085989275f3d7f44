"""The column of the classes: gaps, spellings, and whether these are classes at all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target

from imbtorch.tables._columns import Statements
from imbtorch.tables._kinds import holds_dates, is_text, stripped, text_if_mixed, word_counts
from imbtorch.tables._numbers import MISSING_WORDS, read_numbers
from imbtorch.tables._words import TableError, counted, some

__all__ = ["Labels", "read_labels"]

_GAP_WORDS = MISSING_WORDS - {"-", "--", ".", "*"}  # those that a class may be called


class Labels:
    """The classes of the rows.

    Parameters
    ----------
    column : Series of shape (n,)
        The classes; NaN where there is none.
    notes : list of str
        What was decided.
    """

    def __init__(self, column: Any, notes: list[str]) -> None:
        self.column, self.notes = column, notes

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether each row has a class, ``(n,)``."""
        return np.asarray(self.column.notna().to_numpy(dtype=bool))

    def values(self) -> NDArray[Any]:
        """Return the classes of the rows that have one, ``(n_known,)``."""
        y: NDArray[Any] = self.column[self.known].to_numpy()
        if y.dtype.kind not in "biuf":
            return np.asarray(y.astype(str), dtype=object).astype(str)
        if y.dtype.kind == "f" and (y == np.round(y)).all() and (np.abs(y) < 2**53).all():
            return y.astype(np.int64)
        return y


def read_labels(
    column: Any,
    name: str,
    said: Statements,
    *,
    drop_unlabelled: bool,
    case: str | None,
    any_number: bool = False,
) -> Labels:
    """Read the column of the target.

    Parameters
    ----------
    column : Series of shape (n,)
        Its cells.
    name : str
        Its name.
    said : Statements
        What the user says about columns.
    drop_unlabelled : bool
        Whether rows without a class are left out.
    case : {"merge", "keep"} or None
        What becomes of classes that differ only by upper and lower case.
    any_number : bool, default=False
        Whether any number of classes will do, because they are known.

    Raises
    ------
    TableError
        If rows have no class, there are too many different ones, or their spelling differs.
    """
    notes: list[str] = []
    if holds_dates(column):
        raise TableError(f"the target {name!r} holds dates; classes are needed.")
    if str(column.dtype) == "category":
        column = column.astype(column.cat.categories.dtype)
    column = text_if_mixed(column)
    if is_text(column):
        column = _text(column, name, said, notes, case)
    labels = Labels(column, notes)
    if n_missing := int((~labels.known).sum()):
        if not drop_unlabelled:
            raise TableError(
                f"there is no value of the target {name!r} in {counted(n_missing, 'row')}. Remove "
                f"them, or leave them out: {said.way('unlabelled', name)}."
            )
        notes.append(f"without a value of the target: {counted(n_missing, 'row')}, left out")
    if not any_number:
        _check_classes(labels.values(), name)
    return labels


def _text(column: Any, name: str, said: Statements, notes: list[str], case: str | None) -> Any:
    words = word_counts(column)
    numbers = read_numbers(words, said.missing, said.decimal, said.thousands)
    if numbers is not None and not numbers.others and not numbers.is_ambiguous:
        has_marks = bool(said.decimal or said.thousands) and not numbers.unit
        if numbers.gaps:
            notes.append(f"{some(map(repr, numbers.gaps))} in the target is a missing value")
        if numbers.gaps or has_marks:
            return column.map(numbers.values).astype(float)
    text = stripped(column)
    changed = {word for word in words if word != word.strip()}
    if changed:
        n_rows = sum(words[word] for word in changed)
        notes.append(f"blanks around the labels of {counted(n_rows, 'row')} are removed")
    counts = Counter(dict(zip(*_counted(text), strict=True)))
    text = _one_case(text, counts, notes, case, said)
    for word in counts:
        if word.lower() in _GAP_WORDS:
            notes.append(
                f"{word!r} is a class of its own, with {counted(counts[word], 'row')}. If it means "
                f"that the class is missing: {said.way('no class', word)}"
            )
    return text


def _counted(text: Any) -> tuple[list[str], list[int]]:
    counts = text.value_counts()
    return counts.index.tolist(), counts.tolist()


def _one_case(
    text: Any, counts: Counter[str], notes: list[str], case: str | None, said: Statements
) -> Any:
    """Give labels that differ only by upper and lower case one spelling, if the user says so."""
    spellings: dict[str, list[str]] = {}
    for word, _ in counts.most_common():
        spellings.setdefault(" ".join(word.casefold().split()), []).append(word)
    alike = {word: group[0] for group in spellings.values() for word in group[1:]}
    if not alike or case == "keep":
        return text
    shown = "; ".join(
        " and ".join(f"{word!r} ({counted(counts[word], 'row')})" for word in group)
        for group in spellings.values()
        if len(group) > 1
    )
    if case is None:
        raise TableError(
            f"labels differ only by upper and lower case, or by blanks: {shown}. One class: "
            f"{said.way('one class', '')}; different classes: {said.way('different classes', '')}."
        )
    notes.append(f"labels that differ only by upper and lower case are one class: {shown}")
    return text.replace(alike)


def _check_classes(y: NDArray[Any], name: str) -> None:
    if not len(y):
        raise TableError(f"no row has a value of the target {name!r}.")
    if type_of_target(y) not in {"binary", "multiclass"}:
        raise TableError(
            f"the target {name!r} is continuous, such as {y[0]}; classes are needed. Make classes "
            "of it, such as whether it exceeds a limit."
        )
    n_classes = len(np.unique(y))
    if n_classes > 2 and n_classes > len(y) / 5:
        raise TableError(
            f"the target {name!r} has {n_classes} different values in {len(y)} rows; classes are "
            "needed."
        )
