"""Robust losses: they trust a single label less than cross-entropy does."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._log_space import pick
from imbtorch.losses._true_class import TrueClassMixin

__all__ = ["GeneralizedCrossEntropyLoss", "L1Loss", "MSELoss", "SymmetricCrossEntropyLoss"]


class GeneralizedCrossEntropyLoss(TrueClassMixin, BaseLoss):
    r"""Generalised cross-entropy: between cross-entropy and the absolute error.

    .. math:: \ell = \frac{1 - p_t^q}{q}

    Parameters
    ----------
    q : float in (0, 1], default=0.7
        Towards 0 it is cross-entropy, 1 is the absolute error (which has no posterior).
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it where labels are noisy. Rows of low :math:`p_t` have a small gradient, and rows of a rare
    class begin with a low one: combine it with class weights or a sampler.

    References
    ----------
    .. [1] Zhang and Sabuncu (2018). "Generalized Cross Entropy Loss for Training Deep Neural
           Networks with Noisy Labels". :arxiv:`1805.07836`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import GeneralizedCrossEntropyLoss
    >>> logits, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])
    >>> round(GeneralizedCrossEntropyLoss(q=0.7)(logits, target).item(), 4)
    0.222
    """

    name = "generalized_cross_entropy"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "q": [Interval(Real, 0, 1, closed="right")]
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({"q": 0.7}, {"q": 0.3})

    def __init__(
        self,
        q: float = 0.7,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.q = q

    @property
    def has_posterior(self) -> bool:  # type: ignore[override]
        """Whether the minimiser determines the class probabilities: it does for every q below 1."""
        return bool(self.q < 1) if not isinstance(self.q, Tensor) else True

    def _value(self, margin: Tensor) -> Tensor:
        return -torch.expm1(self.q * F.logsigmoid(margin)) / self.q

    def _log_slope(self, margin: Tensor) -> Tensor:
        return self.q * F.logsigmoid(margin)


class SymmetricCrossEntropyLoss(TrueClassMixin, BaseLoss):
    r"""Symmetric cross-entropy: cross-entropy plus its reverse, a bounded term.

    .. math:: \ell = -\alpha \log p_t - \beta A (1 - p_t)

    The reverse cross-entropy reads :math:`\log 0` as the constant :math:`A < 0`.

    Parameters
    ----------
    alpha : float > 0, default=0.1
        Factor of cross-entropy.
    beta : float >= 0, default=1.0
        Factor of the reverse term.
    log_zero : float < 0, default=-4.0
        :math:`A`. The paper uses -4, its code log(1e-4), about -9.2.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it where labels are noisy. As with every bounded term, rare classes may be taken for noise:
    combine it with class weights or a sampler.

    References
    ----------
    .. [1] Wang et al. (2019). "Symmetric Cross Entropy for Robust Learning with Noisy Labels".
           :arxiv:`1908.06112`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import SymmetricCrossEntropyLoss
    >>> logits, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])
    >>> round(SymmetricCrossEntropyLoss()(logits, target).item(), 4)
    0.8817
    """

    name = "symmetric_cross_entropy"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "log_zero": [Interval(Real, None, 0, closed="neither")],
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"alpha": 1.0, "beta": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {"alpha": 0.1, "beta": 1.0},
        {"alpha": 6.0, "beta": 0.1},
    )

    def __init__(
        self,
        alpha: float = 0.1,
        beta: float = 1.0,
        log_zero: float = -4.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.alpha = alpha
        self.beta = beta
        self.log_zero = log_zero

    def _value(self, margin: Tensor) -> Tensor:
        log_p = F.logsigmoid(margin)
        return self.beta * self.log_zero * torch.expm1(log_p) - self.alpha * log_p

    def _value_and_derivative(self, margin: Tensor) -> tuple[Tensor, Tensor]:
        log_p, p, rest = F.logsigmoid(margin), torch.sigmoid(margin), torch.sigmoid(-margin)
        reverse = self.beta * self.log_zero
        return -reverse * rest - self.alpha * log_p, rest * (reverse * p - self.alpha)

    def _log_slope(self, margin: Tensor) -> Tensor:
        return torch.log(self.alpha - self.beta * self.log_zero * torch.sigmoid(margin))


class L1Loss(TrueClassMixin, BaseLoss):
    r"""Absolute error of the probabilities against one-hot targets.

    .. math:: \ell = \sum_j |p_j - [j = t]| = 2 (1 - p_t)

    In the sigmoid form each label has :math:`|p - y|`.

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
    Use it against label noise, with class weights: alone it predicts the majority class wherever
    that is the likelier one, and its gradient is small for the rows that it gets wrong. The
    minimiser is an indicator of the likeliest class, so that there is no posterior.

    References
    ----------
    .. [1] Ghosh et al. (2017). "Robust Loss Functions under Label Noise for Deep Neural Networks".
           :arxiv:`1712.09482`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import L1Loss
    >>> logits, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])
    >>> round(L1Loss()(logits, target).item(), 4)
    0.4288
    """

    name = "l1"
    has_posterior = False

    def __init__(
        self, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)

    def _value(self, margin: Tensor) -> Tensor:
        return 2 * torch.sigmoid(-margin)

    def _log_slope(self, margin: Tensor) -> Tensor:
        return F.logsigmoid(margin) + math.log(2)

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Absolute error of each label: ``(n, l), (n, l) -> (n, l)``."""
        return super().per_label(logits, target) / 2

    def with_label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Halve the value and the gradient of two classes."""
        known = super().with_label_gradient(logits, target)
        return None if known is None else (known[0] / 2, known[1] / 2)


class MSELoss(BaseLoss):
    r"""Squared error of the probabilities against one-hot targets: the Brier score.

    .. math:: \ell = \sum_j (p_j - [j = t])^2

    In the sigmoid form each label has :math:`(p - y)^2`.

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
    Use it for probabilities where a few outliers must not dominate: it is a proper score, and
    bounded.

    References
    ----------
    .. [1] Brier (1950). "Verification of Forecasts Expressed in Terms of Probability".
           :doi:`10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import MSELoss
    >>> logits, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])
    >>> round(MSELoss()(logits, target).item(), 4)
    0.0782
    """

    name = "mse"

    def __init__(
        self, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Brier score of each row: ``(n, c), (n,) -> (n,)``."""
        proba = torch.softmax(logits, dim=1)
        return (proba - F.one_hot(target, logits.shape[1])).square().sum(dim=1)

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Squared error of each label: ``(n, l), (n, l) -> (n, l)``."""
        return torch.sigmoid((1 - 2 * target) * logits).square()

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Twice the error, through the softmax."""
        proba = torch.softmax(logits, dim=1)
        index = target.unsqueeze(1)
        error = proba.scatter(1, index, pick(proba, target).unsqueeze(1) - 1)
        weighted = error * proba
        gradient = 2 * (weighted - proba * weighted.sum(dim=1, keepdim=True))
        return error.square().sum(dim=1), gradient
