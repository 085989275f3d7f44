"""The contract of a loss of continuous targets: one value per element, the rest is inherited."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imbtorch._common.registry import Registry
from imbtorch.losses._base import LossModule
from imbtorch.losses._shapes import reduce, row_weights, single_precision

__all__ = ["REGRESSION_LOSSES", "BaseRegressionLoss", "Floats", "check_pair"]

Floats = NDArray[np.float64]
REGRESSION_LOSSES: Registry[BaseRegressionLoss] = Registry(
    "regression loss",
    "give an elementwise module of torch",
    elsewhere={
        "absoluteerror": "l1",
        "l2": "mse",
        "mae": "l1",
        "meanabsoluteerror": "l1",
        "meansquarederror": "mse",
        "pinball": "quantile",
        "rmse": "mse",
        "smoothl1": "huber",
        "squarederror": "mse",
    },
)


class BaseRegressionLoss(LossModule):
    """Base class of the losses of continuous targets, with scikit-learn's parameters.

    A subclass writes ``per_output`` for two-dimensional predictions and targets. Vectors, row
    weights and reductions are handled here.

    Parameters
    ----------
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        ``"mean"`` divides the weighted sum by the number of elements, ``"weighted_mean"`` by the
        sum of their weights.

    Notes
    -----
    Subclasses set ``name`` (the key of the registry), ``_parameter_constraints``, ``_test_params``
    (settings that the common tests sweep), and ``_neutral_params`` with ``_neutral_of``: values at
    which the loss is ``_neutral_of[1]`` times torch's ``_neutral_of[0]`` (None: nowhere).

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses.regression import BaseRegressionLoss
    >>> class FourthPower(BaseRegressionLoss):
    ...     def per_output(self, prediction, target):
    ...         return (prediction - target) ** 4
    >>> FourthPower()(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    tensor(8.)
    """

    _registry: ClassVar[Registry[Any]] = REGRESSION_LOSSES
    _neutral_of: ClassVar[tuple[type[nn.Module], float]] = (nn.MSELoss, 1.0)

    # -- what a subclass writes ------------------------------------------------------------

    def per_output(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Loss of each element: ``(n, k), (n, k) -> (n, k)``."""
        raise NotImplementedError(f"{type(self).__name__} has no value per element.")

    def _prepare(self, target: Floats, weight: Floats | None) -> None:
        """Learn what the loss needs, as buffers, from targets ``(n, k)`` and row weights."""

    @property
    def _takes_several_targets(self) -> bool:
        return True

    @property
    def sums_over_rows(self) -> bool:
        """Whether a batch's loss is a sum over rows; else a row's part depends on the others."""
        return True

    # -- what every loss inherits ----------------------------------------------------------

    def prepare(self, target: Any, weight: Any = None) -> BaseRegressionLoss:
        """Check the hyper-parameters and learn what the loss needs from the training targets.

        Parameters
        ----------
        target : array-like of shape (n,) or (n, k)
            Targets of the training rows, in the units in which the loss will see them.
        weight : array-like of shape (n,), optional
            Row weights.

        Returns
        -------
        BaseRegressionLoss
            The loss itself.

        Raises
        ------
        ValueError
            If a hyper-parameter is out of range, or targets or weights are not usable numbers.
        """
        self._validate_parameters()
        values = np.asarray(target, dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or not values.size or not np.isfinite(values).all():
            raise ValueError(
                "target must be finite numbers of shape (n,) or (n, k), with at least one row; "
                f"got shape {np.shape(target)}."
            )
        self._prepare(values, None if weight is None else _check_weight(weight, len(values)))
        self._move_buffers_home()
        return self

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Reduce the loss over rows and outputs.

        Parameters
        ----------
        prediction : Tensor of shape (n,) or (n, k)
            Outputs of a module.
        target : Tensor of the shape of ``prediction``
            Floating point numbers.
        weight : Tensor of shape (n,), of the shape of ``target``, or a scalar, optional
            Row weights, as given.

        Returns
        -------
        Tensor
            A scalar, or a tensor of the target's shape with ``reduction="none"``.

        Raises
        ------
        ValueError
            If the shapes differ or the target is not of floats.
        """
        prediction, target = check_pair(prediction, target)
        shape = target.shape
        n_columns = 1 if len(shape) == 1 else shape[1]
        columns = (values.reshape(shape[0], n_columns) for values in (prediction, target))
        values = self.per_output(*columns).reshape(shape)
        weights = torch.ones_like(values)
        if weight is not None:
            weights = weights * row_weights(weight, target).to(values.dtype)
        return reduce(values * weights, weights, values.numel(), self.reduction)

    # -- what the training loop calls --------------------------------------------------------

    def batch_loss(self, prediction: Tensor, target: Tensor, share: Tensor) -> Tensor:
        """Loss of a batch, a scalar: means over the outputs of a row, times its share, summed.

        Parameters
        ----------
        prediction, target : Tensor of shape (n, k)
            Outputs of the module, and what they should be.
        share : Tensor of shape (n,)
            Row weights divided by n.
        """
        rows = self.per_output(single_precision(prediction), target).mean(dim=1)
        return torch.dot(rows.to(share.dtype), share)


def check_pair(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Require equal shapes and float targets; raise half precision to single.

    Broadcasting ``(n, 1)`` against ``(n,)`` would compare each prediction with every target.
    """
    if prediction.shape != target.shape or prediction.ndim not in (1, 2):
        raise ValueError(
            f"prediction of shape {tuple(prediction.shape)} needs a target of the same shape, (n,) "
            f"or (n, k); got {tuple(target.shape)}. Nothing is broadcast: reshape one of them."
        )
    if not target.is_floating_point():
        raise ValueError(
            f"Targets must be floating point numbers; got dtype {target.dtype}. Use target.float()."
        )
    prediction = single_precision(prediction)
    return prediction, target.to(prediction.dtype)


def _check_weight(weight: Any, n_rows: int) -> Floats:
    weights: Floats = np.asarray(weight, dtype=np.float64)
    valid = weights.shape == (n_rows,) and np.isfinite(weights).all() and (weights >= 0).all()
    if not valid or not weights.any():
        raise ValueError(
            f"weight must be {n_rows} finite numbers >= 0, one per row and not all 0; got shape "
            f"{weights.shape}."
        )
    return weights
