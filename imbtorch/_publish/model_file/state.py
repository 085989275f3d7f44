"""The fitted attributes that a file holds, and the checks of their values."""

from __future__ import annotations

from typing import Any

import numpy as np

from imbtorch._tasks import ClassificationTask, Task
from imbtorch.exceptions import FileFormatError

__all__ = ["check_state"]


def check_state(
    state: dict[str, Any], task: type[Task], n_outputs: int, shape: tuple[int, ...]
) -> None:
    """Raise FileFormatError if attributes are not valid or do not fit together.

    Parameters
    ----------
    state : dict
        Attributes by name.
    task : type of Task
        Task that the estimator was trained for.
    n_outputs : int
        Number of classes, labels or values.
    shape : tuple of int
        Shape of one row of ``X``.

    Raises
    ------
    FileFormatError
        If an attribute is missing, unknown, or has an invalid value.
    """
    missing = set(task.saved) - set(state) - {"feature_names_in_"}
    if missing or set(state) - set(task.saved):
        raise FileFormatError(f"attributes are missing or unknown: {sorted(missing)}.")
    _require(type(state["interrupted_"]) is bool, "interrupted_")
    _require(bool(shape) and state["n_features_in_"] == shape[0], "n_features_in_")
    if "feature_names_in_" in state:
        names = state["feature_names_in_"]
        known = _is_array(names, (shape[0],), "O") and all(isinstance(n, str) for n in names)
        _require(known, "feature_names_in_")
    if issubclass(task, ClassificationTask):
        _check_classes(state, n_outputs, task.counts_shape(n_outputs))
    else:
        _check_values(state, n_outputs)


def _check_classes(state: dict[str, Any], c: int, masses: tuple[int, ...]) -> None:
    classes = state["classes_"]
    _require(_is_array(classes, (c,), "biufUO"), "classes_")
    _require(len(np.unique(classes)) == c, "classes_")
    for name in ("class_counts_", "class_weight_"):
        _require(_is_array(state[name], masses, "f"), name)
        _require(bool((state[name] >= 0).all()), name)  # NaN is not
    for name in ("class_prior_", "effective_prior_"):
        _require(_is_array(state[name], (c,), "f"), name)
        _require(bool(((state[name] >= 0) & (state[name] <= 1 + 1e-6)).all()), name)
    _require(type(state["_counts_are_stated_"]) is bool, "_counts_are_stated_")
    _require(isinstance(state["_n_rows_seen"], int) and state["_n_rows_seen"] >= 0, "_n_rows_seen")


def _check_values(state: dict[str, Any], n_targets: int) -> None:
    scale = state["_scale_"]
    for name in ("mean", "scale"):
        values: Any = getattr(scale, name, None)
        _require(_is_array(values, (n_targets,), "f") and np.isfinite(values).all(), f"_{name}_")
    vector = state["_is_vector_"]
    _require(type(vector) is bool and not (vector and n_targets > 1), "_is_vector_")
    _require(_is_array(state["_seen_"], (2,), "f"), "_seen_")


def _is_array(value: Any, shape: tuple[int, ...], kinds: str) -> bool:
    return isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind in kinds


def _require(condition: Any, name: str) -> None:
    if not condition:
        raise FileFormatError(f"invalid value for the attribute {name}.")
