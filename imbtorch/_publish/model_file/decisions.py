"""Meta-estimators around a fitted estimator: thresholds, offsets and scales belong to the file.

The classes themselves come from :mod:`imbtorch.persistence`, which knows them; here is what a file
holds of each, and how it is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._common.calibrators import CALIBRATORS
from imbtorch.exceptions import FileFormatError

__all__ = ["FROZEN", "SCALED", "THRESHOLD", "TUNED", "Decision", "chain_of", "refused"]

MAX_DEPTH = 8  # meta-estimators around each other


@dataclass(frozen=True)
class Decision:
    """What a file holds of a meta-estimator, besides its parameters and the estimator inside.

    Attributes
    ----------
    check : callable(meta, inner, bool)
        Raises FileFormatError if the attributes of the restored meta-estimator are not valid. It
        gets the restored estimator inside, and whether rows have several labels.
    required, optional : tuple of str
        Names of the fitted attributes.
    is_frozen : bool
        Whether the parameter ``estimator`` is the fitted estimator itself.
    """

    check: Callable[[Any, Any, bool], None]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    is_frozen: bool = False


def chain_of(model: Any, decisions: dict[type, Decision]) -> list[Any]:
    """Return the fitted estimator inside of meta-estimators, and these from the inside out.

    Parameters
    ----------
    model : object
        Fitted estimator of any class.
    decisions : dict of type to Decision
        Meta-estimators that a file can hold.

    Raises
    ------
    ValueError
        If more meta-estimators than a file can hold are around each other.
    """
    chain = [model]
    while type(chain[-1]) in decisions:
        outer = chain[-1]
        # of a frozen estimator, getattr would return attributes of the estimator inside
        chain.append(vars(outer).get("estimator_", outer.estimator))
        if len(chain) > MAX_DEPTH:
            raise ValueError(f"A file holds at most {MAX_DEPTH - 1} meta-estimators in each other.")
    return chain[::-1]


def refused(model: Any) -> ValueError:
    """Return the error for an estimator that a file cannot hold, with advice on what to do."""
    name = type(model).__name__
    if hasattr(model, "steps"):
        advice = (
            "Save its last step with imbtorch.save(pipeline[-1], path), and keep the steps before "
            "it with skops or pickle. Often they are not needed: an estimator of imbtorch scales "
            "numbers, fills gaps and encodes categories itself, and its file holds all of this."
        )
    elif hasattr(model, "best_estimator_"):
        advice = "Save what it has found: imbtorch.save(search.best_estimator_, path)."
    elif hasattr(model, "best_threshold_"):
        advice = (
            "Save the threshold that it has found: imbtorch.save(FixedThresholdClassifier("
            "FrozenEstimator(model.estimator_), threshold=model.best_threshold_), path)."
        )
    elif hasattr(model, "calibrated_classifiers_"):
        advice = "Calibrate with imbtorch.model_selection.ScaledClassifierCV, or use pickle."
    else:
        advice = (
            "A file can hold ImbalancedNetClassifier, NetEnsembleClassifier, "
            "NetPortfolioClassifier and the regressors of these names, and around one of them "
            "TunedDecisionClassifierCV, ScaledClassifierCV, FixedThresholdClassifier and "
            "FrozenEstimator. Use pickle for files that stay with you."
        )
    return ValueError(f"{name} cannot be written to a file. {advice}")


# -- checks of what was read --------------------------------------------------------------------


def _require(condition: Any, name: str) -> None:
    if not condition:
        raise FileFormatError(f"invalid value for the attribute {name} of a meta-estimator.")


def _is_array(value: Any, shape: tuple[int, ...]) -> bool:
    """Return whether a value is an array of finite floats of this shape."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return False
    return value.shape == shape and bool(np.isfinite(value).all())


def _is_number(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isfinite(value))


def _check_classes(meta: Any, inner: Any) -> NDArray[Any]:
    """Check that a meta-estimator has the classes of the estimator inside, and return them."""
    classes: NDArray[Any] = inner.classes_
    known = isinstance(meta.classes_, np.ndarray) and meta.classes_.dtype.kind in "biufUO"
    _require(known and np.array_equal(meta.classes_, classes), "classes_")
    return classes


