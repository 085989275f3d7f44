"""The score of the validation rows, which early stopping and ``validation_fraction`` look at."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from sklearn.metrics import check_scoring

from imbtorch._common.sklearn_private import accepts_sample_weight
from imbtorch._fit.parameters import NetParameters
from imbtorch._fit.sources import RowSource
from imbtorch._tasks import Balance
from imbtorch.training.net import Net

__all__ = ["validation_score"]


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
    """
    scored = source.validation(estimator, net, balance)
    view = copy.copy(estimator)
    view.__dict__.update(attributes)
    if not hasattr(scored.X, "columns"):
        view.__dict__.pop("feature_names_in_", None)  # X is an array by now
    if estimator.scoring is None:
        return source.task.scorer(view, scored.X, scored.targets, scored.weights)
    scorer = check_scoring(view, scoring=estimator.scoring)
    weights = {}
    if source.sample_weight is not None and accepts_sample_weight(scorer):
        weights["sample_weight"] = source.sample_weight[source.valid]
    return lambda: float(scorer(view, scored.X, scored.y, **weights))
