"""Steps of scikit-learn in front of an estimator, which skl2onnx converts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from imbtorch._common.gaps import is_missing
from imbtorch._export.learned import learned_values, with_empty_texts
from imbtorch._publish.onnx import require
from imbtorch._publish.onnx_columns import check_names
from imbtorch._publish.onnx_graph import joined, rename_inputs, rename_outputs, with_prefix

__all__ = ["behind_steps", "transforming_steps"]

_STEPS = "steps/"
_MOST_ROWS = 1000  # rows on which the converted steps are compared with the steps themselves
_WAY_OUT = (
    "Leave out what it cannot convert (a net fills gaps, encodes categories and scales numbers by "
    "itself), or apply these steps to the rows before they are given to the ONNX file."
)


@dataclass(frozen=True)
class _Input:
    """An input of the file: a column, or a matrix of numbers.

    ``learned`` holds the values that a step has learned from the column.
    """

    name: str
    width: int
    is_text: bool
    learned: list[Any]

    def examples(self, n_rows: int) -> NDArray[Any]:
        """Return rows that the steps know, one of unknown values, and one of gaps."""
        known: list[Any] = [value for value in self.learned if not is_missing(value)]
        known = known or [0.5, 1.0, 0.25]
        column = np.empty(n_rows + 2, dtype=object if self.is_text else np.float64)
        column[:n_rows] = [known[i % len(known)] for i in range(n_rows)]
        column[n_rows:] = ["imbtorch: unknown" if self.is_text else -1.25, np.nan]
        return np.repeat(column[:, None], self.width, axis=1)

    def as_input(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return rows in the type of the input."""
        if not self.is_text:
            return values.astype(np.float32)
        return np.where([[is_missing(value)] for value in values[:, 0]], "", values)


def transforming_steps(pipeline: Pipeline) -> list[tuple[str, Any]]:
    """Return the steps before the last one that act at prediction, which samplers do not."""
    return [
        (name, step)
        for name, step in pipeline.steps[:-1]
        if step not in (None, "passthrough") and not hasattr(step, "fit_resample")
    ]


def behind_steps(model: Any, steps: list[tuple[str, Any]]) -> Any:
    """Put the steps of a pipeline in front of a model.

    Parameters
    ----------
    model : onnx.ModelProto
        Model of the last step, whose only input ``"X"`` is a float32 matrix of numbers.
    steps : list of (str, transformer)
        Fitted steps before it.

    Returns
    -------
    onnx.ModelProto
        Model with one input per column if a step treats columns differently or reads text, else
        with the input ``"X"``.

    Raises
    ------
    ImportError
        If skl2onnx or onnxruntime is not installed.
    ValueError
        If skl2onnx cannot convert a step, or converts it to something else.
    """
    require(("skl2onnx", "onnxruntime"))
    outputs = [output.name for output in model.graph.output]
    inputs = _inputs(steps, outputs)
    front = _converted(steps, inputs, model)
    _check_converted(front, steps, inputs)
    (result,) = front.graph.output
    named = [value.name for value in front.graph.input]
    return _joined(front, model, result.name, named, outputs)


def _joined(front: Any, back: Any, result: str, inputs: list[str], outputs: list[str]) -> Any:
    """Join two graphs whose names may be equal, and keep the names of inputs and outputs."""
    front, back = with_prefix(front, _STEPS), with_prefix(back, "net/")
    (matrix,) = back.graph.input
    whole = joined(front, back, matrix.name, f"{_STEPS}{result}")
    rename_inputs(whole, inputs)
    rename_outputs(whole, outputs)
    return whole


def _inputs(steps: list[tuple[str, Any]], outputs: list[str]) -> list[_Input]:
    """Return the inputs of the file, from what the steps have learned of the columns."""
    first = steps[0][1]
    n_columns = int(first.n_features_in_)
    learned = learned_values(Pipeline(steps), list(range(n_columns)))
    text = {j for j, values in learned.items() if any(isinstance(v, str) for v in values)}
    if not text and not isinstance(first, ColumnTransformer):
        return [_Input("X", n_columns, False, [])]
    found = getattr(first, "feature_names_in_", None)
    names = [f"x{j}" for j in range(n_columns)] if found is None else [str(name) for name in found]
    check_names(names, outputs)
    return [_Input(name, 1, j in text, learned.get(j, [])) for j, name in enumerate(names)]


