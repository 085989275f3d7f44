"""Out-of-fold predictions of an ensemble, and the scores from which it makes sets, in a file."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._publish.model_file.state import has
from imbtorch._publish.model_file.values import Reader, Writer
from imbtorch._tasks import ClassificationTask, Task
from imbtorch.exceptions import FileFormatError

__all__ = ["describe_out_of_fold", "restore_out_of_fold"]

Document = dict[str, Any]
Floats = NDArray[np.float64]
_VIEW = 120  # bytes that a part of an array takes, besides its numbers
_ROUNDING = 1e-6  # by how much a probability may be above 1


def describe_out_of_fold(ensemble: Any, writer: Writer) -> Document:
    """Describe what the folds of an ensemble have left behind; an empty dict without folds.

    Parameters
    ----------
    ensemble : NetEnsembleClassifier, NetPortfolioClassifier or the regressor of one of them
        Fitted ensemble.
    writer : Writer
        Encoder of values.

    Returns
    -------
    dict
        Encoded attributes by name. The scores of all folds and classes are one array, and the
        sizes of its parts another one.
    """
    found = {name: vars(ensemble)[name] for name in ensemble._out_of_fold if name in vars(ensemble)}
    scores = found.pop("_scores_", None)
    if scores is not None:
        parts = [_columns(fold) for fold in scores]
        found["_scores_"] = {
            "values": np.concatenate([np.concatenate(part) for part in parts]),
            "sizes": np.array([[len(column) for column in part] for part in parts]),
        }
    return {name: writer.encode(value, name, "Use pickle.") for name, value in found.items()}


def _columns(scores: Any) -> list[Floats]:
    """List the scores of one fold: one array for each class, or two for each label."""
    is_paired = isinstance(scores[0], tuple)
    return [column for pair in scores for column in pair] if is_paired else list(scores)


def restore_out_of_fold(
    document: Document, task: Task, n_folds: int, *, is_vector: bool, reader: Reader
) -> dict[str, Any]:
    """Decode what :func:`describe_out_of_fold` has made, and check it.

    Parameters
    ----------
    document : dict
        Encoded attributes by name.
    task : Task
        Task of the members.
    n_folds : int
        Number of folds; 1 for the nets of a portfolio that were fitted again, without scores.
    is_vector : bool
        Whether predictions of a regressor have one dimension.
    reader : Reader
        Decoder of values.

    Returns
    -------
    dict of str to object
        Attributes of the ensemble.

    Raises
    ------
    FileFormatError
        If an attribute is missing or unknown, or has an invalid value.
    """
    if not isinstance(task, ClassificationTask):
        values = reader.decode(has(document, {"oof_predict_": dict})["oof_predict_"])
        _require(_is_matrix(values, task.n_outputs, is_vector=is_vector), "oof_predict_")
        _require(_is_whole(values, np.isfinite(values)), "oof_predict_")
        return {"oof_predict_": values}
    expected: dict[str, Any] = {"oof_predict_proba_": dict, "oof_decision_function_": dict}
    lacks_scores = n_folds == 1 and "_scores_" not in document  # nets that were fitted again
    parts = {} if lacks_scores else {"_scores_": dict, "_times_held_out_": float}
    has(document, {**expected, **parts})
    proba, decision = (reader.decode(document[name]) for name in expected)
    _require(_is_matrix(proba, task.n_outputs), "oof_predict_proba_")
    _require(_is_whole(proba, _is_probability(proba)), "oof_predict_proba_")
    _check_decision(decision, proba, task)
    found = {"oof_predict_proba_": proba, "oof_decision_function_": decision}
    if lacks_scores:
        return found
    n_columns = task.n_outputs * (2 if task.n_labels else 1)
    scores = _scores_of(reader, document["_scores_"], (n_folds, n_columns))
    times = document["_times_held_out_"]
    _require(1 <= times <= n_folds, "_times_held_out_")
    if task.n_labels:
        scores = [list(zip(fold[::2], fold[1::2], strict=True)) for fold in scores]
    return {**found, "_scores_": scores, "_times_held_out_": times}


def _check_decision(decision: Any, proba: Floats, task: ClassificationTask) -> None:
    """Check that the values of the decision function belong to the probabilities."""
    name, expected = "oof_decision_function_", task.decision(proba).shape
    fits = isinstance(decision, np.ndarray) and decision.shape == expected
    _require(fits and decision.dtype == np.float64, name)
    lacks: NDArray[np.bool_] = np.isnan(proba[:, 0])
    rows = np.isnan(decision.reshape(len(lacks), -1))
    _require(rows[lacks].all() and not rows[~lacks].any(), name)


def _scores_of(reader: Reader, document: Any, shape: tuple[int, int]) -> list[list[Any]]:
    """Decode the scores of each fold, as a list of arrays in ascending order."""
    parts = reader.decode(has(document, {"values": dict, "sizes": dict}))
    values, sizes = parts["values"], parts["sizes"]
    _require(_is_vector(values) and _is_probability(values).all(), "_scores_")
    known = isinstance(sizes, np.ndarray) and sizes.dtype == np.int64 and sizes.shape == shape
    _require(known and ((sizes >= 0) & (sizes <= len(values))).all(), "_scores_")
    _require(sizes.sum() == len(values), "_scores_")
    reader.budget.spend(_VIEW * sizes.size)
    ends = np.concatenate([[0], np.cumsum(sizes.ravel())]).tolist()
    columns = [values[start:stop] for start, stop in pairwise(ends)]
    _require(all((np.diff(column) >= 0).all() for column in columns), "_scores_")
    width = shape[1]
    return [columns[i * width : (i + 1) * width] for i in range(shape[0])]


def _is_vector(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float64 and value.ndim == 1


def _is_matrix(value: Any, n_columns: int, *, is_vector: bool = False) -> bool:
    """Return whether a value is an array of float64 with one row or more."""
    if is_vector:
        return _is_vector(value) and len(value) > 0
    known = isinstance(value, np.ndarray) and value.dtype == np.float64 and value.ndim == 2
    return known and len(value) > 0 and value.shape[1] == n_columns


def _is_probability(values: Floats) -> NDArray[np.bool_]:
    return (values >= 0) & (values <= 1 + _ROUNDING)  # both are False for NaN


def _is_whole(values: Floats, valid: NDArray[np.bool_]) -> bool:
    """Return whether each row is valid as a whole, or NaN as a whole."""
    rows, gaps = valid.reshape(len(values), -1), np.isnan(values).reshape(len(values), -1)
    return bool((rows.all(axis=1) | gaps.all(axis=1)).all())


def _require(condition: Any, name: str) -> None:
    if not condition:
        raise FileFormatError(f"invalid value for the attribute {name} of an ensemble.")
