"""What fitted transformers of scikit-learn have learned from the columns of a table."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from imbtorch._common.gaps import is_missing

__all__ = ["learned_values", "with_empty_texts"]


def learned_values(step: Any, columns: list[int]) -> dict[int, list[Any]]:
    """Return the categories, or what stands for a gap, of each column for which these are known.

    Parameters
    ----------
    step : transformer
        Fitted transformer of scikit-learn, which may hold others.
    columns : list of int
        Positions in the table of the columns that it gets.

    Returns
    -------
    dict of int to list
        Values that were learned from a column, by its position.
    """
    if isinstance(step, ColumnTransformer):
        places = step._transformer_to_input_indices
        parts = [
            (inner, [columns[i] for i in places[name]]) for name, inner, _ in step.transformers_
        ]
        return _together(parts)
    if isinstance(step, FeatureUnion):
        return _together([(inner, columns) for _, inner in step.transformer_list])
    if isinstance(step, Pipeline):
        inner = [part for _, part in step.steps if hasattr(part, "n_features_in_")]
        same = [part.n_features_in_ == len(columns) for part in inner]
        n_first = same.index(False) if False in same else len(inner)  # later ones get others
        return _together([(part, columns) for part in inner[:n_first]])
    if hasattr(step, "categories_"):
        return {j: list(words) for j, words in zip(columns, step.categories_, strict=False)}
    if hasattr(step, "statistics_"):
        return {j: [value] for j, value in zip(columns, step.statistics_, strict=False)}
    return {}


def _together(parts: list[tuple[Any, list[int]]]) -> dict[int, list[Any]]:
    """Return what several transformers know; categories say more than what stands for a gap."""
    found: dict[int, list[Any]] = {}
    for part, columns in parts:
        for column, values in learned_values(part, columns).items():
            if len(values) > len(found.get(column, [])):
                found[column] = values
    return found


def with_empty_texts(step: Any) -> Any:
    """Return a copy of a fitted transformer to which an empty text is a missing one.

    Strings of ONNX have no missing value, and skl2onnx takes no other one for them.

    Parameters
    ----------
    step : transformer
        Fitted transformer of scikit-learn, which may hold others.
    """
    step = copy.deepcopy(step)
    for leaf in _leaves(step):
        if hasattr(leaf, "encoded_missing_value"):
            continue  # its code of a gap is not the place among the categories
        if _holds_text(getattr(leaf, "statistics_", [])):
            leaf.missing_values = ""
        for words in getattr(leaf, "categories_", []):
            if _holds_text(words) and "" not in words:
                words[[is_missing(value) for value in words]] = ""
    return step


def _leaves(step: Any) -> list[Any]:
    if isinstance(step, ColumnTransformer):
        inner = [part for _, part, _ in step.transformers_]
    elif isinstance(step, FeatureUnion):
        inner = [part for _, part in step.transformer_list]
    elif isinstance(step, Pipeline):
        inner = [part for _, part in step.steps]
    else:
        return [step]
    return [leaf for part in inner for leaf in _leaves(part)]


def _holds_text(values: Any) -> bool:
    return any(isinstance(value, str) for value in np.ravel(np.asarray(values, dtype=object)))