def _converted(steps: list[tuple[str, Any]], inputs: list[_Input], model: Any) -> Any:
    """Convert steps with the version of the operators that the model has."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    kinds = {True: StringTensorType, False: FloatTensorType}
    types = [(i.name, kinds[i.is_text]([None, i.width])) for i in inputs]
    (version,) = (opset.version for opset in model.opset_import if opset.domain == "")
    convertible = Pipeline([(name, with_empty_texts(step)) for name, step in steps])
    versions = {"": version, "ai.onnx.ml": 3}
    try:
        front = convert_sklearn(convertible, initial_types=types, target_opset=versions)
    except Exception as error:
        raise ValueError(
            f"skl2onnx cannot convert {_named(steps)}; its own error is shown above. {_WAY_OUT}"
        ) from error
    read = {name for node in front.graph.node for name in node.input}
    used = [value for value in front.graph.input if value.name in read]
    del front.graph.input[:]
    front.graph.input.extend(used)  # without the columns that are dropped
    return front


def _check_converted(front: Any, steps: list[tuple[str, Any]], inputs: list[_Input]) -> None:
    """Raise ValueError if a converted graph gives other values than the steps.

    It compares rows of everything that the steps have learned, and unknown values and gaps where
    the steps accept them.
    """
    n_rows = min(max(3, *(len(i.learned) for i in inputs)), _MOST_ROWS)
    columns = [i.examples(n_rows) for i in inputs]
    for rows in (slice(0, n_rows), slice(n_rows, n_rows + 1), slice(n_rows + 1, n_rows + 2)):
        chosen = [column[rows] for column in columns]
        try:
            expected = Pipeline(steps).transform(_table(steps[0][1], chosen))
        except Exception:
            if rows.start == 0:
                raise
            continue  # the steps do not accept unknown values, or gaps
        expected = np.asarray(expected.toarray() if issparse(expected) else expected, np.float64)
        given = [i.as_input(column) for i, column in zip(inputs, chosen, strict=True)]
        _compare(front, {i.name: v for i, v in zip(inputs, given, strict=True)}, expected, steps)


def _compare(
    front: Any, given: dict[str, Any], expected: NDArray[Any], steps: list[tuple[str, Any]]
) -> None:
    import onnxruntime

    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    used = {value.name for value in front.graph.input}
    try:
        session = onnxruntime.InferenceSession(front.SerializeToString(), quiet)
        (got,) = session.run(None, {name: v for name, v in given.items() if name in used})
        if np.allclose(got, expected, rtol=1e-4, atol=1e-4, equal_nan=True):
            return
        reason = f"for the rows {given} it gives {got.tolist()}, not {expected.tolist()}"
    except Exception as error:  # of onnxruntime, which has no class of its own, or of the shapes
        reason = str(error)
    raise ValueError(
        f"skl2onnx converts {_named(steps)} to a graph that does not do the same: {reason[:500]}. "
        f"{_WAY_OUT}"
    )


def _table(first: Any, columns: list[NDArray[Any]]) -> Any:
    """Return columns as the first step got them in fit: a frame, or an array."""
    names = getattr(first, "feature_names_in_", None)
    if names is None:
        return np.concatenate(columns, axis=1)
    from pandas import DataFrame

    parts = columns[0].T if len(columns) == 1 else [column[:, 0] for column in columns]
    return DataFrame(dict(zip(names, parts, strict=True)))


def _named(steps: list[tuple[str, Any]]) -> str:
    names = [f"{name!r} ({type(step).__name__})" for name, step in steps]
    return f"the step{'s' if len(names) > 1 else ''} {', '.join(names)}"
