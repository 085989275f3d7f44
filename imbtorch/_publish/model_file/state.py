"""Checks of what a file holds: its form, the weights, the fitted attributes, the history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from imbtorch._publish.model_file.values import Reader, bytes_of_records
from imbtorch._safe_file import printable
from imbtorch._tasks import ClassificationTask, Task
from imbtorch.exceptions import FileFormatError
from imbtorch.modules._state import is_extra

__all__ = [
    "check_state",
    "check_weights",
    "freeze",
    "has",
    "printable_lines",
    "records_of",
    "refusing",
    "transpose",
]

Document = dict[str, Any]


@contextmanager
def refusing() -> Iterator[None]:
    """Convert any error about the content of a file to :class:`FileFormatError`."""
    try:
        yield
    except FileFormatError:
        raise
    except Exception as error:
        what = printable(f"{type(error).__name__}: {error}", 500)
        raise FileFormatError(f"the content of the file is not valid. {what}") from error


def has(document: Any, expected: dict[str, Any]) -> Document:
    """Check that a document has exactly these keys, with values of these types, and return it."""
    if not isinstance(document, dict) or set(document) != set(expected):
        raise FileFormatError("the document has missing or unknown parts.")
    for key, kind in expected.items():
        exact = kind is not int or type(document[key]) is int
        if not (isinstance(document[key], kind) and exact):
            raise FileFormatError(f"{key} in the document has the wrong type.")
    return document


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


def freeze(parts: dict[str, nn.Module], frozen: list[Any]) -> None:
    """Let exactly the parameters in this list, such as ``"module.0.weight"``, not be trained."""
    parameters = {
        f"{part}.{name}": parameter
        for part, module in parts.items()
        for name, parameter in module.named_parameters()
    }
    if not set(frozen) <= set(parameters):
        raise FileFormatError("the list of frozen parameters names an unknown parameter.")
    for name, parameter in parameters.items():
        if parameter.is_floating_point():
            parameter.requires_grad_(name not in frozen)


def _is_column(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim == 1)


def records_of(history: Document, reader: Reader) -> list[Document]:
    """Return the records of a history, which a file holds column by column or row by row."""
    if set(history) == {"rows"}:
        records = reader.decode(history["rows"])  # the decoded document has counted them
    else:
        columns = reader.decode(has(history, {"columns": dict})["columns"])
        sizes = {len(column) for column in columns.values() if _is_column(column)}
        if not all(map(_is_column, columns.values())) or len(sizes) > 1:
            raise FileFormatError("the columns of the history are not lists of one length.")
        reader.budget.spend(bytes_of_records(max(sizes, default=0), len(columns)))
        lists = {k: v if isinstance(v, list) else v.tolist() for k, v in columns.items()}
        records = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    if not all(isinstance(record, dict) for record in records):
        raise FileFormatError("the history section is not valid.")
    return list(records)


def transpose(state: dict[str, Tensor], names: list[Any]) -> None:
    """Transpose the matrices that were stored by column."""
    for name in names:
        if state[name].ndim != 2 or names.count(name) > 1:
            raise FileFormatError("the list of matrices stored by column is not valid.")
        state[name] = state[name].t()


def printable_lines(error: Exception) -> str:
    """Return the message of an error that may quote a file, safe to show in a terminal."""
    return "\n".join(printable(line, 500) for line in str(error)[:5000].expandtabs(4).splitlines())


def check_weights(module: nn.Module, state: dict[str, Tensor], extra: dict[str, Any]) -> None:
    """Check that tensors fit a module without memory: names, dtypes and shapes must all agree.

    Parameters
    ----------
    module : torch.nn.Module
        Module that was built on the meta device.
    state : dict of str to Tensor
        Tensors of its ``state_dict`` in the file.
    extra : dict
        Extra state in the file; its names must be those of the module.

    Raises
    ------
    FileFormatError
        If they do not fit, or a parameter is not finite.
    """
    own = module.state_dict()
    names = {name for name in own if is_extra(name)}
    expected = {n: (v.dtype, v.shape) for n, v in own.items() if n not in names}
    found = {name: (value.dtype, value.shape) for name, value in state.items()}
    if found != expected or extra.keys() != names:
        raise FileFormatError("names, dtypes or shapes of the weights do not fit the module.")
    for name, _ in module.named_parameters():
        value = state[name]
        if value.is_floating_point() and not all(bound.isfinite() for bound in value.aminmax()):
            raise FileFormatError(f"the weight {name} has values that are not finite.")
