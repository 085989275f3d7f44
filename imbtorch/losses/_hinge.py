"""Hinge losses: a margin between raw logits, without probabilities."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from imbtorch.losses._base import BaseLoss
from imbtorch.losses._log_space import pick

__all__ = ["CrammerSingerLoss", "HingeLoss", "SquaredHingeLoss"]


def _violations(logits: Tensor, target: Tensor) -> Tensor:
    """``max(0, 1 - z_t + z_j)`` for every other class, 0 for the true one: ``(n, c)``."""
    index = target.unsqueeze(1)
    return torch.relu(1 + logits - logits.gather(1, index)).scatter(1, index, 0)


def _balanced(slopes: Tensor, target: Tensor) -> Tensor:
    """Gradient whose row sums are 0, from the slopes of the other classes."""
    return slopes.scatter(1, target.unsqueeze(1), -slopes.sum(dim=1, keepdim=True))


class HingeLoss(BaseLoss):
    r"""Hinge loss: the one of Weston and Watkins for classes, the usual one for labels.

    .. math:: \ell = \frac{1}{c} \sum_{j \ne t} \max(0, 1 - z_t + z_j)

    As ``torch.nn.MultiMarginLoss``. In the sigmoid form each label has
    :math:`\max(0, 1 - s z)` with :math:`s = \pm 1`.

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
    Use it for decisions rather than probabilities: rows beyond the margin have no gradient. Combine
    it with class weights; for probabilities wrap the estimator in
    :class:`sklearn.calibration.CalibratedClassifierCV`.

    References
    ----------
    .. [1] Weston and Watkins (1999). "Support Vector Machines for Multi-Class Pattern
           Recognition". Proceedings of ESANN.
    .. [2] Cortes and Vapnik (1995). "Support-vector networks". :doi:`10.1007/BF00994018`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import HingeLoss
    >>> logits, target = torch.tensor([[2.0, 1.5, -1.0]]), torch.tensor([0])
    >>> round(HingeLoss()(logits, target).item(), 4)
    0.1667
    """

    name = "hinge"
    has_posterior = False

    def __init__(
        self, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        return _violations(logits, target).mean(dim=1)

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Binary hinge of each label: ``(n, l), (n, l) -> (n, l)``."""
        return torch.relu(1 - (2 * target - 1) * logits)

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Give each violated margin the same gradient."""
        violations = _violations(logits, target)
        slopes = (violations > 0).to(logits.dtype) / logits.shape[1]
        return violations.mean(dim=1), _balanced(slopes, target)


class SquaredHingeLoss(BaseLoss):
    r"""Squared hinge loss, a smooth relative of :class:`HingeLoss`.

    .. math:: \ell = \frac{1}{c} \sum_{j \ne t} \max(0, 1 - z_t + z_j)^2

    As ``torch.nn.MultiMarginLoss(p=2)``. In the sigmoid form each label has
    :math:`\max(0, 1 - s z)^2` with :math:`s = \pm 1`.

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
    Use it as :class:`HingeLoss` where a smooth loss trains better; the gradient of rows on the
    wrong side grows with their distance, so that outliers have the largest one.

    References
    ----------
    .. [1] Tang (2013). "Deep Learning using Linear Support Vector Machines". :arxiv:`1306.0239`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import SquaredHingeLoss
    >>> logits, target = torch.tensor([[2.0, 1.5, -1.0]]), torch.tensor([0])
    >>> round(SquaredHingeLoss()(logits, target).item(), 4)
    0.0833
    """

    name = "squared_hinge"
    has_posterior = False

    def __init__(
        self, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        return _violations(logits, target).square().mean(dim=1)

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Squared binary hinge of each label: ``(n, l), (n, l) -> (n, l)``."""
        return torch.relu(1 - (2 * target - 1) * logits).square()

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Give each violated margin a gradient in proportion to the violation."""
        violations = _violations(logits, target)
        slopes = violations * (2 / logits.shape[1])
        return violations.square().mean(dim=1), _balanced(slopes, target)


class CrammerSingerLoss(BaseLoss):
    r"""Multiclass hinge of Crammer and Singer: only the strongest rival counts.

    .. math:: \ell = \max(0, 1 - z_t + \max_{j \ne t} z_j)

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
    Use it instead of :class:`HingeLoss` with many classes, most of which are never confused.
    Combine it with class weights. With two classes it is the binary hinge of :math:`z_1 - z_0`.

    References
    ----------
    .. [1] Crammer and Singer (2001). "On the Algorithmic Implementation of Multiclass Kernel-based
           Vector Machines". :doi:`10.5555/944790.944813`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import CrammerSingerLoss
    >>> logits, target = torch.tensor([[2.0, 1.5, -1.0]]), torch.tensor([0])
    >>> CrammerSingerLoss()(logits, target).item()
    0.5
    """

    name = "crammer_singer"
    has_posterior = False
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def __init__(
        self, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        rival = logits.scatter(1, target.unsqueeze(1), float("-inf")).amax(dim=1)
        return torch.relu(1 - pick(logits, target) + rival)

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Share the gradient of the strongest rival among rivals of equal logits."""
        others = logits.scatter(1, target.unsqueeze(1), float("-inf"))
        rival = others.amax(dim=1, keepdim=True)
        values = torch.relu(1 - pick(logits, target) + rival.squeeze(1))
        ties = (others == rival).to(logits.dtype)
        active = (values > 0).to(logits.dtype).unsqueeze(1)
        return values, _balanced(active * ties / ties.sum(dim=1, keepdim=True), target)
