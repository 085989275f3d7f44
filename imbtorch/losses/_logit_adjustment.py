"""Logit adjustment: trained on logits that the class prior changes, predicted from raw logits."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._adjusted import AdjustedLogitsMixin, PriorMixin
from imbtorch.losses._base import BaseLoss

__all__ = ["BalancedSoftmaxLoss", "CDTLoss", "LogitAdjustedLoss", "VSLoss"]


def _cross_entropy_of_labels(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    values = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return values, torch.sigmoid(logits) - target


class LogitAdjustedLoss(AdjustedLogitsMixin, PriorMixin, BaseLoss):
    r"""Cross-entropy on logits shifted by the log class prior.

    .. math:: \ell = -\log \frac{e^{z_t + \tau \log \pi_t}}{\sum_j e^{z_j + \tau \log \pi_j}}

    Trained with :math:`\tau = 1`, the raw logits minimise the *balanced* error, and
    :math:`\mathrm{softmax}(z + \log \pi)` is the posterior of the training population.
    ``tau=0`` is cross-entropy. In the sigmoid form each label is shifted by its own log-odds.
    Predictions are made from the raw logits.

    Parameters
    ----------
    tau : float >= 0, default=1.0
        Strength of the adjustment.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it first: it ranks as well as cross-entropy, favours no class, needs no search, and gives
    calibrated probabilities back. It is the default of the classifier. Its loss values are not
    comparable with those of cross-entropy; stop early on a metric.

    References
    ----------
    .. [1] Menon et al. (2021). "Long-tail learning via logit adjustment". :arxiv:`2007.07314`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import LogitAdjustedLoss
    >>> loss = LogitAdjustedLoss(tau=1.0).prepare([100, 20, 5])
    >>> round(loss(torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])).item(), 4)
    0.046
    """

    name = "logit_adjusted"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "tau": [Interval(Real, 0, None, closed="left")]
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"tau": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({"tau": 0.5}, {"tau": 1.0})

    def __init__(
        self,
        tau: float = 1.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("log_prior", None)
        self.tau = tau

    def _adjusted(self, logits: Tensor, target: Tensor) -> tuple[Tensor, None]:
        return logits + self.tau * self._class_log_prior(logits), None

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of shifted labels: ``(n, l), (n, l) -> (n, l)``."""
        return F.binary_cross_entropy_with_logits(self.log_odds(logits), target, reduction="none")

    def with_label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Probability of the shifted logit minus label."""
        return _cross_entropy_of_labels(self.log_odds(logits), target)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log-odds of each label, with the shift put back: ``(n, l) -> (n, l)``."""
        absent, present = self._label_log_prior(logits).unbind(1)
        return logits + self.tau * (present - absent)

    def log_prior_shift(self) -> Tensor | None:
        r"""Raw logits describe the training prior divided by :math:`\pi^\tau`."""
        return -self.tau * self._prepared_log_prior()


