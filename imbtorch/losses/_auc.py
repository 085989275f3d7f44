"""Losses of ranking: the area under the ROC curve, whole or in part."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._top_ranking import _of_columns, _positives, _sum_by_column
from imbtorch.losses._whole_batch import WARMUP_CONSTRAINT, WholeBatchMixin, safe_ratio

__all__ = ["AUCMarginLoss", "PairwiseLogisticLoss", "PartialAUCLoss"]


def _mean_and_variance(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    mean = safe_ratio((weight * values).sum(0), weight.sum(0))
    return mean, safe_ratio((weight * (values - mean).square()).sum(0), weight.sum(0))


def _mean_pair_loss(scores: Tensor, positive_weight: Tensor, negative_weight: Tensor) -> Tensor:
    """Weighted mean of ``log(1 + exp(-(s_+ - s_-)))`` over the pairs of each column, ``(l,)``."""
    rows, columns = _positives(positive_weight)
    upper, upper_weight = scores[rows, columns], positive_weight[rows, columns]
    gaps = upper.unsqueeze(1) - _of_columns(scores, columns)  # [positive of a column, row]
    # no einsum: autocast would compute it in half precision
    losses = (-F.logsigmoid(gaps) * _of_columns(negative_weight, columns)).sum(1)
    n_columns = scores.shape[1]
    return safe_ratio(
        _sum_by_column(upper_weight * losses, columns, n_columns),
        _sum_by_column(upper_weight, columns, n_columns) * negative_weight.sum(0),
    )


class AUCMarginLoss(WholeBatchMixin, BaseLoss):
    r"""Squared surrogate of the AUC with a margin, its saddle point solved in closed form.

    .. math:: \ell = \mathrm{Var}_+ + \mathrm{Var}_- + \max(0, m + \mu_- - \mu_+)^2

    Means and variances are computed from the sigmoid scores of positives and of negatives. It needs
    neither auxiliary variables nor a special optimizer, and forms no pairs.

    Parameters
    ----------
    margin : float > 0, default=1.0
        :math:`m`, wanted distance of the mean scores.
    warmup_epochs : int >= 0, default=0
        Epochs of cross-entropy first; the estimator counts them, another training loop calls
        ``set_epoch``.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class; a factor common to all positives or negatives has no effect.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        Over the columns; ``"none"`` gives one value per column.

    Notes
    -----
    Use it to rank by the AUC, with batches that hold both classes. Row weights act in the means of
    their class, so that class weights cancel. A batch of one class has the value 0 and no gradient.
    Scores are not probabilities.

    References
    ----------
    .. [1] Yuan et al. (2021). "Large-scale Robust Deep AUC Maximization: A New Surrogate Loss and
           Empirical Studies on Medical Image Classification". :arxiv:`2012.03173`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import AUCMarginLoss
    >>> scores, target = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
    >>> round(AUCMarginLoss()(scores.logit(), target).item(), 5)
    0.52875
    """

    name = "auc_margin"
    _on_probabilities = True
    _compares = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "margin": [Interval(Real, 0, None, closed="neither")],
        **WARMUP_CONSTRAINT,
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"margin": 0.5})

    def __init__(
        self,
        margin: float = 1.0,
        warmup_epochs: int = 0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.margin = margin
        self.warmup_epochs = warmup_epochs

    def _column_values(self, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
        upper, spread_upper = _mean_and_variance(scores, weight * positive)
        lower, spread_lower = _mean_and_variance(scores, weight * (1 - positive))
        return spread_upper + spread_lower + torch.relu(self.margin + lower - upper).square()


class PairwiseLogisticLoss(WholeBatchMixin, BaseLoss):
    r"""Logistic loss of the pairs of a positive and a negative: a surrogate of the AUC.

    .. math:: \ell = \frac{1}{n_+ n_-} \sum_{i \in +} \sum_{j \in -}
        \log \left( 1 + e^{-(s_i - s_j)} \right)

    Time and memory grow with the positives of each column times all rows.

    Parameters
    ----------
    warmup_epochs : int >= 0, default=0
        Epochs of cross-entropy first; the estimator counts them, another training loop calls
        ``set_epoch``.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class; a factor common to all positives or negatives has no effect.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        Over the columns; ``"none"`` gives one value per column.

    Notes
    -----
    Use it to rank by the AUC where scores need not be bounded. The weight of a pair is the product
    of the weights of its rows, so that class weights cancel. A batch of one class has the value 0
    and no gradient. Scores are not probabilities.

    References
    ----------
    .. [1] Gao and Zhou (2015). "On the Consistency of AUC Pairwise Optimization".
           :arxiv:`1208.0645`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import PairwiseLogisticLoss
    >>> scores, target = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
    >>> round(PairwiseLogisticLoss()(scores, target).item(), 4)
    0.5527
    """

    name = "pairwise_logistic"
    _compares = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {**WARMUP_CONSTRAINT}

    def __init__(
        self,
        warmup_epochs: int = 0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.warmup_epochs = warmup_epochs

    def _column_values(self, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
        return _mean_pair_loss(scores, weight * positive, weight * (1 - positive))


class PartialAUCLoss(WholeBatchMixin, BaseLoss):
    r"""Pairwise logistic loss against the highest negatives: the AUC up to a false-positive rate.

    .. math:: \ell = \frac{1}{n_+ \, k} \sum_{i \in +} \sum_{j \in \mathrm{top}_k(-)}
        \log \left( 1 + e^{-(s_i - s_j)} \right), \qquad k = \mathrm{max\_fpr} \cdot n_-

    Where :math:`k` is not an integer, the last of the top negatives counts in part. With
    ``max_fpr=1`` it is :class:`PairwiseLogisticLoss`.

    Parameters
    ----------
    max_fpr : float in (0, 1], default=0.1
        False-positive budget.
    warmup_epochs : int >= 0, default=0
        Epochs of cross-entropy first; the estimator counts them, another training loop calls
        ``set_epoch``.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class; a factor common to all positives or negatives has no effect.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        Over the columns; ``"none"`` gives one value per column.

    Notes
    -----
    Use it where only a small rate of false alarms can be afforded. Weights of negatives divide the
    budget, weights of positives act in the mean, so that class weights cancel. A batch of one class
    has the value 0 and no gradient. Scores are not probabilities.

    References
    ----------
    .. [1] Narasimhan and Agarwal (2013). "A Structural SVM Based Approach for Optimizing Partial
           AUC". Proceedings of ICML.
    .. [2] Zhu et al. (2022). "When AUC meets DRO: Optimizing Partial AUC for Deep Learning with
           Non-Convex Convergence Guarantee". :arxiv:`2203.00176`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import PartialAUCLoss
    >>> scores, target = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
    >>> round(PartialAUCLoss(max_fpr=0.5)(scores, target).item(), 4)
    0.6157
    """

    name = "partial_auc"
    _compares = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_fpr": [Interval(Real, 0, 1, closed="right")],
        **WARMUP_CONSTRAINT,
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({"max_fpr": 0.3}, {"max_fpr": 1.0})

    def __init__(
        self,
        max_fpr: float = 0.1,
        warmup_epochs: int = 0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.max_fpr = max_fpr
        self.warmup_epochs = warmup_epochs

    def _column_values(self, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
        negative_weight = weight * (1 - positive)
        order = scores.detach().argsort(dim=0, descending=True, stable=True)
        sorted_weight = negative_weight.gather(0, order)
        spent = sorted_weight.cumsum(0) - sorted_weight
        budget = self.max_fpr * negative_weight.sum(0)
        taken = torch.minimum((budget - spent).clamp_min(0), sorted_weight)
        hardest = torch.zeros_like(taken).scatter(0, order, taken)
        return _mean_pair_loss(scores, weight * positive, hardest)
