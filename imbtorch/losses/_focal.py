"""Focal loss and its relatives: rows that are classified well count less."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._true_class import TrueClassMixin

__all__ = ["ClassBalancedLoss", "FocalLoss", "Poly1Loss"]


def _log_parts(margin: Tensor) -> tuple[Tensor, Tensor]:
    """Compute ``-log p`` and ``-log(1 - p)`` at this margin."""
    return -F.logsigmoid(margin), -F.logsigmoid(-margin)


def _log(beta: Any) -> Any:
    """Logarithm of a number or a tensor, minus infinity for 0."""
    if isinstance(beta, Tensor):
        return beta.log()
    return math.log(beta) if beta > 0 else -math.inf


def _relative_slope(margin: Tensor) -> Tensor:
    """``-p log p / (1 - p)``, which tends to 1 as p does."""
    small = torch.exp(-margin.abs())
    safe = small.clamp_min(torch.finfo(small.dtype).tiny)
    near_one = torch.where(small < torch.finfo(small.dtype).eps, 1, torch.log1p(safe) / safe)
    return torch.where(margin >= 0, near_one, small * (margin.abs() + torch.log1p(small)))


class _FocalForm(TrueClassMixin):
    gamma: float

    def _value(self, margin: Tensor) -> Tensor:
        loss, minus_log_rest = _log_parts(margin)
        return torch.exp(-self.gamma * minus_log_rest) * loss

    def _value_and_derivative(self, margin: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(self.gamma, Tensor) and self.gamma == 0:  # the same, computed faster
            return -F.logsigmoid(margin), -torch.sigmoid(-margin)
        loss, minus_log_rest = _log_parts(margin)
        modulator = torch.exp(-self.gamma * minus_log_rest)
        # (1 - p)^gamma (1 - p) (1 + gamma r), without the division in r
        slope = torch.addcmul(torch.sigmoid(-margin), torch.sigmoid(margin).mul_(self.gamma), loss)
        return modulator * loss, -modulator * slope

    def _log_slope(self, margin: Tensor) -> Tensor:
        _, minus_log_rest = _log_parts(margin)
        return torch.log1p(self.gamma * _relative_slope(margin)) - self.gamma * minus_log_rest


class FocalLoss(_FocalForm, BaseLoss):
    r"""Focal loss: cross-entropy in which rows that are classified well count less.

    .. math:: \ell = -(1 - p_t)^\gamma \log p_t

    There is no hidden ``alpha``: weights of classes are ``class_weight`` of the estimator, or
    ``weight`` here. ``gamma=0`` is cross-entropy. The modulator is computed in log space, so value
    and gradient stay finite for every ``gamma >= 0`` also where :math:`p_t` rounds to 1.

    Parameters
    ----------
    gamma : float >= 0, default=2.0
        How fast the weight of well-classified rows falls.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it where many easy negatives dominate the gradient; search ``gamma`` in 0 to 5 beside
    ``class_weight``. Its outputs are less extreme than probabilities; the inverse link gives the
    posterior back.

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


