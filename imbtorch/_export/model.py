"""Write a model to an ONNX file: an estimator, and what stands in front of it and behind it."""

from __future__ import annotations

import os
from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from imbtorch._export.decisions import with_scaling, with_threshold, with_tuned_decision
from imbtorch._export.steps import behind_steps, transforming_steps
from imbtorch._publish.onnx import ExportMixin, write
from imbtorch.model_selection import ScaledClassifierCV, TunedDecisionClassifierCV

__all__ = ["to_onnx"]


def to_onnx(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model as an ONNX file, with the steps before the net and the decision.

    Parameters
    ----------
    model : estimator
        One of these, also inside each other:

        * an estimator of this package: the file is that of its method ``to_onnx``;
        * a :class:`sklearn.pipeline.Pipeline` whose last step is one; samplers of imbalanced-learn
          among the steps are left out, as they are in predictions;
        * :class:`~imbtorch.model_selection.TunedDecisionClassifierCV`,
          :class:`~imbtorch.model_selection.ScaledClassifierCV` or
          :class:`sklearn.model_selection.FixedThresholdClassifier` around one.
    path : str or path-like
        File to write. It is written completely or not at all; an existing file is replaced.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    ImportError
        If onnx, onnxscript or, for the steps of a pipeline, skl2onnx is not installed.
    TypeError
        If the model is another one.
    ValueError
        If a step of a pipeline, or a threshold on ``decision_function``, cannot be written, if the
        weights take more than 2 GB, or if inputs or columns have equal
        names, or the name of an output.
    RuntimeError
        If torch cannot export the module, or the graph is not a valid one.

    See Also
    --------
    ImbalancedNetClassifier.to_onnx : What the inputs and outputs are.

    Notes
    -----
    Models with a decision have the outputs ``"probabilities"``, float32, which are those of
    ``predict_proba``, and ``"label"``, which is what ``predict`` returns: a text, a number, or
    zeros and ones if a row has several labels.

    skl2onnx converts the steps of a pipeline, which compute in float32. The file has one input per
    column, named as the column and of shape ``(n, 1)``, if the first step is a
    :class:`~sklearn.compose.ColumnTransformer` or a step reads text; else it has the input ``"X"``.
    Texts are strings and ``""`` is a missing one; everything else is float32.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import onnxruntime
    >>> from sklearn.datasets import make_classification
    >>> import imbtorch
    >>> from imbtorch.model_selection import TunedDecisionClassifierCV
    >>> X, y = make_classification(500, weights=[0.9], random_state=0)
    >>> X, y = X.astype(np.float32), np.where(y == 1, "fraud", "fine")
    >>> net = imbtorch.ImbalancedNetClassifier(max_epochs=5, random_state=0)
    >>> tuned = TunedDecisionClassifierCV(net, cost_matrix=[[0, 1], [20, 0]]).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     imbtorch.to_onnx(tuned, f"{folder}/model.onnx")
    ...     session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
    >>> (label,) = session.run(["label"], {"X": X})
    >>> bool((label == tuned.predict(X)).all())
    True
    """
    write(_graph_of(model), model, path)


def _graph_of(model: Any, *, behind: bool = False) -> Any:
    """Return the model of ONNX; ``behind`` other steps its input is a matrix of float32."""
    if isinstance(model, ExportMixin):
        return model._graph(behind_steps=behind)
    if isinstance(model, FrozenEstimator):
        return _graph_of(model.estimator, behind=behind)
    if isinstance(model, Pipeline):
        check_is_fitted(model)
        steps = transforming_steps(model)
        last = _graph_of(model.steps[-1][1], behind=behind or bool(steps))
        return behind_steps(last, steps) if steps else last
    if isinstance(model, ScaledClassifierCV | TunedDecisionClassifierCV):
        check_is_fitted(model, "estimator_")
        if isinstance(model, ScaledClassifierCV):
            return with_scaling(_graph_of(model.estimator_, behind=behind), model)
        inner = model.estimator_
        if isinstance(inner, ExportMixin) and model._votes:
            graph = inner._graph(behind_steps=behind, with_median=True)
        else:
            graph = _graph_of(inner, behind=behind)
        return with_tuned_decision(graph, model)
    if isinstance(model, FixedThresholdClassifier):
        return _with_fixed_threshold(model, behind=behind)
    raise TypeError(_refusal(model))


def _with_fixed_threshold(model: FixedThresholdClassifier, *, behind: bool) -> Any:
    check_is_fitted(model)
    if model.response_method == "decision_function":
        raise ValueError(
            "FixedThresholdClassifier with response_method='decision_function' cannot be written "
            "to an ONNX file, which has no decision_function. Use response_method='predict_proba' "
            "and the probability of the threshold: scipy.special.expit(threshold)."
        )
    inner = _graph_of(getattr(model, "estimator_", model.estimator), behind=behind)
    threshold = 0.5 if model.threshold == "auto" else model.threshold
    return with_threshold(inner, model.classes_, threshold, model.pos_label)


def _refusal(model: Any) -> str:
    """Say what cannot be written, and what can be written in its place."""
    name = type(model).__name__
    if hasattr(model, "best_estimator_"):
        advice = "Give its best_estimator_."
    elif hasattr(model, "best_threshold_"):
        advice = (
            "Use imbtorch.model_selection.TunedDecisionClassifierCV, or give "
            "FixedThresholdClassifier(FrozenEstimator(model.estimator_), "
            "threshold=model.best_threshold_).fit(X, y)."
        )
    elif hasattr(model, "calibrated_classifiers_"):
        advice = "Use imbtorch.model_selection.ScaledClassifierCV for the calibration."
    else:
        advice = (
            "It writes estimators of imbtorch, a Pipeline that ends with one, and "
            "TunedDecisionClassifierCV, ScaledClassifierCV and FixedThresholdClassifier around "
            "one. skl2onnx.to_onnx writes models of scikit-learn alone."
        )
    return f"imbtorch.to_onnx cannot write {name}. {advice}"
