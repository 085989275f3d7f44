"""What a classifier does between its data and its net: balance, bias, score, attributes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import average_precision_score, check_scoring

from imbtorch._balance import ClassBalance
from imbtorch._label_balance import LabelBalance
from imbtorch.metrics import mean_average_precision
from imbtorch.targets import encode_known_labels
from imbtorch.training.net import _Net

__all__ = ["ClassificationMixin"]

Floats = NDArray[np.float64]
Attributes = dict[str, Any]


class ClassificationMixin:
    """Steps of ``fit`` that classes and labels share, whichever the targets are."""

    classes_: Any
    decision_function: Any
    class_weight: Any
    loss: Any
    scoring: Any
    _build_net: Any
    _resume_net: Any
    _log_target_shift: Any

    def _balance_of(
        self, classes: NDArray[Any], counts: Floats, seen: Floats, *, at_least: int = 2
    ) -> ClassBalance | LabelBalance:
        if counts.ndim == 2:
            return LabelBalance.of(counts, seen, self.class_weight, self.loss)
        weight = self.class_weight
        return ClassBalance.of(classes, counts, seen, weight, self.loss, at_least=at_least)

    def _net_for(
        self, X: Any, balance: ClassBalance | LabelBalance, seed: int, *, resumed: bool
    ) -> _Net:
        if resumed:
            net: _Net = self._resume_net(balance.loss, X.shape[0])
        else:
            bias = balance.initial_bias
            net = self._build_net(X, balance.loss, balance.task, balance.n_outputs, bias, seed)
        return net

    def _scorer(
        self, attributes: Attributes, X: Any, y: Any, sample_weight: Any, valid: NDArray[Any]
    ) -> Callable[[], float]:
        """Score the present weights on the validation rows."""
        view = copy.copy(self)
        view.__dict__.update(attributes)
        view.__dict__.pop("feature_names_in_", None)  # X is an array by now
        X, y = X[valid], y[valid]
        if self.scoring is not None:
            scorer = check_scoring(view, scoring=self.scoring)
            return lambda: float(scorer(view, X, y))
        weights = None if sample_weight is None else sample_weight[valid]
        if y.ndim == 2:
            labels = _dense(y)
            return lambda: _mean_label_precision(labels, view.decision_function(X), weights)
        codes = encode_known_labels(y, view.classes_)
        return lambda: mean_average_precision(codes, view.decision_function(X), weights)

    def _attributes(
        self, net: _Net, balance: ClassBalance | LabelBalance, n_rows: int
    ) -> Attributes:
        attributes = {
            "classes_": balance.classes,
            "class_counts_": balance.counts,
            "class_prior_": balance.prior,
            "effective_prior_": balance.effective_prior,
            "class_weight_": balance.class_weight,
            "net_": net,
            "_n_rows_seen": n_rows,
        }
        self._log_target_shift(attributes)  # complain now rather than at prediction
        return attributes


def _dense(y: Any) -> NDArray[Any]:
    return np.asarray(y.toarray() if sparse.issparse(y) else y)


def _mean_label_precision(
    labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None
) -> float:
    """Average precision, averaged over the labels that have positives; NaN without any."""
    usable = labels.any(axis=0)
    if not usable.any():
        return float("nan")
    labels, scores = labels[:, usable], scores[:, usable]
    return float(average_precision_score(labels, scores, average="macro", sample_weight=weights))
