"""The classical losses of continuous targets: squared, absolute, Huber and pinball."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

from torch import Tensor, nn

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses.regression._base import BaseRegressionLoss

__all__ = ["HuberLoss", "L1Loss", "MSELoss", "QuantileLoss"]


class MSELoss(BaseRegressionLoss):
    r"""Squared error; the prediction is the conditional mean.

    .. math:: \ell = (\hat y - y)^2

    Parameters
    ----------
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseRegressionLoss`.

    Notes
    -----
    Use it unless there is a reason not to. Where extreme targets are rare it predicts too close to
    the mean of the others; weights by density and :class:`BalancedMSELoss` act against that.

    References
    ----------
    .. [1] Gneiting (2011). "Making and Evaluating Point Forecasts".
           :doi:`10.1198/jasa.2011.r10138`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses.regression import MSELoss
    >>> MSELoss()(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0])).item()
    0.5
    """

    name = "mse"
    _neutral_params: ClassVar[dict[str, Any] | None] = {}

    def per_output(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Loss of each element: ``(n, k), (n, k) -> (n, k)``."""
        return (prediction - target).square()


class L1Loss(BaseRegressionLoss):
    r"""Absolute error; the prediction is the conditional median.

    .. math:: \ell = |\hat y - y|

    Parameters
    ----------
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseRegressionLoss`.

    Notes
    -----
    Use it where some targets are wrong or the score is an absolute error. Rare extremes have less
    influence than with the squared error.

    References
    ----------
    .. [1] Gneiting (2011). "Making and Evaluating Point Forecasts".
           :doi:`10.1198/jasa.2011.r10138`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses.regression import L1Loss
    >>> L1Loss()(torch.tensor([0.0, 2.0]), torch.tensor([3.0, 2.0])).item()
    1.5
    """

    name = "l1"
    _neutral_params: ClassVar[dict[str, Any] | None] = {}
    _neutral_of: ClassVar[tuple[type[nn.Module], float]] = (nn.L1Loss, 1.0)

    def per_output(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Loss of each element: ``(n, k), (n, k) -> (n, k)``."""
        return (prediction - target).abs()


class HuberLoss(BaseRegressionLoss):
    r"""Huber loss: squared for small errors, absolute for large ones.

    .. math:: \ell = \begin{cases} e^2 / 2 & |e| \le \delta \\
        \delta (|e| - \delta / 2) & |e| > \delta \end{cases}, \qquad e = \hat y - y

    Parameters
    ----------
    delta : float > 0, default=1.0
        Error at which the form changes, in units of the target that the loss sees.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseRegressionLoss`.

    Notes
    -----
    Use it where heavy tails make training with the squared error unstable. Half the squared error
    for a large ``delta``.

    References
    ----------
    .. [1] Huber (1964). "Robust Estimation of a Location Parameter".
           :doi:`10.1214/aoms/1177703732`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses.regression import HuberLoss
    >>> HuberLoss(reduction="none")(torch.tensor([1.0, 3.0]), torch.zeros(2)).tolist()
    [0.5, 2.5]
    """

    name = "huber"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "delta": [Interval(Real, 0, None, closed="neither")]
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"delta": 1e9}
    _neutral_of: ClassVar[tuple[type[nn.Module], float]] = (nn.MSELoss, 0.5)
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({"delta": 1.0}, {"delta": 0.3})

    def __init__(self, delta: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def per_output(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Loss of each element: ``(n, k), (n, k) -> (n, k)``."""
        size = (prediction - target).abs()
        clipped = size.clamp(max=self.delta)
        return clipped * (size - clipped / 2)


class QuantileLoss(BaseRegressionLoss):
    r"""Pinball loss; the prediction is a conditional quantile.

    .. math:: \ell = \max\bigl(q\, (y - \hat y),\; (q - 1)(y - \hat y)\bigr)

    Parameters
    ----------
    q : float in (0, 1), default=0.5
        Which quantile; 0.5 is half the absolute error.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseRegressionLoss`.

    Notes
    -----
    Use it for prediction intervals, and where too low costs more than too high. The quantile is the
    one of the training rows *as weighted*.

    References
    ----------
    .. [1] Koenker & Bassett (1978). "Regression Quantiles". :doi:`10.2307/1913643`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses.regression import QuantileLoss
    >>> loss = QuantileLoss(0.75, reduction="none")
    >>> loss(torch.tensor([0.0, 2.0]), torch.ones(2)).tolist()
    [0.75, 0.25]
    """

    name = "quantile"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "q": [Interval(Real, 0, 1, closed="neither")]
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"q": 0.5}
    _neutral_of: ClassVar[tuple[type[nn.Module], float]] = (nn.L1Loss, 0.5)
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({"q": 0.1}, {"q": 0.9})

    def __init__(self, q: float = 0.5, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.q = q

    def per_output(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Loss of each element: ``(n, k), (n, k) -> (n, k)``."""
        error = target - prediction
        return error.abs() / 2 + (self.q - 0.5) * error
