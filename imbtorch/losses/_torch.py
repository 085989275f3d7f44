"""Adapter: every loss of torch, evaluated per row, so that weights act on it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from imbtorch.losses._base import BaseLoss
from imbtorch.losses._cross_entropy import CrossEntropyLoss
from imbtorch.losses._log_space import log_not_each

__all__ = ["TorchLoss"]

Inputs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_NO_CLASS = -100  # the ignore_index of torch's losses that no class code has


def _one_hot(logits: Tensor, target: Tensor) -> Tensor:
    return F.one_hot(target, logits.shape[1]).to(logits.dtype)


def _probabilities(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return torch.softmax(logits, dim=1), _one_hot(logits, target)


def _log_probabilities(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return torch.log_softmax(logits, dim=1), _one_hot(logits, target)


def _log_probabilities_index(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return torch.log_softmax(logits, dim=1), target


def _logits_index(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return logits, target


def _one_vs_rest(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if logits.shape[1] == 2:  # two columns are one log-odds
        return logits[:, 1:] - logits[:, :1], target.unsqueeze(1).to(logits.dtype)
    return logits, _one_hot(logits, target)


def _one_vs_rest_signs(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    scores, positive = _one_vs_rest(logits, target)
    return scores, 2 * positive - 1


# What each loss expects to be given, by its documentation.
_INPUTS: dict[type[nn.Module], Inputs] = {
    nn.L1Loss: _probabilities,
    nn.MSELoss: _probabilities,
    nn.SmoothL1Loss: _probabilities,
    nn.HuberLoss: _probabilities,
    nn.BCELoss: _probabilities,
    nn.KLDivLoss: _log_probabilities,
    nn.NLLLoss: _log_probabilities_index,
    nn.MultiMarginLoss: _logits_index,
    nn.BCEWithLogitsLoss: _one_vs_rest,
    nn.SoftMarginLoss: _one_vs_rest_signs,
}


# Losses from whose minimiser the class probabilities follow, as long as nobody overrides forward.
_PROPER = {
    cls.forward
    for cls in (
        nn.BCELoss,
        nn.BCEWithLogitsLoss,
        nn.CrossEntropyLoss,
        nn.KLDivLoss,
        nn.MSELoss,
        nn.NLLLoss,
        nn.SoftMarginLoss,
    )
}
_WEIGHED_PER_CLASS = {cls.forward for cls in (nn.CrossEntropyLoss, nn.MultiMarginLoss, nn.NLLLoss)}
_QUADRATIC = {nn.HuberLoss.forward, nn.SmoothL1Loss.forward}


def _evaluate(loss: nn.Module, logits: Tensor, target: Tensor) -> Tensor:
    """Call ``loss`` with the inputs that it expects; compute two of torch's losses from logits."""
    if type(loss) is nn.BCELoss:  # on probabilities it has no gradient once they round to 0 or 1
        log_proba, hot = _log_probabilities(logits, target)
        return -(hot * log_proba + (1 - hot) * log_not_each(log_proba))
    if type(loss) is nn.SoftMarginLoss:  # torch takes the logarithm of an exponential
        scores, signs = _one_vs_rest_signs(logits, target)
        return F.softplus(-signs * scores)
    inputs = next((_INPUTS[cls] for cls in type(loss).mro() if cls in _INPUTS), _logits_index)
    values: Tensor = loss(*inputs(logits, target))
    return values


