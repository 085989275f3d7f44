"""Check several inputs: each one like an ``X`` of its own, and all of them against the fit."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from imbtorch._common.inputs import (
    Inputs,
    Key,
    given_form,
    is_one_sequence,
    named_sequences,
    sequence_keys,
    shapes_by_key,
)
from imbtorch._common.sequences import Sequences
from imbtorch.features import FeatureEncoder, TableColumns

__all__ = ["as_fitted", "checked_parts", "refuse_shape"]


def as_fitted(X: Any, input_shape: Any) -> Any:
    """Return arrays as sequences where the inputs of the fit were sequences.

    Arrays that all have the same length do not look like sequences by themselves.

    Parameters
    ----------
    X : Inputs or array-like
        Features to predict, or to train on further.
    input_shape : tuple or dict
        Shape of a row of each input in the fit.
    """
    if isinstance(X, Inputs):
        wanted = sequence_keys(input_shape)
        return X.map(lambda key, part: named_sequences(key, part) if key in wanted else part)
    return Inputs((Sequences(X),)) if is_one_sequence(input_shape) else X


def checked_parts(
    cls: type[Any],
    X: Inputs,
    known: tuple[Any, dict[Key, Any], dict[Key, TableColumns]] | None,
    features: dict[Key, FeatureEncoder] | None = None,
) -> tuple[Inputs, dict[Key, Any], dict[Key, TableColumns] | None]:
    """Validate the arrays of several inputs.

    Parameters
    ----------
    cls : type
        Class of the estimator, whose checks of a single ``X`` are applied to each array.
    X : Inputs
        Arrays as the user gave them.
    known : tuple of (input shape, dict, dict) or None
        Shapes of the rows, the names of the columns by input, and the columns of the tables that
        are encoded, as they were in the fit; None in a fit.
    features : dict of str or int to FeatureEncoder, or None, default=None
        In a fit, what will encode tables among the inputs.

    Returns
    -------
    Inputs, dict, dict or None
        Checked arrays, names of columns by input, and the columns of the tables that are encoded;
        None without such tables.

    Raises
    ------
    ValueError
        If an input is missing or unknown, or its array is not valid; the message names it.
    """
    shapes, names, columns = None, {}, {}
    features = features or {}
    if known is not None:
        (shapes, names, columns) = shapes_by_key(known[0]), *known[1:]
        if shapes is None or shapes.keys() != X.parts.keys():
            refuse_shape(cls.__name__, X.input_shape, known[0])
        X = as_fitted(X, known[0])
    learned: dict[Key, Any] = {}
    tables: dict[Key, TableColumns] = {}
    checked: dict[Key, Any] = {}
    for key, part in X.parts.items():
        if isinstance(part, Sequences):
            checked[key] = _checked_sequences(key, part, X.input_shape)
            continue
        checker = object.__new__(cls)
        checker._way_out = f"features={{{key!r}: 'table'}}"
        if shapes is not None:
            row = shapes[key] or (1,)  # a single number for each row is checked as one column
            checker.__dict__.update(_input_shape=row, n_features_in_=row[0])
            if key in names:
                checker.feature_names_in_ = names[key]
            checker._columns = columns.get(key)
        checked[key] = _checked(checker, key, part, features.get(key), reset=shapes is None)
        if hasattr(checker, "feature_names_in_"):
            learned[key] = checker.feature_names_in_
        if checker._columns is not None:
            tables[key] = checker._columns
    return Inputs._like(checked), learned, tables or None


def _checked_sequences(key: Key, part: Sequences, input_shape: Any) -> Sequences:
    """Check the values of sequences; that they have the same form has been seen before."""
    try:
        if not len(part):
            raise ValueError("it holds no sequence; give one or more.")
        part.check_finite()
    except ValueError as error:
        name = "X" if is_one_sequence(input_shape) else f"X[{key!r}]"
        raise ValueError(f"{name} is not valid: {error}") from error
    return part


def _checked(
    checker: Any, key: Key, part: Any, features: FeatureEncoder | None, *, reset: bool
) -> Any:
    """Check an array; one of a single dimension holds a number, or one cell, for each row."""
    is_column = len(getattr(part, "shape", ())) == 1 or (
        isinstance(part, list | tuple)
        and all(isinstance(row, int | float | str | np.number) for row in part)
    )
    if is_column:
        made = part if hasattr(part, "to_frame") or hasattr(part, "shape") else np.asarray(part)
        part = made.to_frame() if hasattr(made, "to_frame") else made.reshape(-1, 1)
    try:
        rows = checker._check_X(part, reset=reset, features=features)
    except (ValueError, TypeError) as error:
        way_out = ""
        if "contains NaN" in str(error) and len(getattr(part, "shape", (0, 0))) == 2:
            way_out = f" Or let the estimator fill the gaps: {checker._way_out}."
        raise ValueError(f"X[{key!r}] is not valid: {error}{way_out}") from error
    # an encoder makes several numbers of one cell
    return rows.reshape(-1) if is_column and checker._columns is None else rows


def refuse_shape(name: str, found: Any, expected: Any) -> NoReturn:
    """Raise ValueError for rows that do not have the inputs of the fit.

    Parameters
    ----------
    name : str
        Name of the class of the estimator.
    found, expected : dict, tuple of tuple, or tuple of int
        Shapes of a row of each input, now and in the fit.

    Raises
    ------
    ValueError
        Always; the message names the inputs that are missing, unknown, or of another shape.
    """
    now, fitted = shapes_by_key(found), shapes_by_key(expected)
    wrong = ""
    if now is not None and fitted is not None and (0 in now) == (0 in fitted):
        missing = [key for key in fitted if key not in now]
        unknown = [key for key in now if key not in fitted]
        other = [key for key in fitted if key in now and now[key] != fitted[key]]
        problems = {"is missing": missing, "is not known": unknown, "has another shape": other}
        wrong = "; ".join(f"{keys} {what}" for what, keys in problems.items() if keys)
        wrong = "" if is_one_sequence(found) and is_one_sequence(expected) else f" {wrong}."
    raise ValueError(
        f"X has {_described(found)}, but {name} was fitted on {_described(expected)}.{wrong}"
    )


def _described(input_shape: Any) -> str:
    """Say which inputs there are."""
    shapes = shapes_by_key(input_shape)
    if shapes is None:
        return f"one array with rows of shape {input_shape}"
    if is_one_sequence(input_shape):
        return f"sequences with steps of shape {shapes[0][1:]}"
    given = given_form(shapes)
    form = "a mapping" if isinstance(given, dict) else "a tuple"
    n = f"{len(shapes)} input{'s' if len(shapes) > 1 else ''}"
    return f"{n} in {form} with rows of the shapes {given}"
