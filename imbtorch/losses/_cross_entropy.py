"""Cross-entropy: one share of smoothing for all classes, or one for each."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._common.sklearn_private import Interval, StrOptions
from imbtorch.losses._adjusted import cross_entropy_with_gradient
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._log_space import pick

__all__ = ["CrossEntropyLoss", "LabelAwareSmoothingLoss"]

_FLOOR = 1e-4  # smallest probability for which smoothing is undone


def _smoothed_with_gradient(
    logits: Tensor, target: Tensor, smoothing: Any
) -> tuple[Tensor, Tensor]:
    """Smoothed cross-entropy and its gradient; ``smoothing`` is a number or of shape ``(n,)``."""
    log_proba = torch.log_softmax(logits, dim=1)
    values = (smoothing - 1) * pick(log_proba, target) - smoothing * log_proba.mean(dim=1)
    spread = smoothing
    if not isinstance(spread, Tensor):
        spread = logits.new_full(target.shape, spread)
    spread = spread.expand(target.shape).unsqueeze(1)
    gradient = log_proba.exp() - spread / logits.shape[1]
    return values, gradient.scatter_add_(1, target.unsqueeze(1), spread - 1)


def _undo_smoothing(log_proba: Tensor, smoothing: Any) -> Tensor:
    r"""Undo smoothing that may differ from class to class.

    The minimiser is :math:`q_j = (1 - \varepsilon_j) \eta_j + s / c` with
    :math:`s = \sum_t \varepsilon_t \eta_t`; this solves it for :math:`\eta`. Exact down to 1e-4.
    Below, the logarithm continues with the slope of :math:`\log q`, so that scores below the spread
    keep their order instead of all becoming 0.
    """
    n_classes = log_proba.shape[1]
    kept = 1 - torch.as_tensor(smoothing, dtype=log_proba.dtype, device=log_proba.device)
    kept = kept.expand(n_classes)
    proba = log_proba.exp()
    total = (proba / kept).sum(dim=1, keepdim=True) - 1
    spread = total / (1 / kept).sum()
    line = ((proba - spread) / kept).clamp_min(_FLOOR).log()
    knee = torch.log(spread + kept * _FLOOR)
    return torch.log_softmax(line + (log_proba - knee).clamp_max(0), dim=1)


def _smoothed(log_prior: Tensor, smoothing: Any) -> Tensor:
    """Return the log of the best prediction for smoothed labels of this prior, ``(c,)``."""
    prior = torch.softmax(log_prior, dim=0)
    smoothed: Tensor = (1 - smoothing) * prior + (smoothing * prior).sum() / len(prior)
    return smoothed.log()


class CrossEntropyLoss(BaseLoss):
    r"""Cross-entropy, with label smoothing that does not mix with class weights.

    .. math:: \ell = -(1 - \varepsilon) \log p_t - \frac{\varepsilon}{c} \sum_j \log p_j

    Weights multiply the smoothed value of a row. torch instead weighs each term of the smoothing
    sum by *its* class, so that a rare class's weight changes the smoothing of every row.

    Parameters
    ----------
    label_smoothing : float in [0, 1), default=0.0
        Share :math:`\varepsilon` of the target that is spread evenly over the classes.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it as the baseline of every comparison: with class weights it is what other libraries call
    weighted cross-entropy, and without any it often has the best average precision.

    References
    ----------
    .. [1] Szegedy et al. (2016). "Rethinking the Inception Architecture for Computer Vision".
           :arxiv:`1512.00567`

    Examples
    --------
    Weights are used as given and the sum is divided by the number of rows (Chainer's and Keras's
    meaning), so that the weight also acts on a single row:

    >>> import torch
    >>> from imbtorch.losses import CrossEntropyLoss
    >>> loss = CrossEntropyLoss(weight=[1, 2])
    >>> round(loss(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).item(), 4)
    2.6265
    """

    name = "cross_entropy"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "label_smoothing": [Interval(Real, 0, 1, closed="left")]
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"label_smoothing": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"label_smoothing": 0.1})

    def __init__(
        self,
        label_smoothing: float = 0.0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.label_smoothing = label_smoothing

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        smoothing = self.label_smoothing
        if not isinstance(smoothing, Tensor):  # torch's kernel takes numbers only
            return F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)
        log_proba = torch.log_softmax(logits, dim=1)
        return (smoothing - 1) * pick(log_proba, target) - smoothing * log_proba.mean(dim=1)

    @property
    def _is_plain(self) -> bool:
        return not isinstance(self.label_smoothing, Tensor) and self.label_smoothing == 0

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Softmax minus smoothed one-hot."""
        if self._is_plain:  # the same value, computed faster
            return cross_entropy_with_gradient(logits, target)
        return _smoothed_with_gradient(logits, target, self.label_smoothing)

    def with_label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Probability minus smoothed label."""
        smoothed = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        return (
            F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none"),
            torch.sigmoid(logits) - smoothed,
        )

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of each label: ``(n, l), (n, l) -> (n, l)``."""
        smoothed = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")

    def log_posterior(self, logits: Tensor) -> Tensor:
        r"""Undo the smoothing: :math:`\eta = (p - \varepsilon / c) / (1 - \varepsilon)`.

        Exact down to 1e-4; below, the order of the scores is kept.
        """
        log_proba = torch.log_softmax(logits, dim=1)
        return log_proba if self._is_plain else _undo_smoothing(log_proba, self.label_smoothing)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log-odds of each label, with the smoothing undone: ``(n, l) -> (n, l)``."""
        if self._is_plain:
            return logits
        pairs = torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=-1)
        eta = _undo_smoothing(pairs.reshape(-1, 2), self.label_smoothing)
        return (eta[:, 1] - eta[:, 0]).reshape(logits.shape)

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Output bias whose smoothed prediction is the class prior."""
        return _smoothed(log_prior, self.label_smoothing)


