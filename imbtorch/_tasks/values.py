"""Continuous targets: the task, their scale, and how much each row weighs by its density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imbtorch._data.target_scaling import TargetScale, density_factor
from imbtorch._data.targets import random_holdout
from imbtorch._tasks.base import Balance, RowWeights, Task
from imbtorch.losses.regression import BaseRegressionLoss, as_regression_loss

__all__ = ["FormerScale", "ValueBalance", "Values"]

Floats = NDArray[np.float64]
Positions = NDArray[np.integer[Any]]


class Values(Task):
    """Continuous targets, one or several per row.

    Parameters
    ----------
    n_targets : int
        Number of targets.
    is_vector : bool
        Whether predictions have one dimension, as ``y`` had.
    """

    name = "values"
    noun = "columns"
    outputs_are_logits = False
    saved = (*Task.saved, "_scale_", "_is_vector_", "_seen_")
    loss_kind = "regression_loss"

    def __init__(self, n_targets: int, is_vector: bool) -> None:
        self.n_outputs = n_targets
        self.is_vector = is_vector

    @classmethod
    def restored(cls, n_outputs: int, attributes: dict[str, Any]) -> Values:
        """Make the task of a net from its fitted attributes."""
        return cls(n_outputs, attributes["_is_vector_"])

    @classmethod
    def counts_shape(cls, n_outputs: int) -> tuple[int, ...]:
        """Return the shape of the number of rows and their weight."""
        return (2,)

    def check_continues(self, former: Task, where: str) -> None:
        """Raise ValueError if the number of targets is not that of the net."""
        if self.n_outputs != former.n_outputs:
            raise ValueError(
                f"{where} has {self.n_outputs} targets, but the net was fitted on "
                f"{former.n_outputs}."
            )

    def attributes(self) -> dict[str, Any]:
        """Return whether targets came as a vector."""
        return {"_is_vector_": self.is_vector}

    def hold_out(self, targets: Any, fraction: float, seed: int) -> tuple[Positions, Positions]:
        """Hold out a share of the rows at random."""
        return random_holdout(len(targets), fraction, seed)

    def counts(self, targets: Any, weights: Floats | None) -> Floats:
        """Count the rows, and add up their weights, ``(2,)``."""
        masses = np.ones(len(targets)) if weights is None else weights
        return np.array([len(targets), masses.sum()])

    def even_share(self, output: Tensor) -> Tensor:
        """Return equal shares of all rows, ``(n,)``."""
        return output.new_full((len(output),), 1 / len(output))

    def scorer(
        self, estimator: Any, X: Any, targets: Any, weights: Floats | None
    ) -> Callable[[], float]:
        """Minus the mean squared error of the standardised targets."""
        if weights is None or not weights.any():
            return lambda: float("nan")

        def minus_mean_squared_error() -> float:
            errors = np.square(estimator._outputs(X) - targets).mean(axis=1)
            return -float(np.average(errors, weights=weights))

        return minus_mean_squared_error


@dataclass(frozen=True)
class FormerScale:
    """What a fit that continues another one takes over.

    Attributes
    ----------
    scale : TargetScale
        Scale of the targets.
    loss : BaseRegressionLoss or None
        Loss as it is prepared already; None to prepare one anew.
    """

    scale: TargetScale
    loss: BaseRegressionLoss | None


@dataclass(frozen=True)
class ValueBalance(Balance):
    """Scale of the targets, and what each row weighs by the density of its targets.

    Attributes
    ----------
    scale : TargetScale
        Mean and standard deviation of each target.
    factor : ndarray of shape (n,) or None
        Factor of each row of ``X`` by the density of its targets.
    seen : ndarray of shape (2,)
        Number of rows so far, and their total weight.
    weights : RowWeights
        Weights of all rows of ``X``.
    loss : BaseRegressionLoss
        Prepared for the standardised targets.
    """

    scale: TargetScale
    factor: Floats | None
    seen: Floats
    weights: RowWeights
    loss: BaseRegressionLoss

    @classmethod
    def of(
        cls,
        split: Any,
        seen: Floats,
        loss: Any,
        density_weight: Any,
        dtype: str,
        *,
        former: FormerScale | None,
        by_stream: bool,
    ) -> ValueBalance:
        """Measure the targets of a split, weigh its rows, and prepare the loss for both.

        Parameters
        ----------
        split : TrainingSplit
            Targets are in their own units.
        seen : ndarray of shape (2,)
            Number of rows so far, and their total weight.
        loss, density_weight, dtype
            Parameters of the regressor.
        former : FormerScale or None
            What is taken over from the fit that this one continues.
        by_stream : bool
            Whether weights have mean 1 over all rows so far, of which the split is a part.

        Raises
        ------
        ValueError
            If a target is constant, or a parameter is invalid.
        """
        values, n_rows = split.targets, split.targets.shape[0]
        own = np.ones(n_rows) if split.sample_weight is None else split.sample_weight
        if former is None:
            scale = TargetScale.of(values[split.chosen], own[split.chosen])
        else:
            scale = former.scale
        factor = density_factor(density_weight, values, split.index, split.sample_weight)
        mean = None
        if by_stream and seen[1] != seen[0]:
            factor, mean = np.ones(n_rows), seen[1] / seen[0]
        weights = split.weigh_rows(dtype, factor, mean)
        if former is not None and former.loss is not None:
            prepared = former.loss
        else:
            prepared = as_regression_loss(loss)
            chosen = split.chosen
            prepared.prepare(
                scale.standardize(values)[chosen], None if weights is None else weights[chosen]
            )
        return cls(scale, factor, seen, RowWeights(weights, None), prepared)

    def weigh(self, split: Any, dtype: str, n_rows: int | None = None) -> RowWeights:
        """Standardise the targets of the split; return the weights, which the loss has seen."""
        split.targets = self.scale.standardize(split.targets)
        return self.weights

    def validation_weights(self, sample_weight: Floats | None, valid: Positions) -> Floats | None:
        """Weigh the validation rows by their density, as the training rows."""
        own = np.ones(len(valid)) if sample_weight is None else sample_weight[valid]
        return own if self.factor is None else own * self.factor[valid]

    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes that follow from the balance."""
        return {"_scale_": self.scale, "_seen_": self.seen}

    def check_double_correction(self, sampler: Any, class_weight: Any) -> None:
        """Do nothing: continuous targets have no class imbalance."""

    @property
    def initial_bias(self) -> Tensor | None:
        """Zeros: the means of the standardised targets."""
        return torch.zeros(len(self.scale.mean))