class ClassBalancedLoss(_FocalForm, BaseLoss):
    r"""Class-balanced loss: weights by the effective number of rows of a class.

    .. math:: \ell = -w_t (1 - p_t)^\gamma \log p_t, \qquad
        w_j \propto \frac{1 - \beta}{1 - \beta^{n_j}}, \quad \sum_j w_j = c

    The estimator's ``class_weight="effective_number"`` gives the same weights to *any* loss; this
    class is the paper's own combination. In the sigmoid form all terms of a row take the weight of
    its label, as in the authors' code: the mean weight where it has several, 1 where it has none.

    Parameters
    ----------
    beta : float in [0, 1), default=0.9999
        0 gives all classes the same weight; towards 1 the weights become inverse frequencies.
    gamma : float >= 0, default=0.0
        Focusing, as in focal loss; 0 is none.
    weight : array-like of shape (n_classes,) or None, default=None
        One more factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it to reproduce long-tail results, or where inverse frequencies are too strong for classes
    with few rows. The weights depend on the size of the data: twice as many rows of every class
    give other weights.

    References
    ----------
    .. [1] Cui et al. (2019). "Class-Balanced Loss Based on Effective Number of Samples".
           :arxiv:`1901.05555`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import ClassBalancedLoss
    >>> loss = ClassBalancedLoss(beta=0.999).prepare([100, 20, 5])
    >>> loss.class_factor.round(decimals=4).tolist()
    [0.1206, 0.5793, 2.3001]
    """

    name = "class_balanced"
    has_label_posterior = False  # the weight of a row depends on its other labels
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "beta": [Interval(Real, 0, 1, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="left")],
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"beta": 0.0, "gamma": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {"beta": 0.99},
        {"beta": 0.999, "gamma": 2.0},
    )

    class_count: Tensor | None

    def __init__(
        self,
        beta: float = 0.9999,
        gamma: float = 0.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("class_count", None)
        self.beta = beta
        self.gamma = gamma

    def _prepare(self, class_counts: Tensor) -> None:
        counts = class_counts if class_counts.ndim == 1 else class_counts[:, 1]
        rarest = counts[counts > 0].min() if bool(counts.any()) else 1.0
        self.class_count = counts.clamp_min(float(rarest) / 2)  # no class has an infinite weight

    @property
    def class_factor(self) -> Tensor:
        """Weight of each class, shape ``(c,)``, with sum c."""
        if self.class_count is None:
            raise ValueError(
                "ClassBalancedLoss needs the class counts of the training data: call "
                "loss.prepare(class_counts) before using it."
            )
        # beta^n - 1, exact also where beta^n rounds to 1; its sign cancels
        inverse = torch.expm1(self.class_count * _log(self.beta)).reciprocal()
        return inverse * (len(inverse) / inverse.sum())

    def _factors(self, logits: Tensor) -> Tensor:
        factors = self.class_factor
        if len(factors) != logits.shape[1]:
            raise ValueError(
                f"ClassBalancedLoss was prepared for {len(factors)} classes, but the logits have "
                f"{logits.shape[1]} columns."
            )
        return factors.to(logits.dtype)

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        return self._factors(logits).index_select(0, target) * super().per_sample(logits, target)

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each label: ``(n, l), (n, l) -> (n, l)``."""
        n_labels = target.sum(dim=1, keepdim=True)
        factor = (target * self._factors(logits)).sum(dim=1, keepdim=True) / n_labels.clamp_min(1)
        return torch.where(n_labels > 0, factor, 1) * super().per_label(logits, target)

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Gradient of the focal loss, times the factor of the row."""
        known = super().with_gradient(logits, target)
        assert known is not None
        factor = self._factors(logits).index_select(0, target)
        return known[0] * factor, known[1] * factor.unsqueeze(1)

    def with_label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return None: the weights of a row depend on its labels."""
        return None

    def log_prior_shift(self) -> Tensor | None:
        """Its weights act on the prior like class weights."""
        return self.class_factor.log()


class Poly1Loss(TrueClassMixin, BaseLoss):
    r"""Poly-1: the first term of cross-entropy's expansion in :math:`1 - p_t` gets a free factor.

    .. math:: \ell = -(1 - p_t)^\gamma \log p_t + \varepsilon (1 - p_t)^{\gamma + 1}

    Parameters
    ----------
    epsilon : float > -1, default=2.0
        Added to the first coefficient, which is 1. The paper finds 2 for classification and -1 for
        detection; -1 itself would leave a confident row without gradient.
    gamma : float >= 0, default=0.0
        Focusing, as in focal loss; 0 is none.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it as a one-parameter refinement of cross-entropy or focal loss: a positive ``epsilon``
    gives a larger gradient to rows of medium probability, which rows of rare classes mostly have.

    References
    ----------
    .. [1] Leng et al. (2022). "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
           Functions". :arxiv:`2204.12511`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import Poly1Loss
    >>> logits, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])
    >>> round(Poly1Loss(epsilon=1.0)(logits, target).item(), 4)
    0.4557
    """

    name = "poly1"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "epsilon": [Interval(Real, -1, None, closed="neither")],
        "gamma": [Interval(Real, 0, None, closed="left")],
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"epsilon": 0.0, "gamma": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {"epsilon": 2.0},
        {"epsilon": -0.5},
        {"epsilon": 1.0, "gamma": 2.0},
    )

    def __init__(
        self,
        epsilon: float = 2.0,
        gamma: float = 0.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.epsilon = epsilon
        self.gamma = gamma

    def _value(self, margin: Tensor) -> Tensor:
        loss, minus_log_rest = _log_parts(margin)
        modulator = torch.exp(-self.gamma * minus_log_rest)
        return modulator * (loss + self.epsilon * torch.exp(-minus_log_rest))

    def _value_and_derivative(self, margin: Tensor) -> tuple[Tensor, Tensor]:
        loss, minus_log_rest = _log_parts(margin)
        rest, p = torch.exp(-minus_log_rest), torch.exp(-loss)
        if not isinstance(self.gamma, Tensor) and self.gamma == 0:  # the same, computed faster
            return loss + self.epsilon * rest, -rest * (1 + self.epsilon * p)
        modulator = torch.exp(-self.gamma * minus_log_rest)
        slope = rest * (1 + self.epsilon * (self.gamma + 1) * p) + self.gamma * p * loss
        return modulator * (loss + self.epsilon * rest), -modulator * slope

    def _log_slope(self, margin: Tensor) -> Tensor:
        loss, minus_log_rest = _log_parts(margin)
        extra = self.epsilon * (self.gamma + 1) * torch.exp(-loss)
        relative = torch.log1p(self.gamma * _relative_slope(margin) + extra)
        return relative - self.gamma * minus_log_rest
