"""The class prior and the adjustment, for losses that train on adjusted logits."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["AdjustedLogitsMixin", "PriorMixin", "cross_entropy_with_gradient"]


def log_prior(class_counts: Tensor) -> Tensor:
    """Log shares of the counts, ``(c,)`` or ``(l, 2)``, finite where a class has no rows."""
    # A class without rows gets half the count of the rarest class that has some: it is rarer than
    # every class that was seen, and its logarithm is finite.
    rarest = class_counts.masked_fill(class_counts == 0, torch.inf).amin(-1, keepdim=True)
    counts = class_counts.clamp_min(rarest / 2)
    return (counts / counts.sum(-1, keepdim=True)).log()


def label_log_prior(class_counts: Tensor) -> Tensor:
    """Log shares without and with each label, ``(l, 2)``.

    Two classes are one label; more are a label each, against the rest.
    """
    shares = log_prior(class_counts)
    if shares.ndim == 2:
        return shares
    if len(shares) == 2:
        return shares.unsqueeze(0)
    return torch.stack([torch.log(-torch.expm1(shares)), shares], dim=1)


def not_prepared(loss: object) -> str:
    """Return the message for a loss that is used before ``prepare``."""
    return (
        f"{type(loss).__name__} needs the class counts of the training data: call "
        "loss.prepare(class_counts) before using it."
    )


def check_labels(loss: object, n_labels: int, logits: Tensor) -> None:
    """Raise ValueError if the loss was prepared for another number of labels."""
    if n_labels != logits.shape[1]:
        raise ValueError(
            f"{type(loss).__name__} was prepared for {n_labels} label(s), but the logits have "
            f"{logits.shape[1]} columns, one per label. Counts of labels have the shape "
            "(n_labels, 2): rows without and with each."
        )


class PriorMixin:
    """Keep the log class prior of the counts that ``prepare`` was given, as a buffer.

    Shape ``(c,)``; ``(l, 2)`` after counts per label, each row a prior of its own.
    """

    log_prior: Tensor | None

    def _prepare(self, class_counts: Tensor) -> None:
        self.log_prior = log_prior(class_counts)

    def _prepared_log_prior(self) -> Tensor:
        if self.log_prior is None:
            raise ValueError(not_prepared(self))
        return self.log_prior

    def _class_log_prior(self, logits: Tensor) -> Tensor:
        """Log prior of the classes, ``(c,)``, in the dtype of the logits."""
        log_prior = self._prepared_log_prior()
        if tuple(log_prior.shape) != (logits.shape[1],):
            kind = "classes" if log_prior.ndim == 1 else "labels"
            raise ValueError(
                f"{type(self).__name__} was prepared for {len(log_prior)} {kind}, but the logits "
                f"have {logits.shape[1]} columns, one per class."
            )
        return log_prior.to(logits.dtype)

    def _label_log_prior(self, logits: Tensor) -> Tensor:
        """Log shares of the rows without and with each label, ``(l, 2)``."""
        log_prior = self._prepared_log_prior()
        if log_prior.ndim == 1:  # the prior of classes serves as counts
            log_prior = label_log_prior(log_prior.exp())
        check_labels(self, len(log_prior), logits)
        return log_prior.to(logits.dtype)


def cross_entropy_with_gradient(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row and its gradient, softmax minus one-hot: ``(n,), (n, c)``."""
    log_proba = torch.log_softmax(logits, dim=1)
    index = target.unsqueeze(1)
    values = log_proba.gather(1, index).squeeze(1).neg_()
    gradient = log_proba.exp_()
    gradient.scatter_add_(1, index, _minus_ones(len(values), gradient.dtype, gradient.device))
    return values, gradient


@lru_cache(maxsize=8)  # batches have one or two sizes
def _minus_ones(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a column of -1, ``(n, 1)``, to be read only."""
    with torch.inference_mode(False):
        return torch.full((n, 1), -1.0, dtype=dtype, device=device)


class AdjustedLogitsMixin:
    """Cross-entropy of adjusted logits, of which ``_adjusted`` is the formula.

    Place it before ``BaseLoss`` in the bases.
    """

    def _adjusted(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor | float | None]:
        """Adjust logits, ``(n, c)``; give the derivative by the logits too, None where it is 1."""
        raise NotImplementedError

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        return F.cross_entropy(self._adjusted(logits, target)[0], target, reduction="none")

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Softmax of the adjusted logits minus one-hot, times the derivative of the adjustment."""
        adjusted, derivative = self._adjusted(logits, target)
        values, gradient = cross_entropy_with_gradient(adjusted, target)
        return values, gradient if derivative is None else gradient.mul_(derivative)
