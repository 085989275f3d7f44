"""Decisions in an ONNX file: what calibrated probabilities and labels are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._publish.onnx import MEDIANS
from imbtorch._publish.onnx_columns import check_names
from imbtorch._publish.onnx_graph import Nodes, rename_inputs, with_prefix
from imbtorch.model_selection import ScaledClassifierCV, TunedDecisionClassifierCV

__all__ = ["with_scaling", "with_threshold", "with_tuned_decision"]

_INNER = "inner/"
_PROBABILITIES = "probabilities"
_LABEL = "label"
_TINY = float(np.finfo(np.float64).tiny)  # the smallest probability of tuned decisions
_EPS = float(np.finfo(np.float64).eps)  # the smallest probability that is calibrated


def with_scaling(model: Any, scaled: ScaledClassifierCV) -> Any:
    """Calibrate the probabilities of a model, and decide for the most probable class.

    Parameters
    ----------
    model : onnx.ModelProto
        Model of the inner estimator, with the output ``"probabilities"``.
    scaled : ScaledClassifierCV
        Fitted estimator.

    Returns
    -------
    onnx.ModelProto
        Model with the outputs ``"probabilities"`` and ``"label"``.
    """
    nodes, inner, proba = _behind(model)
    logs = _logarithm(nodes, proba, _EPS)
    if scaled.method_ in ("beta", "quadratic"):
        scores = _of_log_odds(nodes, logs, scaled)
    elif scaled.method_ == "temperature":
        scores = nodes.add("Div", [logs, nodes.constant(np.asarray(scaled.temperature_))])
    else:
        scores = nodes.add("Mul", [logs, nodes.constant(scaled.scale_)])
        scores = nodes.add("Add", [scores, nodes.constant(scaled.bias_)])
    result = nodes.add("Exp", [nodes.add("LogSoftmax", [scores], {"axis": 1})])
    codes = nodes.add("ArgMax", [scores], {"axis": 1, "keepdims": 0})
    return _finished(nodes, inner, result, _labels(nodes, scaled.classes_, codes), scaled.classes_)


def _of_log_odds(nodes: Nodes, logs: str, scaled: ScaledClassifierCV) -> str:
    """Add the maps of two classes, whose new log-odds are linear in some of the old ones."""
    no, yes = (
        nodes.add("Gather", [logs, nodes.constant(np.asarray([c]))], {"axis": 1}) for c in (0, 1)
    )
    a, b, c = (nodes.constant(np.asarray(number)) for number in scaled.coef_)
    if scaled.method_ == "beta":
        parts = nodes.add("Mul", [yes, a]), nodes.add("Mul", [nodes.add("Neg", [no]), b])
    else:
        z = nodes.add("Sub", [yes, no])
        bent = nodes.add("Mul", [z, nodes.add("Abs", [z])])
        parts = nodes.add("Mul", [z, a]), nodes.add("Mul", [bent, b])
    odds = nodes.add("Add", [nodes.add("Add", list(parts)), c])
    zero = nodes.add("Sub", [odds, odds])
    return nodes.add("Concat", [zero, odds], {"axis": 1})


def with_tuned_decision(model: Any, tuned: TunedDecisionClassifierCV) -> Any:
    """Decide as a tuned estimator does, by offsets or by costs.

    Parameters
    ----------
    model : onnx.ModelProto
        Model of the inner estimator, with the output ``"probabilities"``.
    tuned : TunedDecisionClassifierCV
        Fitted estimator.

    Returns
    -------
    onnx.ModelProto
        Model with the outputs ``"probabilities"``, which are those of the inner estimator, and
        ``"label"``: of several labels per row, zeros and ones.
    """
    rules = tuned._constrained
    if rules is not None and any(c.measure == "alarms" for c in rules.constraints.values()):
        raise ValueError(
            f"constraint={tuned.constraint!r} ranks all rows that are predicted together, which an "
            "ONNX file cannot do. Export the inner estimator (tuned.estimator_), and flag the rows "
            "with the highest probabilities."
        )
    if tuned.offsets_ is None and not isinstance(vars(tuned).get("_costs"), np.ndarray):
        raise ValueError(
            "Costs of each row are not part of a file. Export the inner estimator "
            "(tuned.estimator_), whose probabilities describe the right population, and choose the "
            "decision of smallest expected cost."
        )
    if rules is not None and not tuned._multilabel and len(tuned.thresholds_) == 1:
        return with_threshold(model, tuned.classes_, float(tuned.thresholds_[0]))
    nodes, inner, proba = _behind(model)
    decisive = _decisive(nodes, inner, proba)
    if tuned.offsets_ is None:
        costs = nodes.add("MatMul", [proba, nodes.constant(tuned._costs)])
        codes = nodes.add("ArgMin", [costs], {"axis": 1, "keepdims": 0})
        label = _labels(nodes, tuned.classes_, codes)
        return _finished(nodes, inner, proba, label, tuned.classes_)
    if rules is not None and not tuned._multilabel:
        codes = _first_reached(nodes, decisive, list(rules.constraints), tuned.thresholds_)
        label = _labels(nodes, tuned.classes_, codes)
        return _finished(nodes, inner, proba, label, tuned.classes_)
    scores = _logarithm(nodes, decisive, _TINY)
    if tuned._multilabel:
        rest = nodes.add("Sub", [nodes.constant(np.asarray(1.0)), decisive])
        scores = nodes.add("Sub", [scores, _logarithm(nodes, rest, _TINY)])
    shifted = nodes.add("Add", [scores, nodes.constant(tuned.offsets_)])
    if tuned._multilabel:
        is_present = nodes.add("Greater", [shifted, nodes.constant(np.asarray(0.0))])
        if rules is not None:
            limits = nodes.constant(tuned.thresholds_)
            is_present = nodes.add("GreaterOrEqual", [decisive, limits])
        label = nodes.add("Cast", [is_present], {"to": _onnx_type(np.zeros(1, np.int64))})
        return _finished(nodes, inner, proba, label, None)
    codes = nodes.add("ArgMax", [shifted], {"axis": 1, "keepdims": 0})
    label = _labels(nodes, tuned.classes_, codes)
    return _finished(nodes, inner, proba, label, tuned.classes_)


def with_threshold(
    model: Any, classes: NDArray[Any], threshold: float, positive: Any = None
) -> Any:
    """Decide between two classes by a threshold on the probability of one of them.

    Parameters
    ----------
    model : onnx.ModelProto
        Model of the inner estimator, with the output ``"probabilities"``.
    classes : ndarray of shape (2,)
        Labels.
    threshold : float
        Probability from which on the positive class is chosen.
    positive : object, default=None
        Label of the positive class; None is the second one.

    Returns
    -------
    onnx.ModelProto
        Model with the outputs ``"probabilities"``, which are those of the inner estimator, and
        ``"label"``.
    """
    nodes, inner, proba = _behind(model)
    column = 1 if positive is None else int(np.flatnonzero(classes == positive)[0])
    decisive = _decisive(nodes, inner, proba)
    score = nodes.add("Gather", [decisive, nodes.constant(np.asarray(column))], {"axis": 1})
    is_positive = nodes.add("GreaterOrEqual", [score, nodes.constant(np.asarray(float(threshold)))])
    codes = nodes.add("Cast", [is_positive], {"to": _onnx_type(np.zeros(1, np.int64))})
    label = _labels(nodes, classes if column else classes[::-1], codes)
    return _finished(nodes, inner, proba, label, classes)


def _first_reached(
    nodes: Nodes, proba: str, bounded: list[int], thresholds: NDArray[np.float64]
) -> str:
    """Add the first class whose threshold is reached, else the most probable other class."""
    others = np.setdiff1d(np.arange(len(thresholds)), bounded)
    among = nodes.add("Gather", [proba, nodes.constant(others)], {"axis": 1})
    best = nodes.add("ArgMax", [among], {"axis": 1, "keepdims": 0})
    codes = nodes.add("Gather", [nodes.constant(others), best])
    for column in reversed(bounded):
        score = nodes.add("Gather", [proba, nodes.constant(np.asarray(column))], {"axis": 1})
        limit = nodes.constant(np.asarray(thresholds[column]))
        reached = nodes.add("GreaterOrEqual", [score, limit])
        codes = nodes.add("Where", [reached, nodes.constant(np.asarray(column)), codes])
    return codes


def _behind(model: Any) -> tuple[Nodes, Any, str]:
    """Return new nodes, the model with other names, and its probabilities in float64."""
    inputs = [value.name for value in model.graph.input]
    check_names(inputs, [_PROBABILITIES, _LABEL])
    inner = with_prefix(model, _INNER)
    rename_inputs(inner, inputs)
    nodes = Nodes("decision/")
    wide = _onnx_type(np.zeros(1))
    return nodes, inner, nodes.add("Cast", [f"{_INNER}{_PROBABILITIES}"], {"to": wide})


def _decisive(nodes: Nodes, inner: Any, proba: str) -> str:
    """Return what thresholds are compared with: the medians of a model that has them."""
    name = f"{_INNER}{MEDIANS}"
    if all(output.name != name for output in inner.graph.output):
        return proba
    return nodes.add("Cast", [name], {"to": _onnx_type(np.zeros(1))})


def _logarithm(nodes: Nodes, proba: str, floor: float) -> str:
    return nodes.add("Log", [nodes.add("Max", [proba, nodes.constant(np.asarray(floor))])])


def _labels(nodes: Nodes, classes: NDArray[Any], codes: str) -> str:
    words = classes.astype(object) if classes.dtype.kind in "OUS" else classes
    return nodes.add("Gather", [nodes.constant(words), codes])


def _finished(
    nodes: Nodes, inner: Any, proba: str, label: str, classes: NDArray[Any] | None
) -> Any:
    """Add the nodes to the model, whose outputs become probabilities in float32 and labels."""
    from onnx import TensorProto, helper

    (former,) = (v for v in inner.graph.output if v.name == f"{_INNER}{_PROBABILITIES}")
    shape = [d.dim_param or d.dim_value for d in former.type.tensor_type.shape.dim]
    nodes.add("Cast", [proba], {"to": TensorProto.FLOAT}, output=_PROBABILITIES)
    nodes.add("Identity", [label], output=_LABEL)
    nodes.put_behind(inner)
    del inner.graph.output[:]
    kind = TensorProto.INT64 if classes is None else _onnx_type(classes)
    inner.graph.output.extend(
        [
            helper.make_tensor_value_info(_PROBABILITIES, TensorProto.FLOAT, shape),
            helper.make_tensor_value_info(_LABEL, kind, shape if classes is None else shape[:1]),
        ]
    )
    return inner


def _onnx_type(values: NDArray[Any]) -> int:
    from onnx import TensorProto, helper

    if values.dtype.kind in "OUS":
        return int(TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(values.dtype))
