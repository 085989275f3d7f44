"""Losses for classes with an order."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._adjusted import cross_entropy_with_gradient
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._log_space import log_not_each

__all__ = ["OrdinalCDWLoss"]


class OrdinalCDWLoss(BaseLoss):
    r"""Class-distance weighted cross-entropy, for ordered classes.

    .. math:: \ell = -\sum_j |j - t|^\alpha \log(1 - p_j)

    Probability far from the true class costs more than probability next to it. Classes are ordered
    as their indices, unless ``set_class_order`` says otherwise. In an estimator it does for an
    ordered Categorical; numbers are in their own order, and words without an order are an error.

    Parameters
    ----------
    alpha : float > 0, default=2.0
        Power of the distance.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it for grades, stages and ratings, with class weights where the ends are rare; search
    ``alpha``. Its outputs are not probabilities. With two classes it is cross-entropy.

    References
    ----------
    .. [1] Polat et al. (2022). "Class Distance Weighted Cross-Entropy Loss for Ulcerative Colitis
           Severity Estimation". :arxiv:`2202.05167`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import OrdinalCDWLoss
    >>> logits, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])
    >>> round(OrdinalCDWLoss(alpha=2.0)(logits, target).item(), 4)
    0.3523
    """

    name = "ordinal_cdw"
    has_posterior = False
    _ordered_classes = True
    rank: Tensor | None
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [Interval(Real, 0, None, closed="neither")]
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({"alpha": 1.0}, {"alpha": 2.0})

    def __init__(
        self,
        alpha: float = 2.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.alpha = alpha
        self.register_buffer("rank", None)

    def set_class_order(self, rank: Any) -> None:
        """Say which place each class has in the order of the classes.

        Parameters
        ----------
        rank : array-like of int, shape (n_classes,)
            Place of each class, from 0.

        Examples
        --------
        >>> from imbtorch.losses import OrdinalCDWLoss
        >>> loss = OrdinalCDWLoss()
        >>> loss.set_class_order([2, 0, 1])  # of the classes "high", "low" and "medium"
        """
        self.rank = torch.as_tensor(rank, dtype=torch.int64, device=self._home.device)

    def _cost(self, logits: Tensor, target: Tensor) -> Tensor:
        """Distances to the power alpha, ``(n, c)``."""
        classes: Tensor = torch.arange(logits.shape[1], device=logits.device)
        if self.rank is not None:
            classes, target = self.rank, self.rank[target]
        distance = (classes - target.unsqueeze(1)).abs().to(logits.dtype)
        return distance**self.alpha

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        log_rest = log_not_each(torch.log_softmax(logits, dim=1))
        return -(self._cost(logits, target) * log_rest).sum(dim=1)

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Through the softmax; the ratio ``p_j / (1 - p_top)`` stays in log space."""
        if logits.shape[1] == 2:
            return cross_entropy_with_gradient(logits, target)
        log_p = torch.log_softmax(logits, dim=1)
        log_rest, cost = log_not_each(log_p), self._cost(logits, target)
        p, top = log_p.exp(), log_p.argmax(dim=1, keepdim=True)
        odds = (cost * torch.exp(log_p - log_rest)).scatter(1, top, 0)  # that of top overflows
        gradient = cost * p - p * (odds.sum(dim=1, keepdim=True) - odds)
        others = torch.exp(log_p - log_rest.gather(1, top)).scatter(1, top, 0)
        gradient -= cost.gather(1, top) * p.gather(1, top) * others
        return -(cost * log_rest).sum(dim=1), gradient
