"""Losses of overlap: soft F-measures and Tversky indices of a batch."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._whole_batch import WARMUP_CONSTRAINT, WholeBatchMixin, safe_ratio

__all__ = ["FocalTverskyLoss", "SoftFbetaLoss", "TverskyLoss"]


def _counts(proba: Tensor, positive: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Soft true positives, false positives and false negatives of each column, ``(l,)``."""
    hits = weight * proba * positive
    true_positives = hits.sum(0)
    false_positives = (weight * proba * (1 - positive)).sum(0)
    return true_positives, false_positives, (weight * positive).sum(0) - true_positives


def _tversky(tp: Tensor, fp: Tensor, fn: Tensor, prices: tuple[Any, Any], smooth: Any) -> Tensor:
    """One minus the Tversky index, ``(l,)``, for the prices of false positives and negatives."""
    errors = prices[0] * fp + prices[1] * fn
    return safe_ratio(errors, tp + errors + smooth)


class SoftFbetaLoss(WholeBatchMixin, BaseLoss):
    r"""One minus the F-measure of a batch, with probabilities in place of decisions.

    .. math:: \ell = 1 - \frac{(1 + \beta^2) \, tp + s}
        {(1 + \beta^2) \, tp + \beta^2 fn + fp + s}

    with :math:`tp = \sum_i w_i p_i y_i` and so on. ``beta=1`` is the Dice loss. Columns are classes
    or labels, averaged (macro).

    Parameters
    ----------
    beta : float > 0, default=1.0
        Weight of recall against precision.
    smooth : float >= 0, default=0.0
        :math:`s`, added to numerator and denominator.
    warmup_epochs : int >= 0, default=0
        Epochs of cross-entropy first; the estimator counts them, another training loop calls
        ``set_epoch``.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        Over the columns; ``"none"`` gives one value per column.

    Notes
    -----
    Use it to train for F at a threshold of one half, with batches that hold several positives.
    Weights act inside the counts: a row of weight 2 counts like two rows. A batch without positives
    has no F-measure: its value is 0, without gradient. It has no posterior.

    References
    ----------
    .. [1] Milletari et al. (2016). "V-Net: Fully Convolutional Neural Networks for Volumetric
           Medical Image Segmentation". :arxiv:`1606.04797`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import SoftFbetaLoss
    >>> logits, target = torch.tensor([-2.0, -0.5, 0.0, 1.5, 3.0]), torch.tensor([0, 1, 1, 0, 1])
    >>> round(SoftFbetaLoss()(logits, target).item(), 4)
    0.3653
    """

    name = "soft_fbeta"
    _on_probabilities = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "beta": [Interval(Real, 0, None, closed="neither")],
        "smooth": [Interval(Real, 0, None, closed="left")],
        **WARMUP_CONSTRAINT,
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"beta": 2.0, "smooth": 1.0})

    def __init__(
        self,
        beta: float = 1.0,
        smooth: float = 0.0,
        warmup_epochs: int = 0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.beta = beta
        self.smooth = smooth
        self.warmup_epochs = warmup_epochs

    def _column_values(self, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
        tp, fp, fn = _counts(scores, positive, weight)
        squared = self.beta**2
        errors = squared * fn + fp
        return safe_ratio(errors, (1 + squared) * tp + errors + self.smooth)


class TverskyLoss(WholeBatchMixin, BaseLoss):
    r"""One minus the Tversky index of a batch: false positives and negatives have prices.

    .. math:: \ell = 1 - \frac{tp + s}{tp + \alpha \, fp + \beta \, fn + s}

    ``alpha = beta = 0.5`` is the Dice loss.

    Parameters
    ----------
    alpha : float >= 0, default=0.3
        Price of false positives.
    beta : float > 0, default=0.7
        Price of false negatives.
    smooth : float >= 0, default=0.0
        :math:`s`, added to numerator and denominator.
    warmup_epochs : int >= 0, default=0
        Epochs of cross-entropy first; the estimator counts them, another training loop calls
        ``set_epoch``.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        Over the columns; ``"none"`` gives one value per column.

    Notes
    -----
    Use it like :class:`SoftFbetaLoss`, with the same counts, where misses cost more than false
    alarms. Weights act inside the counts; a batch without positives has the value 0 and no
    gradient. It has no posterior.

    References
    ----------
    .. [1] Salehi et al. (2017). "Tversky loss function for image segmentation using 3D fully
           convolutional deep networks". :arxiv:`1706.05721`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import TverskyLoss
    >>> logits, target = torch.tensor([-2.0, -0.5, 0.0, 1.5, 3.0]), torch.tensor([0, 1, 1, 0, 1])
    >>> round(TverskyLoss()(logits, target).item(), 4)
    0.3754
    """

    name = "tversky"
    _on_probabilities = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="neither")],
        "smooth": [Interval(Real, 0, None, closed="left")],
        **WARMUP_CONSTRAINT,
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"alpha": 0.5, "beta": 0.5})

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 0.0,
        warmup_epochs: int = 0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth
        self.warmup_epochs = warmup_epochs

    def _column_values(self, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
        counts = _counts(scores, positive, weight)
        return _tversky(*counts, (self.alpha, self.beta), self.smooth)


class FocalTverskyLoss(WholeBatchMixin, BaseLoss):
    r"""Tversky loss to a power, which gives columns of little overlap more or less weight.

    .. math:: \ell = \left( 1 - \frac{tp + s}{tp + \alpha \, fp + \beta \, fn + s}
        \right)^\gamma

    Parameters
    ----------
    alpha : float >= 0, default=0.3
        Price of false positives.
    beta : float > 0, default=0.7
        Price of false negatives.
    gamma : float > 0, default=0.75
        Power. The paper writes :math:`1 / \gamma` for it, and recommends 3/4.
    smooth : float >= 0, default=0.0
        :math:`s`, added to numerator and denominator.
    warmup_epochs : int >= 0, default=0
        Epochs of cross-entropy first; the estimator counts them, another training loop calls
        ``set_epoch``.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        Over the columns; ``"none"`` gives one value per column.

    Notes
    -----
    Use it with several classes or labels of unequal difficulty: with ``gamma < 1`` those that
    overlap well already keep a large gradient. Counts and weights are those of
    :class:`SoftFbetaLoss`; a batch without positives has the value 0 and no gradient. It has no
    posterior.

    References
    ----------
    .. [1] Abraham and Khan (2019). "A Novel Focal Tversky Loss Function With Improved Attention
           U-Net for Lesion Segmentation". :arxiv:`1810.07842`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import FocalTverskyLoss
    >>> logits, target = torch.tensor([-2.0, -0.5, 0.0, 1.5, 3.0]), torch.tensor([0, 1, 1, 0, 1])
    >>> round(FocalTverskyLoss()(logits, target).item(), 4)
    0.4796
    """

    name = "focal_tversky"
    _on_probabilities = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="neither")],
        "gamma": [Interval(Real, 0, None, closed="neither")],
        "smooth": [Interval(Real, 0, None, closed="left")],
        **WARMUP_CONSTRAINT,
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"gamma": 2.0, "smooth": 1.0})

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 0.75,
        smooth: float = 0.0,
        warmup_epochs: int = 0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.smooth = smooth
        self.warmup_epochs = warmup_epochs

    def _column_values(self, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
        counts = _counts(scores, positive, weight)
        loss = _tversky(*counts, (self.alpha, self.beta), self.smooth)
        # a power below 1 has no derivative at 0, where all is right already
        return loss.clamp_min(1e-12) ** self.gamma
