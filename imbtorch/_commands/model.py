"""A model from a file, and what it knows about the columns of its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imbtorch.exceptions import FileFormatError
from imbtorch.features import TableColumns
from imbtorch.persistence import load
from imbtorch.tables import TableError
from imbtorch.tables._columns import Statements, Tidied, as_numbers
from imbtorch.tables._header import check_names, position_of
from imbtorch.tables._kinds import is_text, stripped, text_if_mixed
from imbtorch.tables._marks import check_points
from imbtorch.tables._options import Options
from imbtorch.tables._raw import RawTable
from imbtorch.tables._table import read_file
from imbtorch.tables._words import counted, some

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NewRows", "card_of", "classes_of", "load_model", "read_for"]


def load_model(path: Path) -> Any:
    """Load a classifier.

    Raises
    ------
    ValueError
        If the file holds no classifier whose columns have names.
    """
    try:
        model = load(path)
    except FileFormatError as error:
        raise ValueError(
            f"{path} is not the file of a model, which imbtorch fit writes: {error}"
        ) from error
    if not hasattr(model, "predict_proba"):
        raise ValueError(
            f"{path} holds {type(model).__name__}, which is no classifier; load it in Python: "
            "imbtorch.load."
        )
    return model


def classes_of(model: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the classes of a model, and how frequent each of them was in training."""
    inner = model
    while not hasattr(inner, "class_counts_"):
        inner = inner.estimator_ if hasattr(inner, "estimator_") else inner.estimator
    return np.asarray(model.classes_), np.asarray(inner.class_counts_)


def card_of(model: Any) -> str:
    """Return the model card of a model, or of the net inside of a decision."""
    while not hasattr(model, "model_card"):
        model = model.estimator_ if hasattr(model, "estimator_") else model.estimator
    return str(model.model_card())


class NewRows:
    """Rows of a file that a model predicts.

    Parameters
    ----------
    X : DataFrame
        The columns of the model, in its order.
    others : dict of str to Series
        Columns that were asked for besides, as they were read.
    notes : list of str
        What was decided.
    """

    def __init__(self, X: pd.DataFrame, others: dict[str, Any], notes: list[str]) -> None:
        self.X, self.others, self.notes = X, others, notes


def read_for(
    model: Any,
    path: Path,
    options: Options,
    drop: list[str],
    others: dict[str, str],
    *,
    verbatim: bool = False,
) -> NewRows:
    """Read new rows for a model: its columns by name, each of the kind that it had in training.

    Parameters
    ----------
    model : classifier
        Fitted model.
    path : Path
        File of the rows.
    options : Options
        What the user states about the file.
    drop : list of str
        Columns to leave out.
    others : dict of str to str
        Columns with a role of their own, by role.
    verbatim : bool, default=False
        Whether these stay text as it is written.

    Raises
    ------
    TableError
        If the file cannot be read, a column is missing, or one is unknown.
    """
    columns = _columns_of(model)
    if columns.names is None:
        raise TableError(
            "the model was trained on columns without names, so that those of a file cannot be "
            "checked; use it in Python: imbtorch.load."
        )
    text = [columns.name_of(j) for j, words in columns.vocabulary.items() if _are_words(words)]
    as_text = [*text, *(others.values() if verbatim else ())]
    raw = read_file(path, options, columns.names, as_text)
    dropped = {position_of(name, raw.names) for name in drop}
    check_names(raw.names, dropped)
    roles = {role: position_of(name, raw.names, dropped) for role, name in others.items()}
    place_of = {name: n for n, name in enumerate(raw.names) if n not in dropped}
    notes = [*raw.notes, *_checked_names(raw, columns.names, place_of, set(roles.values()))]
    frame = raw.frame[[place_of[name] for name in columns.names]]
    said = Statements(missing=options.missing, decimal=options.decimal, thousands=options.thousands)
    found = _as_in_training(frame.set_axis(list(columns.names), axis=1), columns, said)
    if found.with_comma and not (options.decimal or options.thousands):
        numbers = set(columns.names).difference(text)
        check_points(raw.names, raw.in_doubt, numbers, found.with_comma[0])
    others_of = {role: raw.frame[n] for role, n in roles.items()}
    return NewRows(found.frame, others_of, [*notes, *found.notes])


def _checked_names(
    raw: RawTable, known: Sequence[str], place_of: Mapping[str, int], roles: set[int]
) -> list[str]:
    """Compare the names of a file with those of the model; return notes about what is left out.

    Raises
    ------
    TableError
        If columns are missing or unknown.
    """
    if lacking := [name for name in known if name not in place_of]:
        raise TableError(
            f"the file lacks columns of the model: {some(lacking)}. It has: {some(place_of)}."
        )
    new = {name: n for name, n in place_of.items() if name not in known and n not in roles}
    idle = [name for name, n in new.items() if n in raw.blank or raw.frame[n].isna().all()]
    if unknown := [name for name in new if name not in idle]:
        raise TableError(
            f"the model does not know the columns {some(unknown)}; it was trained without them. "
            f"Leave them out: --drop {' '.join(unknown[:5])}"
        )
    return [f"left out, without a name or a value: {some(idle)}"] if idle else []


def _are_words(categories: NDArray[Any]) -> bool:
    return categories.dtype.kind in "OUS"


def _columns_of(model: Any) -> TableColumns:
    """Return the columns that the net inside of a model was trained on."""
    while not hasattr(model, "net_"):
        if hasattr(model, "estimators_"):
            model = model.estimators_[0]
        else:
            model = model.estimator_ if hasattr(model, "estimator_") else model.estimator
    encoder = model.net_.encoder_
    if encoder is not None and encoder.columns.names is not None:
        columns: TableColumns = encoder.columns
        return columns
    return TableColumns.named(
        int(np.prod(model._input_shape)), getattr(model, "feature_names_in_", None)
    )


def _as_in_training(frame: pd.DataFrame, columns: TableColumns, said: Statements) -> Tidied:
    """Give each column the kind that it had in training."""
    found = Tidied(frame.copy(deep=False))
    X, unknown = found.frame, []
    for position, name in enumerate(columns.names or ()):
        words = columns.vocabulary.get(position)
        if words is not None and _are_words(words):
            text = stripped(frame[name].map(str, na_action="ignore"))
            X[name] = text.mask(text.isin(list(said.missing)))
            n_new = int((~X[name].isin(words.tolist()) & X[name].notna()).sum())
            unknown += [f"{name} ({counted(n_new, 'row')})"] if n_new else []
        elif is_text(column := text_if_mixed(frame[name])):
            X[name] = as_numbers(name, column, said, found)
        elif words is None and column.isna().all():
            X[name] = column.astype(float)
    if unknown:
        found.notes.append(f"categories that training did not have: {some(unknown)}")
    return found