class LabelAwareSmoothingLoss(BaseLoss):
    r"""Cross-entropy with more label smoothing for frequent classes than for rare ones.

    .. math:: \ell = -(1 - \varepsilon_t) \log p_t - \frac{\varepsilon_t}{c} \sum_j \log p_j,
        \qquad \varepsilon_t = \varepsilon_{tail} + (\varepsilon_{head} - \varepsilon_{tail})
        \, f\left( \frac{n_t - n_{\min}}{n_{\max} - n_{\min}} \right)

    with :math:`f(x) = \sin(\pi x / 2)` (concave), :math:`x` (linear) or
    :math:`1 - \cos(\pi x / 2)` (convex). Classes of equal size are all tail.

    Parameters
    ----------
    head : float in [0, 1), default=0.4
        Smoothing of the most frequent class.
    tail : float in [0, 1), default=0.1
        Smoothing of the rarest class.
    shape : {"concave", "linear", "convex"}, default="concave"
        How the smoothing grows between them.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Notes
    -----
    Use it in the second stage of two-stage training on long tails, against over-confidence in the
    head. The smoothing is undone by the inverse link.

    References
    ----------
    .. [1] Zhong et al. (2021). "Improving Calibration for Long-Tailed Recognition".
           :arxiv:`2104.00466`

    Examples
    --------
    >>> from imbtorch.losses import LabelAwareSmoothingLoss
    >>> loss = LabelAwareSmoothingLoss(shape="linear").prepare([100, 20, 5])
    >>> loss.class_smoothing.round(decimals=4).tolist()
    [0.4, 0.1474, 0.1]
    """

    name = "label_aware_smoothing"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "head": [Interval(Real, 0, 1, closed="left")],
        "tail": [Interval(Real, 0, 1, closed="left")],
        "shape": [StrOptions({"concave", "linear", "convex"})],
    }
    _neutral_params: ClassVar[dict[str, Any] | None] = {"head": 0.0, "tail": 0.0}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"head": 0.3, "tail": 0.0, "shape": "linear"},
        {"shape": "convex"},
    )

    frequency: Tensor | None

    def __init__(
        self,
        head: float = 0.4,
        tail: float = 0.1,
        shape: str = "concave",
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("frequency", None)
        self.head = head
        self.tail = tail
        self.shape = shape

    def _prepare(self, class_counts: Tensor) -> None:
        rarest, most = class_counts.aminmax()
        x = (class_counts - rarest) / (most - rarest).clamp_min(1e-300)
        if self.shape == "concave":
            x = torch.sin(x * math.pi / 2)
        elif self.shape == "convex":
            x = 1 - torch.cos(x * math.pi / 2)
        self.frequency = x

    @property
    def class_smoothing(self) -> Tensor:
        """Share of each class's label that is spread, shape ``(c,)``."""
        if self.frequency is None:
            raise ValueError(
                "LabelAwareSmoothingLoss needs the class counts of the training data: call "
                "loss.prepare(class_counts) before using it."
            )
        return self.tail + (self.head - self.tail) * self.frequency

    def _smoothing(self, logits: Tensor) -> Tensor:
        smoothing = self.class_smoothing
        if len(smoothing) != logits.shape[1]:
            raise ValueError(
                f"LabelAwareSmoothingLoss was prepared for {len(smoothing)} classes, but the "
                f"logits have {logits.shape[1]} columns."
            )
        return smoothing.to(logits.dtype)

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        log_proba = torch.log_softmax(logits, dim=1)
        smoothing = self._smoothing(logits).index_select(0, target)
        return (smoothing - 1) * pick(log_proba, target) - smoothing * log_proba.mean(dim=1)

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Softmax minus smoothed one-hot."""
        return _smoothed_with_gradient(
            logits, target, self._smoothing(logits).index_select(0, target)
        )

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Undo the smoothing, exactly down to 1e-4; below, the order of the scores is kept."""
        return _undo_smoothing(torch.log_softmax(logits, dim=1), self._smoothing(logits))

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Output bias whose smoothed prediction is the class prior."""
        return _smoothed(log_prior, self.class_smoothing)
