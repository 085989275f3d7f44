"""Cross-entropy and losses that modulate it by the probability of the true class."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._numerics import cross_entropy_with_gradient, log_not_each, log_not_target, pick
from imbtorch._sklearn import Interval
from imbtorch.losses._base import BaseLoss

__all__ = ["CrossEntropyLoss", "FocalLoss"]

_LINK_STEPS = 60


class CrossEntropyLoss(BaseLoss):
    r"""Cross-entropy, with label smoothing that does not mix with class weights.

    .. math:: \ell = -(1 - \varepsilon) \log p_t - \frac{\varepsilon}{c} \sum_j \log p_j

    Weights multiply the smoothed value of a row. torch instead weighs each term of the smoothing
    sum by *its* class, so that a rare class's weight changes the smoothing of every row.

    Parameters
    ----------
    label_smoothing : float in [0, 1), default=0.0
        Share :math:`\varepsilon` of the target that is spread evenly over the classes.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target count for nothing.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    References
    ----------
    .. [1] Szegedy et al. (2016). "Rethinking the Inception Architecture for Computer Vision".
           :arxiv:`1512.00567`

    Examples
    --------
    Weights are used as given and the sum is divided by the number of rows (Chainer's and Keras's
    meaning), so that one row alone feels its weight:

    >>> import torch
    >>> from imbtorch.losses import CrossEntropyLoss
    >>> loss = CrossEntropyLoss(weight=[1, 2])
    >>> round(loss(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).item(), 4)
    2.6265
    """

    name = "cross_entropy"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "label_smoothing": [Interval(Real, 0, 1, closed="left")]
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"label_smoothing": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"label_smoothing": 0.1})

    def __init__(
        self,
        label_smoothing: float = 0.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.label_smoothing = label_smoothing

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        smoothing = self.label_smoothing
        if not isinstance(smoothing, Tensor):  # torch's kernel takes numbers only
            return F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)
        log_proba = torch.log_softmax(logits, dim=1)
        return (smoothing - 1) * pick(log_proba, target) - smoothing * log_proba.mean(dim=1)

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Softmax minus one-hot, without smoothing."""
        if self.label_smoothing != 0:
            return None
        return cross_entropy_with_gradient(logits, target)

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of each label: ``(n, l), (n, l) -> (n, l)``."""
        smoothed = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")

    def log_posterior(self, logits: Tensor) -> Tensor:
        r"""Undo the smoothing: :math:`\eta = (p - \varepsilon / c) / (1 - \varepsilon)`.

        Exact down to 1e-4. Below, the logarithm goes on with the slope of :math:`\log p`, so that
        scores under :math:`\varepsilon / c` keep their order instead of all becoming 0.
        """
        log_proba = torch.log_softmax(logits, dim=1)
        if self.label_smoothing == 0:
            return log_proba
        spread = self.label_smoothing / logits.shape[1]
        floor = 1e-4
        eta = (log_proba.exp() - spread) / (1 - self.label_smoothing)
        line = eta.clamp_min(floor).log()
        knee = math.log(spread + (1 - self.label_smoothing) * floor)
        tail = (log_proba - knee).clamp_max(0)
        return torch.log_softmax(line + tail, dim=1)

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Output bias whose smoothed prediction is the class prior."""
        spread = self.label_smoothing / len(log_prior)
        return ((1 - self.label_smoothing) * torch.softmax(log_prior, dim=0) + spread).log()


class FocalLoss(BaseLoss):
    r"""Focal loss: cross-entropy that fades out for rows already classified well.

    .. math:: \ell = -(1 - p_t)^\gamma \log p_t

    There is no hidden ``alpha``: weights of classes are ``class_weight`` of the estimator, or
    ``weight`` here. ``gamma=0`` is cross-entropy. The modulator is computed in log space, so value
    and gradient stay finite for every ``gamma >= 0`` also where :math:`p_t` rounds to 1.

    Parameters
    ----------
    gamma : float >= 0, default=2.0
        How fast well-classified rows fade out.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target count for nothing.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    References
    ----------
    .. [1] Lin et al. (2017). "Focal Loss for Dense Object Detection". :arxiv:`1708.02002`
    .. [2] Charoenphakdee et al. (2021). "On Focal Loss for Class-Posterior Probability
           Estimation: A Theoretical Perspective". :arxiv:`2011.09172` (the inverse link)

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import FocalLoss
    >>> logits, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])
    >>> [round(FocalLoss(gamma)(logits, target).item(), 4) for gamma in (0, 2)]
    [0.2413, 0.0111]
    """

    name = "focal"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "gamma": [Interval(Real, 0, None, closed="left")]
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"gamma": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({"gamma": 0.5}, {"gamma": 2.0})

    def __init__(
        self,
        gamma: float = 2.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.gamma = gamma

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        log_proba = torch.log_softmax(logits, dim=1)
        modulator = torch.exp(self.gamma * log_not_target(log_proba, target))
        return -modulator * pick(log_proba, target)

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Sigmoid focal loss of each label: ``(n, l), (n, l) -> (n, l)``."""
        margin = (2 * target - 1) * logits
        return -torch.exp(self.gamma * F.logsigmoid(-margin)) * F.logsigmoid(margin)

    def log_posterior(self, logits: Tensor) -> Tensor:
        r"""Inverse link of the focal loss.

        The risk minimiser :math:`q` is less confident than the posterior :math:`\eta`:
        :math:`\eta_j \propto q_j / \phi(q_j)` with
        :math:`\phi(q) = (1 - q)^\gamma - \gamma (1 - q)^{\gamma - 1} q \log q`.
        """
        log_q = torch.log_softmax(logits, dim=1)
        log_rest = log_not_each(log_q)
        # phi(q) = (1 - q)^gamma (1 + gamma r) with r = -q log q / (1 - q), which tends to 1 as
        # q does; its two forms below are exact where the other one divides 0 by 0.
        rest = log_rest.exp()
        tiny = torch.finfo(rest.dtype).eps
        small_rest = rest.clamp(tiny, 0.5)
        near_one = torch.where(
            rest < tiny, 1 - rest / 2, -(1 - small_rest) * torch.log1p(-small_rest) / small_rest
        )
        elsewhere = -log_q.exp() * log_q / rest.clamp_min(0.4)
        ratio = torch.where(rest < 0.45, near_one, elsewhere)
        return torch.log_softmax(
            log_q - self.gamma * log_rest - torch.log1p(self.gamma * ratio), dim=1
        )

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Output bias that minimises the focal loss of a net without inputs."""
        # The link has no closed form in this direction; its slope is at most 1 + gamma.
        target = torch.log_softmax(log_prior, dim=0)
        bias = target
        for _ in range(_LINK_STEPS):
            error = target - self.log_posterior(bias.unsqueeze(0)).squeeze(0)
            bias = bias + error / (1 + self.gamma)
        return bias
