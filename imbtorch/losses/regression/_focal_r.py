"""Focal-R: errors weighted by their own size."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from imbtorch._common.sklearn_private import Interval, StrOptions
from imbtorch.losses.regression._base import BaseRegressionLoss

__all__ = ["FocalRLoss"]


class FocalRLoss(BaseRegressionLoss):
    r"""Focal-R: the error of a row counts the more, the larger it is.

    .. math:: \ell = |e|^b \, a(\beta |e|)^\gamma, \qquad e = \hat y - y

    with :math:`b` 1 or 2 and :math:`a(x)` either :math:`2 \sigma(x) - 1 = \tanh(x / 2)` or
    :math:`\tanh x`.

    Parameters
    ----------
    beta : float > 0, default=0.2
        Errors well above ``1 / beta`` count fully.
    gamma : float >= 0, default=1.0
        How fast small errors fade out; 0 is the base loss.
    activation : {"sigmoid", "tanh"}, default="sigmoid"
        The form of :math:`a`.
    base : {"l1", "mse"}, default="l1"
        Absolute or squared error.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseRegressionLoss`.

    Notes
    -----
    Use it as a simple remedy that needs no density: rare targets have large errors. Outliers have
    them too, and get more weight; with noisy targets prefer weights by density. With the default
    ``beta`` and standardised targets it is nearly quadratic.

    References
    ----------
    .. [1] Yang et al. (2021). "Delving into Deep Imbalanced Regression". :arxiv:`2102.09554`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses.regression import FocalRLoss
    >>> loss = FocalRLoss(activation="tanh")
    >>> [round(loss(torch.tensor([e]), torch.zeros(1)).item(), 4) for e in (0.5, 5.0)]
    [0.0498, 3.808]
    """

    name = "focal_r"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "beta": [Interval(Real, 0, None, closed="neither")],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "activation": [StrOptions({"sigmoid", "tanh"})],
        "base": [StrOptions({"l1", "mse"})],
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"gamma": 0.0}
    _neutral_of: ClassVar[tuple[type[nn.Module], float]] = (nn.L1Loss, 1.0)
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"activation": "tanh", "gamma": 0.5, "beta": 1.0},
        {"base": "mse", "gamma": 2.0},
    )

    def __init__(
        self,
        beta: float = 0.2,
        gamma: float = 1.0,
        activation: str = "sigmoid",
        base: str = "l1",
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.beta = beta
        self.gamma = gamma
        self.activation = activation
        self.base = base

    def per_output(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Loss of each element: ``(n, k), (n, k) -> (n, k)``."""
        size = (prediction - target).abs()
        scale = self.beta if self.activation == "tanh" else self.beta / 2
        # a power below 1 has an infinite slope at 0, and 0 times it is NaN
        modulator = torch.tanh(scale * size).clamp_min(torch.finfo(size.dtype).tiny) ** self.gamma
        return modulator * (size if self.base == "l1" else size.square())
