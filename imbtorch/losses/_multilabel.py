"""Multi-label losses: the positives of each label are rare."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._common.sklearn_private import Interval, StrOptions
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._one_vs_rest import OneVsRestMixin

__all__ = ["AsymmetricLoss", "BCELoss"]


class BCELoss(OneVsRestMixin, BaseLoss):
    r"""Binary cross-entropy from logits, with a weight of the positives of each label.

    .. math:: \ell = -w y \log p - (1 - y) \log(1 - p)

    Values of several labels are averaged. In the softmax form two classes are one label, more are
    one label each against the rest.

    Parameters
    ----------
    pos_weight : {"balanced", "sqrt"}, float, array-like of shape (n_labels,) or None, default=None
        Factor of the positives: ``"balanced"`` is negatives / positives of each label, ``"sqrt"``
        its square root; 1 for a label without positives or without negatives.
    max_pos_weight : float > 0 or None, default=None
        Upper limit of the factors.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per label (per class in the softmax form), used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it for multi-label data: without ``pos_weight`` for probabilities, with ``"sqrt"`` or a cap
    where the rarest labels are never predicted; full balance over-predicts labels of a few rows.
    The inverse link undoes ``pos_weight``.

    References
    ----------
    .. [1] Dal Pozzolo et al. (2015). "Calibrating Probability with Undersampling for Unbalanced
           Classification". :doi:`10.1109/SSCI.2015.33` (the inverse link)

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import BCELoss
    >>> loss = BCELoss(pos_weight="balanced").prepare([[75, 25], [90, 10]])
    >>> loss.positive_factor.tolist()
    [3.0, 9.0]
    """

    name = "bce"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "pos_weight": [
            StrOptions({"balanced", "sqrt"}),
            Interval(Real, 0, None, closed="neither"),
            "array-like",
            Tensor,
            None,
        ],
        "max_pos_weight": [Interval(Real, 0, None, closed="neither"), None],
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"pos_weight": None}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"pos_weight": "balanced"},
        {"pos_weight": "sqrt", "max_pos_weight": 3.0},
        {"pos_weight": 3.0},
    )

    positive_factor: Tensor | None

    def __init__(
        self,
        pos_weight: Any = None,
        max_pos_weight: float | None = None,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("positive_factor", None)
        self.pos_weight = pos_weight
        self.max_pos_weight = max_pos_weight

    def _prepare(self, class_counts: Tensor) -> None:
        if class_counts.ndim == 2:
            negatives, positives = class_counts.unbind(1)
        elif len(class_counts) == 2:  # two classes are one label
            negatives, positives = class_counts[:1], class_counts[1:]
        else:
            negatives, positives = class_counts.sum() - class_counts, class_counts
        if isinstance(self.pos_weight, str):
            usable = (negatives > 0) & (positives > 0)
            factor = torch.where(usable, negatives / positives.clamp_min(1e-300), 1)
            factor = factor.sqrt() if self.pos_weight == "sqrt" else factor
        else:
            factor = self._given_factor()
            if len(factor) not in {1, len(positives)}:
                raise ValueError(
                    f"pos_weight has {len(factor)} factors, but there are {len(positives)} labels: "
                    "give one number, or one per label."
                )
            factor = factor.expand(len(positives)).clone()
        self.positive_factor = self._capped(factor)

    def _given_factor(self) -> Tensor:
        given = 1.0 if self.pos_weight is None else self.pos_weight
        if isinstance(given, Tensor):
            given = given.detach().cpu()
        factor = np.atleast_1d(np.asarray(given, dtype=np.float64))
        if factor.ndim != 1 or not (np.isfinite(factor).all() and (factor > 0).all()):
            raise ValueError(
                "pos_weight must be 'balanced', 'sqrt', or finite numbers > 0, one per label; got "
                f"{self.pos_weight!r}."
            )
        return torch.from_numpy(factor)

    def _capped(self, factor: Tensor) -> Tensor:
        return factor if self.max_pos_weight is None else factor.clamp_max(self.max_pos_weight)

    def _factor(self, logits: Tensor) -> Tensor:
        factor = self.positive_factor
        if factor is None:
            if isinstance(self.pos_weight, str):
                raise ValueError(
                    f"BCELoss(pos_weight={self.pos_weight!r}) needs the counts of the training "
                    "data: call loss.prepare(class_counts) before using it."
                )
            factor = self._capped(self._given_factor()).to(logits.device)
        computed = isinstance(self.pos_weight, str)  # a number given holds for every label
        if len(factor) != logits.shape[1] and (computed or len(factor) > 1):
            raise ValueError(
                f"pos_weight has {len(factor)} factors, but the logits have {logits.shape[1]} "
                "columns: give one per label."
            )
        return factor.to(logits.dtype)

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each label: ``(n, l), (n, l) -> (n, l)``."""
        return F.binary_cross_entropy_with_logits(
            logits, target, reduction="none", pos_weight=self._factor(logits)
        )

    def _label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        factor = 1 + (self._factor(logits) - 1) * target
        sign = 1 - 2 * target
        signed = sign * logits
        return -factor * F.logsigmoid(-signed), factor * sign * torch.sigmoid(signed)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log-odds of each label, with the factors undone: ``(n, l) -> (n, l)``."""
        return logits - self._factor(logits).log()

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Log-probabilities; of more than two classes with the factors undone."""
        return super().log_posterior(self.log_odds(logits) if logits.shape[1] > 2 else logits)

    def log_scores(self, logits: Tensor) -> Tensor:
        """Log-probabilities as trained, ``pos_weight`` included."""
        return super().log_posterior(logits)

    def log_prior_shift(self) -> Tensor | None:
        """Log factors of two classes; with more the inverse link undoes them."""
        factor = self.positive_factor
        if factor is None or len(factor) > 1:
            return None
        return torch.cat([torch.zeros_like(factor), factor.log()])

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Log prior of two classes; log-odds of each of several classes against the rest."""
        if len(log_prior) == 2:
            return super().initial_bias(log_prior)
        bias = log_prior - torch.log(-torch.expm1(log_prior))
        return bias if self.positive_factor is None else bias + self.positive_factor.log()


class AsymmetricLoss(OneVsRestMixin, BaseLoss):
    r"""Asymmetric loss: easy negatives count less than easy positives, the easiest not at all.

    .. math:: \ell = -y (1 - p)^{\gamma_+} \log p
        - (1 - y) p_m^{\gamma_-} \log(1 - p_m), \qquad p_m = \max(p - m, 0)

    Negatives of probability below the clip :math:`m` have neither value nor gradient.

    Parameters
    ----------
    gamma_pos : float >= 0, default=0.0
        Focusing of positives; the authors' code has 1, their paper 0.
    gamma_neg : float >= 0, default=4.0
        Focusing of negatives.
    clip : float in [0, 1), default=0.05
        :math:`m`: negatives below this probability are ignored.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per label, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`; the authors use ``"sum"``.

    Notes
    -----
    Use it for many labels, each rare, where ranking and F-measures count: it is the usual choice
    for images with many tags. Because of the clip it has no posterior.

    References
    ----------
    .. [1] Ridnik et al. (2021). "Asymmetric Loss For Multi-Label Classification".
           :arxiv:`2009.14119`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import AsymmetricLoss
    >>> logits, target = torch.tensor([[1.0, -2.0, -3.5]]), torch.tensor([[1.0, 0.0, 0.0]])
    >>> print(AsymmetricLoss(reduction="none")(logits, target).round(decimals=4).abs())
    tensor([[0.3133, 0.0000, 0.0000]])
    """

    name = "asymmetric"
    has_posterior = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "gamma_pos": [Interval(Real, 0, None, closed="left")],
        "gamma_neg": [Interval(Real, 0, None, closed="left")],
        "clip": [Interval(Real, 0, 1, closed="left")],
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"gamma_pos": 1.0, "gamma_neg": 2.0, "clip": 0.0},
        {"gamma_pos": 0.0, "gamma_neg": 0.5, "clip": 0.2},
    )

    def __init__(
        self,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float = 0.05,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.clip = clip

    def _parts(self, logits: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Sign; p = sigmoid(s), log(1 - p); b, which is p clipped, log(1 - b), and its power."""
        negative = torch.rsub(target, 1)
        sign, clip = negative - target, negative.mul(self.clip)
        power = negative.mul(self.gamma_neg) + target.mul(self.gamma_pos)
        signed = sign * logits
        p, log_not = torch.sigmoid(signed), F.logsigmoid(-signed)
        error = (p - clip).clamp_min(torch.finfo(logits.dtype).tiny)
        # 0 where b is clipped; without a clip in log space, where 1 - b may round to 0
        log_rest = torch.logaddexp(log_not, clip.log()).clamp_max(0)
        return sign, p, log_not, error, log_rest, power

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each label: ``(n, l), (n, l) -> (n, l)``."""
        *_, error, log_rest, power = self._parts(logits, target)
        return -torch.pow(error, power) * log_rest

    def _label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        sign, p, log_not, error, log_rest, power = self._parts(logits, target)
        fade = torch.pow(error, power)
        # d/db of -b^g log(1 - b) times db/ds = p (1 - p), which is 0 where b is clipped
        steep = log_not.exp().mul_(power).mul_(log_rest).div_(error)
        slope = log_not.sub_(log_rest).exp_().sub_(steep).mul_(fade).mul_(p).mul_(sign)
        return fade.mul_(log_rest).neg_(), slope.mul_(log_rest < 0)
