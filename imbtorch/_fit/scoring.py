"""The score of the validation rows, which early stopping and ``validation_fraction`` look at."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import check_scoring
from sklearn.tree import DecisionTreeClassifier

from imbtorch._common.sklearn_private import accepts_sample_weight
from imbtorch._fit.parameters import NetParameters
from imbtorch._fit.sources import RowSource
from imbtorch._tasks import Balance
from imbtorch.training.net import Net

__all__ = ["check_knows_labels", "validation_score"]


def validation_score(
    estimator: NetParameters,
    source: RowSource,
    net: Net,
    balance: Balance,
    attributes: dict[str, Any],
) -> Callable[[], float]:
    """Return a function that scores the present weights on the rows that are held out.

    Parameters
    ----------
    estimator : NetParameters
        The estimator that is fitted; its ``scoring`` is None, a name or a callable.
    source : RowSource
        The rows, of which some are held out.
    net : Net
        The net that is trained.
    balance : Balance
        Weights and priors of the training.
    attributes : dict
        Fitted attributes, which predictions need.

    Returns
    -------
    callable() -> float
        The score; greater is better. A scorer that takes ``sample_weight`` gets the weights of
        the held-out rows that the user gave. The density weights of a regressor are part of the
        loss, as class weights are, so that they count in the score of ``scoring=None`` only.

    Raises
    ------
    ValueError
        If a scorer of scikit-learn needs to know which label is positive, or how to average.
    """
    scored = source.validation(estimator, net, balance)
    view = copy.copy(estimator)
    view.__dict__.update(attributes)
    if not hasattr(scored.X, "columns"):
        view.__dict__.pop("feature_names_in_", None)  # X is an array by now
    if estimator.scoring is None:
        return source.task.scorer(view, scored.X, scored.targets, scored.weights)
    scorer = check_scoring(view, scoring=estimator.scoring)
    check_knows_labels(scorer, estimator.scoring, scored.y)
    weights = {}
    if source.sample_weight is not None and accepts_sample_weight(scorer):
        weights["sample_weight"] = source.sample_weight[source.valid]
    return lambda: float(scorer(view, scored.X, scored.y, **weights))


def check_knows_labels(scorer: Any, scoring: Any, y: NDArray[Any]) -> None:
    """Raise ValueError, before the training, if a metric cannot score these labels."""
    metric = getattr(scorer, "_score_func", None)
    if metric is None or "pos_label" not in inspect.signature(metric).parameters:
        return
    labels = np.eye(min(y.shape[1], 3), dtype=int) if y.ndim > 1 else np.unique(y)
    X = np.arange(len(labels)).reshape(-1, 1)
    try:
        perfect = DecisionTreeClassifier(random_state=0).fit(X, labels)
        scorer(perfect, X, labels)
    except Exception as error:
        given = str(error).rstrip(".")
        if "pos_label" in given:
            rarest = min(labels.tolist(), key=lambda label: np.count_nonzero(y == label))
            lacks, name, value = "which label is positive", "pos_label", rarest
        elif "average=" in given:
            lacks, name, value = "how to average", "average", "macro"
        else:  # what this trial cannot do, the net may be able to do
            return
        working = copy.copy(scorer)  # its repr is code, but for the quotes of words
        working._kwargs = {k: repr(v) for k, v in {**scorer._kwargs, name: value}.items()}
        raise ValueError(
            f"scoring={scoring!r} cannot score the labels of y: {given}. Say {lacks} by "
            f"{name}, with functions of sklearn.metrics: scoring={working!r}."
        ) from error
