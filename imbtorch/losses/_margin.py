"""Margins and rivals: wider margins for rare classes, rivals that count less."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._adjusted import AdjustedLogitsMixin, PriorMixin
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._log_space import pick

__all__ = ["LDAMLoss", "SeesawLoss", "SoftmaxEqualizationLoss"]


class LDAMLoss(AdjustedLogitsMixin, PriorMixin, BaseLoss):
    r"""Label-distribution-aware margin loss: the rarer the class, the wider its margin.

    .. math:: \ell = -\log \frac{e^{s (z_t - \Delta_t)}}
        {e^{s (z_t - \Delta_t)} + \sum_{j \ne t} e^{s z_j}}, \qquad
        \Delta_j = \Delta_{\max} \left( \frac{n_{\min}}{n_j} \right)^{1/4}

    It is made for logits that are cosines, in [-1, 1]: give the net an
    :class:`imbtorch.CosineLinear` as its last layer, for instance ``MLP(head="cosine")``. With
    unbounded logits a net can avoid the margins by larger weights. Predictions are made from the
    raw logits, times ``scale``.

    Parameters
    ----------
    max_margin : float >= 0, default=0.5
        :math:`\Delta_{\max}`, margin of the rarest class.
    scale : float > 0, default=30.0
        :math:`s`, inverse temperature of the softmax.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it on long-tailed classes with a cosine head, with class weights that start late in
    training. Because of the margins it has no posterior.

    References
    ----------
    .. [1] Cao et al. (2019). "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
           Loss". :arxiv:`1906.07413`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import LDAMLoss
    >>> loss = LDAMLoss().prepare([100, 20, 5])
    >>> round(loss(torch.tensor([[0.05, -0.15, 0.4]]), torch.tensor([2])).item(), 4)
    4.5135
    """

    name = "ldam"
    has_posterior = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_margin": [Interval(Real, 0, None, closed="left")],
        "scale": [Interval(Real, 0, None, closed="neither")],
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"max_margin": 0.0, "scale": 1.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {"max_margin": 0.5, "scale": 30.0},
        {"max_margin": 0.3, "scale": 5.0},
    )

    def __init__(
        self,
        max_margin: float = 0.5,
        scale: float = 30.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("log_prior", None)
        self.max_margin = max_margin
        self.scale = scale

    def _adjusted(self, logits: Tensor, target: Tensor) -> tuple[Tensor, float]:
        log_prior = self._class_log_prior(logits)
        margin = self.max_margin * torch.exp((log_prior.amin() - log_prior) / 4)
        index = target.unsqueeze(1)
        lowered = logits.scatter_add(1, index, -margin.index_select(0, target).unsqueeze(1))
        return self.scale * lowered, self.scale

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Normalised scores: softmax of the raw logits, times the scale of the training."""
        return torch.log_softmax(self.scale * logits, dim=1)


class SoftmaxEqualizationLoss(AdjustedLogitsMixin, PriorMixin, BaseLoss):
    r"""Softmax equalization loss: rows of other classes do not push down the rare ones.

    .. math:: \ell = -\log \frac{e^{z_t}}{\sum_j w_{tj} e^{z_j}}, \qquad
        w_{tj} = 1 - \gamma \, [\pi_j < \lambda] \, [j \ne t]

    In place of :math:`\gamma` the paper draws 1 with probability :math:`\gamma`, else 0; here its
    mean stands in the formula, so that a loss has one value. For 0 and 1 the two are the same.

    Parameters
    ----------
    gamma : float in [0, 1], default=0.9
        Share of the gradient from rows of other classes that rare classes do not get.
    threshold : float in [0, 1], default=0.005
        :math:`\lambda`: classes of a smaller share of the rows are rare.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it with hundreds of classes, most of which are rare: set ``threshold`` between head and
    tail. With two classes it does little more than shift the rare one. Predictions are made from
    the raw logits.

    References
    ----------
    .. [1] Tan et al. (2020). "Equalization Loss for Long-Tailed Object Recognition".
           :arxiv:`2003.05176`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import SoftmaxEqualizationLoss
    >>> loss = SoftmaxEqualizationLoss(gamma=1.0, threshold=0.1).prepare([100, 20, 5])
    >>> round(loss(torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])).item(), 4)
    0.2014
    """

    name = "softmax_equalization"
    has_posterior = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "gamma": [Interval(Real, 0, 1, closed="both")],
        "threshold": [Interval(Real, 0, 1, closed="both")],
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"gamma": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {"gamma": 0.9, "threshold": 0.1},
        {"gamma": 1.0, "threshold": 0.2},
    )

    def __init__(
        self,
        gamma: float = 0.9,
        threshold: float = 0.005,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("log_prior", None)
        self.gamma = gamma
        self.threshold = threshold

    def _adjusted(self, logits: Tensor, target: Tensor) -> tuple[Tensor, None]:
        rare = (self._class_log_prior(logits).exp() < self.threshold).to(logits.dtype)
        index = target.unsqueeze(1)
        spared = logits + torch.log1p(-self.gamma * rare)
        return spared.scatter(1, index, logits.gather(1, index)), None


class SeesawLoss(AdjustedLogitsMixin, PriorMixin, BaseLoss):
    r"""Seesaw loss: rarer rivals are pushed down less, unless they are confused with the class.

    .. math:: \ell = -\log \frac{e^{z_t}}{\sum_j S_{tj} e^{z_j}}, \qquad
        S_{tj} = \min\left(1, \frac{n_j}{n_t}\right)^p
        \max\left(1, \frac{p_j}{\max(p_t, \epsilon)}\right)^q

    The factors :math:`S` pass no gradient. Counts are those of the training data, from ``prepare``;
    the authors' code accumulates them while it trains.

    Parameters
    ----------
    p : float >= 0, default=0.8
        Power of the mitigation by frequency.
    q : float >= 0, default=2.0
        Power of the compensation for confusion.
    epsilon : float > 0, default=0.01
        Floor of :math:`p_t` in the compensation.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it with many long-tailed classes, where plain logit adjustment gives too many false alarms
    for rare classes. Predictions are made from the raw logits; because of the compensation it has
    no posterior.

    References
    ----------
    .. [1] Wang et al. (2021). "Seesaw Loss for Long-Tailed Instance Segmentation".
           :arxiv:`2008.10032`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import SeesawLoss
    >>> loss = SeesawLoss().prepare([100, 20, 5])
    >>> round(loss(torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])).item(), 4)
    0.064
    """

    name = "seesaw"
    has_posterior = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "p": [Interval(Real, 0, None, closed="left")],
        "q": [Interval(Real, 0, None, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"p": 0.0, "q": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"p": 0.5, "q": 0.0})
    _gradcheck_params: ClassVar[dict[str, Any]] = {"q": 0.0}

    def __init__(
        self,
        p: float = 0.8,
        q: float = 2.0,
        epsilon: float = 0.01,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("log_prior", None)
        self.p = p
        self.q = q
        self.epsilon = epsilon

    def _adjusted(self, logits: Tensor, target: Tensor) -> tuple[Tensor, None]:
        log_prior = self._class_log_prior(logits)
        rarer = (log_prior - log_prior.index_select(0, target).unsqueeze(1)).clamp_max(0)
        log_proba = torch.log_softmax(logits.detach(), dim=1)
        floor = torch.log(torch.as_tensor(self.epsilon, dtype=logits.dtype, device=logits.device))
        true = torch.maximum(pick(log_proba, target), floor)
        confused = torch.relu(log_proba - true.unsqueeze(1))
        return logits + self.p * rarer + self.q * confused, None