class TorchLoss(BaseLoss):
    """One of torch's own losses (or any module like them), evaluated per row.

    Losses on values see probabilities and one-hot targets, likelihoods see log-probabilities,
    margins see logits; several columns are averaged (summed with ``reduction="sum"`` of the inner
    loss). Any other module is called with logits and class indices, and must return one value per
    row when its ``reduction`` is ``"none"``. A class weight inside the torch loss is taken out and
    acts through the rows, so that it is applied once, and in the same way for every loss.

    Parameters
    ----------
    loss : torch.nn.Module
        For instance ``torch.nn.L1Loss()``.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored; -100 takes over the ``ignore_index`` of ``loss``.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseLoss`.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import TorchLoss
    >>> loss = TorchLoss(torch.nn.L1Loss(), weight=[1.0, 10.0])
    >>> round(loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item(), 4)
    5.0
    """

    def __init__(
        self,
        loss: nn.Module | None = None,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.loss = loss

    def __repr__(self) -> str:
        """Show the inner loss, in one line."""
        return f"TorchLoss({self.loss!r})"

    def _prepare(self, class_counts: Tensor) -> None:
        self._elementwise()

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        inner = self._elementwise()
        values: Tensor = _evaluate(inner, logits, target)
        if values.shape[:1] != target.shape:
            raise ValueError(
                f"{type(inner).__name__} must return one value per row, shape "
                f"{tuple(target.shape)}, or one per element; got {tuple(values.shape)}. Give it a "
                "'reduction' attribute that accepts 'none', or subclass "
                "imbtorch.losses.BaseLoss and write per_sample."
            )
        values = values.flatten(1) if values.ndim > 1 else values.unsqueeze(1)
        return values.sum(dim=1) if self._sums_columns() else values.mean(dim=1)

    def _elementwise(self) -> nn.Module:
        if not isinstance(self.loss, nn.Module):
            raise ValueError(f"TorchLoss wraps a torch loss such as nn.L1Loss(); got {self.loss!r}")
        if isinstance(self.loss, nn.KLDivLoss) and self.loss.log_target:
            raise ValueError(
                "KLDivLoss(log_target=True) has no finite value for a one-hot target; use "
                "KLDivLoss(log_target=False)."
            )
        changed: dict[str, Any] = {}
        if getattr(self.loss, "reduction", "none") != "none":
            changed["reduction"] = "none"
        if self._inner_ignored != _NO_CLASS:  # inside, it would be taken for the code of a class
            changed["ignore_index"] = _NO_CLASS
        if not changed:
            return self.loss
        inner = copy.copy(self.loss)
        for name, value in changed.items():
            setattr(inner, name, value)
        return inner

    @property
    def _inner_ignored(self) -> int:
        given = getattr(self.loss, "ignore_index", None)
        return given if isinstance(given, int) else _NO_CLASS  # None says that nothing is ignored

    @property
    def _ignored_target(self) -> int:
        """``ignore_index``, or that of the inner loss where this one has the default."""
        return self._inner_ignored if self.ignore_index == _NO_CLASS else self.ignore_index

    def _sums_columns(self) -> bool:
        return getattr(self.loss, "reduction", "mean") in {"sum", "batchmean"}

    @property
    def has_posterior(self) -> bool:  # type: ignore[override]
        """Whether the minimiser of the inner loss determines the class probabilities."""
        loss = self.loss
        if loss is None:
            return False
        if type(loss).forward in _QUADRATIC:  # up to beta, so that it is the Brier score
            return float(getattr(loss, "beta", getattr(loss, "delta", 0.0))) >= 1
        if getattr(loss, "pos_weight", None) is not None:
            return False  # a factor inside the loss, unlike class weights, which the priors know
        if getattr(loss, "label_smoothing", 0.0):
            return False
        return type(loss).forward in _PROPER and "forward" not in vars(loss)

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Log-probabilities, or normalised log-scores where ``has_posterior`` is False."""
        one_vs_rest = isinstance(self.loss, nn.BCEWithLogitsLoss | nn.SoftMarginLoss)
        if one_vs_rest and logits.shape[1] > 2:
            return torch.log_softmax(F.logsigmoid(logits), dim=1)
        return torch.log_softmax(logits, dim=1)

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Only losses with a posterior have a bias that stands for the class frequencies."""
        if not self.has_posterior:
            return None
        if isinstance(self.loss, nn.BCEWithLogitsLoss | nn.SoftMarginLoss) and len(log_prior) > 2:
            return log_prior - torch.log(-torch.expm1(log_prior))
        return log_prior


def adapt(loss: nn.Module) -> BaseLoss:
    """Turn one of torch's losses into a :class:`BaseLoss`, its class weight taken out.

    Only what is exactly ``nn.CrossEntropyLoss`` is replaced; a subclass keeps what it computes,
    with the weight that it may read.
    """
    loss = copy.deepcopy(loss)
    weight = getattr(loss, "weight", None)
    if type(loss) is nn.CrossEntropyLoss and "forward" not in vars(loss):
        return CrossEntropyLoss(
            loss.label_smoothing,
            weight=weight,
            ignore_index=loss.ignore_index,
            reduction=loss.reduction,
        )
    per_class = type(loss).forward in _WEIGHED_PER_CLASS
    if per_class and weight is not None:
        loss.weight = None  # type: ignore[assignment]
    else:
        weight = None
    return TorchLoss(loss, weight=weight)