class BalancedSoftmaxLoss(AdjustedLogitsMixin, PriorMixin, BaseLoss):
    r"""Balanced softmax: cross-entropy on logits shifted by the log class counts.

    .. math:: \ell = -\log \frac{n_t e^{z_t}}{\sum_j n_j e^{z_j}}

    It equals :class:`LogitAdjustedLoss` with ``tau=1``; it has its own name because the long-tail
    literature uses it.

    Parameters
    ----------
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it as logit adjustment with nothing to tune; see :class:`LogitAdjustedLoss`.

    References
    ----------
    .. [1] Ren et al. (2020). "Balanced Meta-Softmax for Long-Tailed Visual Recognition".
           :arxiv:`2007.10740`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import BalancedSoftmaxLoss
    >>> loss = BalancedSoftmaxLoss().prepare([100, 20, 5])
    >>> round(loss(torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])).item(), 4)
    0.046
    """

    name = "balanced_softmax"

    def __init__(
        self, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("log_prior", None)

    def _adjusted(self, logits: Tensor, target: Tensor) -> tuple[Tensor, None]:
        return logits + self._class_log_prior(logits), None

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of shifted labels: ``(n, l), (n, l) -> (n, l)``."""
        return F.binary_cross_entropy_with_logits(self.log_odds(logits), target, reduction="none")

    def with_label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Probability of the shifted logit minus label."""
        return _cross_entropy_of_labels(self.log_odds(logits), target)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log-odds of each label, with the shift put back: ``(n, l) -> (n, l)``."""
        absent, present = self._label_log_prior(logits).unbind(1)
        return logits + present - absent

    def log_prior_shift(self) -> Tensor | None:
        r"""Raw logits describe the training prior divided by itself."""
        return -self._prepared_log_prior()


class CDTLoss(AdjustedLogitsMixin, PriorMixin, BaseLoss):
    r"""Class-dependent temperatures: the logits of rare classes are shrunk during training.

    .. math:: \ell = -\log \frac{e^{z_t / D_t}}{\sum_j e^{z_j / D_j}}, \qquad
        D_j = (n_{\max} / n_j)^\gamma

    To reach the same loss, the net must make the raw logits of rare classes larger. Labels are
    predicted from the raw logits; the posterior is softmax of the shrunk ones.

    Parameters
    ----------
    gamma : float >= 0, default=0.2
        Strength; the paper tunes 0 to 0.4.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it with deep nets on long-tailed images, where features of rare classes deviate between
    training and test; search ``gamma``.

    References
    ----------
    .. [1] Ye et al. (2020). "Identifying and Compensating for Feature Deviation in Imbalanced Deep
           Learning". :arxiv:`2001.01385`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import CDTLoss
    >>> loss = CDTLoss(gamma=0.3).prepare([100, 20, 5])
    >>> round(loss(torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])).item(), 4)
    0.2424
    """

    name = "cdt"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "gamma": [Interval(Real, 0, None, closed="left")]
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"gamma": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({"gamma": 0.2}, {"gamma": 0.4})

    def __init__(
        self,
        gamma: float = 0.2,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("log_prior", None)
        self.gamma = gamma

    def _adjusted(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        shrink = _inverse_temperature(self._class_log_prior(logits), self.gamma)
        return logits * shrink, shrink

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Softmax of the logits that the loss has seen."""
        shrink = _inverse_temperature(self._class_log_prior(logits), self.gamma)
        return torch.log_softmax(logits * shrink, dim=1)

    def log_scores(self, logits: Tensor) -> Tensor:
        """Softmax of the raw logits, as the paper predicts."""
        return torch.log_softmax(logits, dim=1)

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Logits that the temperatures shrink to the log prior."""
        return _unscaled(log_prior, _inverse_temperature(self._prepared_log_prior(), self.gamma))


class VSLoss(AdjustedLogitsMixin, PriorMixin, BaseLoss):
    r"""Vector scaling: temperatures and shifts of the logits at once.

    .. math:: \ell = -\log \frac{e^{z_t / D_t + \tau \log \pi_t}}
        {\sum_j e^{z_j / D_j + \tau \log \pi_j}}, \qquad D_j = (n_{\max} / n_j)^\gamma

    ``gamma=0`` is logit adjustment, ``tau=0`` is CDT. Labels are predicted from the raw logits; the
    posterior is softmax of the adjusted ones.

    Parameters
    ----------
    gamma : float >= 0, default=0.2
        Strength of the temperatures.
    tau : float >= 0, default=1.0
        Strength of the shifts.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it with nets that fit the training data perfectly, where shifts alone lose their effect
    late in training and temperatures do not; search ``gamma`` and ``tau``.

    References
    ----------
    .. [1] Kini et al. (2021). "Label-Imbalanced and Group-Sensitive Classification under
           Overparameterization". :arxiv:`2103.01550`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import VSLoss
    >>> loss = VSLoss(gamma=0.3).prepare([100, 20, 5])
    >>> round(loss(torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])).item(), 4)
    0.0405
    """

    name = "vs"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "gamma": [Interval(Real, 0, None, closed="left")],
        "tau": [Interval(Real, 0, None, closed="left")],
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"gamma": 0.0, "tau": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {"gamma": 0.3, "tau": 1.0},
        {"gamma": 0.2, "tau": 1.2},
    )

    def __init__(
        self,
        gamma: float = 0.2,
        tau: float = 1.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("log_prior", None)
        self.gamma = gamma
        self.tau = tau

    def _adjusted(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        log_prior = self._class_log_prior(logits)
        shrink = _inverse_temperature(log_prior, self.gamma)
        return torch.addcmul(self.tau * log_prior, logits, shrink), shrink

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Posterior of the population in which the shift has made all classes equally frequent."""
        shrink = _inverse_temperature(self._class_log_prior(logits), self.gamma)
        return torch.log_softmax(logits * shrink, dim=1)

    def log_scores(self, logits: Tensor) -> Tensor:
        """Softmax of the raw logits, as the paper predicts."""
        return torch.log_softmax(logits, dim=1)

    def log_prior_shift(self) -> Tensor | None:
        r"""Shrunk logits describe the training prior divided by :math:`\pi^\tau`."""
        return -self.tau * self._prepared_log_prior()

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Logits that temperatures and shifts turn into the log prior."""
        own = self._prepared_log_prior()
        return _unscaled(log_prior - self.tau * own, _inverse_temperature(own, self.gamma))


def _unscaled(adjusted: Tensor, shrink: Tensor) -> Tensor:
    """Shortest logits, ``(c,)``, that are shrunk to these, up to a constant.

    Raw logits decide, and a constant added to the shrunk ones changes the raw ones: the shortest
    are those that training from 0 would reach.
    """
    squares = shrink.square().reciprocal()
    return (adjusted - (squares * adjusted).sum() / squares.sum()) / shrink


def _inverse_temperature(log_prior: Tensor, gamma: Any) -> Tensor:
    """Compute ``(n_j / n_max)^gamma``, shape ``(c,)``."""
    return torch.exp(gamma * (log_prior - log_prior.amax(dim=-1)))