def _check_tuned(meta: Any, inner: Any, is_multilabel: bool) -> None:
    classes = _check_classes(meta, inner)
    c = len(classes)
    _require(meta._multilabel is is_multilabel, "_multilabel")
    if meta.offsets_ is None:
        _require(meta.best_score_ is None and not is_multilabel, "best_score_")
        costs = vars(meta).get("_costs")  # None: predict gets the costs of each row
        _require(costs is None or _is_array(costs, (c, c)), "_costs")
    else:
        _require(_is_array(meta.offsets_, (c,)), "offsets_")
    values = meta._values
    arrays = isinstance(values, list) and all(isinstance(value, np.ndarray) for value in values)
    _require(arrays and len(values) == (c if is_multilabel else 1), "_values")
    if not is_multilabel:
        _require(np.array_equal(values[0], classes), "_values")
    for value in values:
        _require(value.ndim == 1 and len(value) <= max(c, 3), "_values")
    if meta.offsets_ is not None:
        _check_promise(meta, c, is_multilabel)


def _check_promise(meta: Any, c: int, is_multilabel: bool) -> None:
    """Check the thresholds of decisions that keep a constraint, and their score."""
    rules = meta._constrained  # raises ValueError for a constraint of another form
    interval = vars(meta).get("thresholds_interval_", np.zeros((0, 2)))
    _require(isinstance(interval, np.ndarray) and interval.dtype.kind == "f", "interval")
    _require(interval.ndim == 2 and interval.shape[1] == 2 and len(interval) <= c, "interval")
    if rules is None:
        _require(_is_number(meta.best_score_), "best_score_")
        return
    by_name = isinstance(meta.constraint, dict)
    if all(constraint.measure == "alarms" for constraint in rules.constraints.values()):
        _require(meta.best_score_ is None, "best_score_")
    else:
        _require(_is_number(meta.best_score_), "best_score_")
    if by_name or meta.best_score_ is not None:
        length = c if is_multilabel or by_name else 1
        _require(_is_array(vars(meta).get("thresholds_"), (length,)), "thresholds_")


def _check_scaled(meta: Any, inner: Any, is_multilabel: bool) -> None:
    shape = (len(_check_classes(meta, inner)),)
    _require(not is_multilabel, "classes_")
    known = vars(meta)
    known.setdefault("method_", meta.method)
    _require(
        known["method_"] in CALIBRATORS and meta.method in (known["method_"], "auto"), "method_"
    )
    if meta.method_ == "temperature":
        _require(_is_number(known.get("temperature_")) and meta.temperature_ > 0, "temperature_")
    elif CALIBRATORS[meta.method_].classes is not None:
        _require(shape == (2,) and _is_array(known.get("coef_"), (3,)), "coef_")
    else:
        _require(_is_array(known.get("scale_"), shape), "scale_")
        _require(_is_array(known.get("bias_"), shape), "bias_")


def _check_threshold(meta: Any, inner: Any, is_multilabel: bool) -> None:
    _require(hasattr(inner, "classes_") and not is_multilabel, "estimator_")
    known = vars(meta)
    if "n_features_in_" in known:
        _require(known["n_features_in_"] == inner.n_features_in_, "n_features_in_")
    if "feature_names_in_" in known:
        names, inside = known["feature_names_in_"], inner.feature_names_in_
        _require(isinstance(names, np.ndarray) and np.array_equal(names, inside), "names")


def _check_frozen(meta: Any, inner: Any, is_multilabel: bool) -> None:
    _require(vars(meta)["estimator"] is inner, "estimator")


TUNED = Decision(
    _check_tuned,
    ("estimator_", "classes_", "offsets_", "best_score_", "_multilabel", "_values"),
    ("_costs", "thresholds_", "thresholds_interval_"),
)
SCALED = Decision(
    _check_scaled,
    ("estimator_", "classes_"),
    ("method_", "temperature_", "scale_", "bias_", "coef_"),
)
THRESHOLD = Decision(_check_threshold, (), ("estimator_", "n_features_in_", "feature_names_in_"))
FROZEN = Decision(_check_frozen, is_frozen=True)
