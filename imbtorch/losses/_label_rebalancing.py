"""Rebalanced labels: terms are weighted by how rare a label is."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._adjusted import check_labels, label_log_prior, not_prepared
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._one_vs_rest import OneVsRestMixin

__all__ = ["DistributionBalancedLoss", "SigmoidEqualizationLoss"]


class DistributionBalancedLoss(OneVsRestMixin, BaseLoss):
    r"""Distribution-balanced loss: it corrects for labels that occur together.

    .. math:: \ell = \hat r \left[ y \, \zeta(-(z - \nu)) + \frac{1 - y}{\lambda}
        \zeta(\lambda (z - \nu)) \right], \quad
        \hat r = \alpha + \sigma(\beta (r - \mu)), \quad
        r_c = \frac{1 / n_c}{\sum_{j: y_j = 1} 1 / n_j}, \quad
        \nu_c = \frac{\kappa}{\lambda} \log \left( \frac{N}{n_c} - 1 \right)

    with softplus :math:`\zeta` and sigmoid :math:`\sigma`. :math:`r` corrects for a sampler that
    repeats rows of rare labels, and with them the other labels of these rows; :math:`\nu` and
    :math:`\lambda` reduce the gradient of negatives that are low enough. With ``gamma`` the terms
    are weighted as in focal loss.

    Parameters
    ----------
    alpha : float >= 0, default=0.1
        :math:`\alpha`, floor of the weights.
    beta : float > 0, default=10.0
        :math:`\beta`, steepness of the weights.
    mu : float, default=0.2
        :math:`\mu`, where the weights rise; 0.3 for data with fewer labels per row.
    negative_scale : float > 0, default=2.0
        :math:`\lambda`; 5 for data with fewer labels per row.
    bias : float >= 0, default=0.05
        :math:`\kappa`, strength of the shift :math:`\nu` of rare labels.
    gamma : float >= 0, default=0.0
        Focusing, as in focal loss; 0 is none. The authors also double the loss where it is used.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per label, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it for long-tailed multi-label data together with a sampler that repeats rows of rare
    labels. Rows without labels get the largest weights. It has no posterior.

    References
    ----------
    .. [1] Wu et al. (2020). "Distribution-Balanced Loss for Multi-Label Classification in
           Long-Tailed Datasets". :arxiv:`2007.09654`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import DistributionBalancedLoss
    >>> loss = DistributionBalancedLoss().prepare([[4, 6], [7, 3], [9, 1]])
    >>> round(loss(torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[1.0, 0.0, 0.0]])).item(), 4)
    0.3433
    """

    name = "distribution_balanced"
    has_posterior = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="neither")],
        "mu": [Interval(Real, None, None, closed="neither")],
        "negative_scale": [Interval(Real, 0, None, closed="neither")],
        "bias": [Interval(Real, 0, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="left")],
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"mu": 0.3, "negative_scale": 5.0},
        {"gamma": 2.0},
    )

    rarity: Tensor | None
    log_odds_against: Tensor | None

    def __init__(
        self,
        alpha: float = 0.1,
        beta: float = 10.0,
        mu: float = 0.2,
        negative_scale: float = 2.0,
        bias: float = 0.05,
        gamma: float = 0.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("rarity", None)
        self.register_buffer("log_odds_against", None)
        self.alpha = alpha
        self.beta = beta
        self.mu = mu
        self.negative_scale = negative_scale
        self.bias = bias
        self.gamma = gamma

    def _prepare(self, class_counts: Tensor) -> None:
        absent, present = label_log_prior(class_counts).unbind(1)
        self.rarity = torch.exp(-present)
        self.log_odds_against = absent - present

    def _terms(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weight of each term, signed shifted logit, and its sign times scale, all ``(n, l)``."""
        rarity, against = self.rarity, self.log_odds_against
        if rarity is None or against is None:
            raise ValueError(not_prepared(self))
        check_labels(self, len(rarity), logits)
        rarity, against = rarity.to(logits.dtype), against.to(logits.dtype)
        together = (target * rarity).sum(dim=1, keepdim=True)
        share = rarity / together.clamp_min(torch.finfo(logits.dtype).tiny)
        rebalance = share.sub(self.mu).mul(self.beta).sigmoid().add(self.alpha)
        shifted = logits - against.mul(self.bias / self.negative_scale)
        slope = target.mul(-1 - self.negative_scale).add(self.negative_scale)
        return rebalance / slope.abs(), slope * shifted, slope

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each label: ``(n, l), (n, l) -> (n, l)``."""
        factor, signed, _ = self._terms(logits, target)
        return factor * torch.exp(self.gamma * F.logsigmoid(signed)) * -F.logsigmoid(-signed)

    def _label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        factor, signed, slope = self._terms(logits, target)
        loss = -F.logsigmoid(-signed)
        if not isinstance(self.gamma, Tensor) and self.gamma == 0:  # the same, computed faster
            return factor * loss, factor * slope * torch.sigmoid(signed)
        minus_log_rest = -F.logsigmoid(signed)
        fade, p = torch.exp(-self.gamma * minus_log_rest), torch.exp(-loss)
        # d/ds of (1 - p)^gamma * softplus(s), with 1 - p = sigmoid(s)
        derivative = fade * (self.gamma * p * loss + torch.exp(-minus_log_rest))
        return factor * fade * loss, factor * derivative * slope


class SigmoidEqualizationLoss(OneVsRestMixin, BaseLoss):
    r"""Sigmoid equalization loss: rows of other labels do not push down the rare ones.

    .. math:: \ell_c = \left( 1 - E \, [f_c < \lambda] \, (1 - y_c) \right) \mathrm{BCE}_c

    where :math:`f_c` is the share of rows with label c, and :math:`E` is 0 for rows without any
    label, which push all labels down.

    Parameters
    ----------
    threshold : float in [0, 1], default=0.00177
        :math:`\lambda`: labels of a smaller share of the rows are rare. The default is made for the
        LVIS data.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per label, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it with hundreds of labels or classes in one-against-the-rest form: set ``threshold``
    between head and tail. One label alone is plain cross-entropy: its negatives are rows without
    any label. It has no posterior.

    References
    ----------
    .. [1] Tan et al. (2020). "Equalization Loss for Long-Tailed Object Recognition".
           :arxiv:`2003.05176`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import SigmoidEqualizationLoss
    >>> loss = SigmoidEqualizationLoss(threshold=0.2, reduction="none")
    >>> loss = loss.prepare([[4, 6], [7, 3], [9, 1]])
    >>> target = torch.tensor([[1.0, 0.0, 0.0]])
    >>> print(loss(torch.tensor([[1.0, -2.0, 0.5]]), target))
    tensor([[0.3133, 0.1269, 0.0000]])
    """

    name = "sigmoid_equalization"
    has_posterior = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "threshold": [Interval(Real, 0, 1, closed="both")]
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"threshold": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({"threshold": 0.1}, {"threshold": 0.3})

    label_share: Tensor | None

    def __init__(
        self,
        threshold: float = 0.00177,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("label_share", None)
        self.threshold = threshold

    def _prepare(self, class_counts: Tensor) -> None:
        self.label_share = label_log_prior(class_counts)[:, 1].exp()

    def _label_share(self, logits: Tensor) -> Tensor:
        if self.label_share is None:
            raise ValueError(not_prepared(self))
        check_labels(self, len(self.label_share), logits)
        return self.label_share.to(logits.dtype)

    def _factor(self, logits: Tensor, target: Tensor) -> Tensor:
        rare = (self._label_share(logits) < self.threshold).to(logits.dtype)
        labelled = target.amax(dim=1, keepdim=True)
        return 1 - labelled * rare * (1 - target)

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each label: ``(n, l), (n, l) -> (n, l)``."""
        values = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return self._factor(logits, target) * values

    def _label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        factor = self._factor(logits, target)
        sign = 1 - 2 * target
        signed = sign * logits
        return -factor * F.logsigmoid(-signed), factor * sign * torch.sigmoid(signed)
