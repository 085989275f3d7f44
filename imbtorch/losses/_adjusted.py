"""What losses that train on adjusted logits share: the class prior, and the adjustment."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._numerics import cross_entropy_with_gradient

__all__ = ["AdjustedLogitsMixin", "PriorMixin"]


class PriorMixin:
    """Keep the log class prior that ``prepare`` has seen, as a buffer.

    Shape ``(c,)``; ``(l, 2)`` after counts per label, each row a prior of its own.
    """

    log_prior: Tensor | None

    def _prepare(self, class_counts: Tensor) -> None:
        # A class without rows would get a log prior of minus infinity. Half of the rarest class
        # that has rows is rarer than anything seen, and finite.
        rarest = class_counts.masked_fill(class_counts == 0, torch.inf).amin(-1, keepdim=True)
        counts = class_counts.clamp_min(rarest / 2)
        self.log_prior = (counts / counts.sum(-1, keepdim=True)).log()

    def _prepared_log_prior(self) -> Tensor:
        if self.log_prior is None:
            raise ValueError(
                f"{type(self).__name__} needs the class counts of the training data: call "
                "loss.prepare(class_counts) before using it."
            )
        return self.log_prior

    def _class_log_prior(self, logits: Tensor) -> Tensor:
        """Log prior of the classes, ``(c,)``, in the dtype of the logits."""
        log_prior = self._prepared_log_prior()
        if tuple(log_prior.shape) != (logits.shape[1],):
            raise ValueError(
                f"{type(self).__name__} was prepared for {_described(log_prior)}, but the logits "
                f"have {logits.shape[1]} columns, one per class."
            )
        return log_prior.to(logits.dtype)

    def _label_log_prior(self, logits: Tensor) -> Tensor:
        """Log shares of the rows without and with each label, ``(l, 2)``."""
        log_prior = self._prepared_log_prior()
        if log_prior.ndim == 1 and len(log_prior) == 2:  # two classes are one label
            log_prior = log_prior.unsqueeze(0)
        elif log_prior.ndim == 1:  # one against the rest
            log_prior = torch.stack([torch.log(-torch.expm1(log_prior)), log_prior], dim=1)
        if len(log_prior) != logits.shape[1]:
            raise ValueError(
                f"{type(self).__name__} was prepared for {_described(log_prior)}, but the logits "
                f"have {logits.shape[1]} columns, one per label. Counts of labels have the shape "
                "(n_labels, 2): rows without and with each."
            )
        return log_prior.to(logits.dtype)


def _described(log_prior: Tensor) -> str:
    return f"{len(log_prior)} {'classes' if log_prior.ndim == 1 else 'labels'}"


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
