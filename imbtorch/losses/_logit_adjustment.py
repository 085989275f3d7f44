"""Losses trained on logits shifted by the log class prior, read on the raw logits."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._numerics import cross_entropy_with_gradient
from imbtorch._sklearn import Interval
from imbtorch.losses._base import BaseLoss

__all__ = ["BalancedSoftmaxLoss", "LogitAdjustedLoss"]


class _PriorMixin:
    """Keep the log class prior that ``prepare`` has seen, as a buffer."""

    log_prior: Tensor | None

    def _prepare(self, class_counts: Tensor) -> None:
        # A class without rows would get a log prior of minus infinity. Half of the rarest class
        # that has rows is rarer than anything seen, and finite.
        rarest = class_counts[class_counts > 0].min()
        counts = class_counts.clamp_min(float(rarest) / 2)
        self.log_prior = (counts / counts.sum()).log()

    def _adjustment(self, logits: Tensor) -> Tensor:
        log_prior = self._prepared_log_prior()
        if len(log_prior) != logits.shape[1]:
            raise ValueError(
                f"{type(self).__name__} was prepared for {len(log_prior)} classes, but the logits "
                f"have {logits.shape[1]} columns."
            )
        return log_prior.to(logits.dtype)

    def _prepared_log_prior(self) -> Tensor:
        if self.log_prior is None:
            raise ValueError(
                f"{type(self).__name__} needs the class counts of the training data: call "
                "loss.prepare(class_counts) before using it."
            )
        return self.log_prior


class LogitAdjustedLoss(_PriorMixin, BaseLoss):
    r"""Cross-entropy on logits shifted by the log class prior.

    .. math:: \ell = -\log \frac{e^{z_t + \tau \log \pi_t}}{\sum_j e^{z_j + \tau \log \pi_j}}

    Trained with :math:`\tau = 1`, the raw logits minimise the *balanced* error, and
    :math:`\mathrm{softmax}(z + \log \pi)` is the posterior of the training population.
    ``tau=0`` is cross-entropy.

    Parameters
    ----------
    tau : float >= 0, default=1.0
        Strength of the adjustment.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target count for nothing.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

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

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        adjusted = logits + self.tau * self._adjustment(logits)
        return F.cross_entropy(adjusted, target, reduction="none")

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Softmax of the adjusted logits minus one-hot."""
        return cross_entropy_with_gradient(logits + self.tau * self._adjustment(logits), target)

    def log_prior_shift(self) -> Tensor | None:
        r"""Raw logits describe the training prior divided by :math:`\pi^\tau`."""
        return -self.tau * self._prepared_log_prior()


class BalancedSoftmaxLoss(_PriorMixin, BaseLoss):
    r"""Balanced softmax: cross-entropy on logits shifted by the log class counts.

    .. math:: \ell = -\log \frac{n_t e^{z_t}}{\sum_j n_j e^{z_j}}

    It equals :class:`LogitAdjustedLoss` with ``tau=1``; it has its own name because the long-tail
    literature uses it.

    Parameters
    ----------
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target count for nothing.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

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

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        return F.cross_entropy(logits + self._adjustment(logits), target, reduction="none")

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Softmax of the adjusted logits minus one-hot."""
        return cross_entropy_with_gradient(logits + self._adjustment(logits), target)

    def log_prior_shift(self) -> Tensor | None:
        r"""Raw logits describe the training prior divided by itself."""
        return -self._prepared_log_prior()
