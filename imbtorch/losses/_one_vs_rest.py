"""Losses of labels, for rows of exactly one class: each class against the rest."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["OneVsRestMixin", "one_hot"]


def one_hot(target: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Class indices as a matrix of labels, ``(n,) -> (n, c)``."""
    return F.one_hot(target, n_classes).to(dtype)


class OneVsRestMixin:
    """Softmax form, and its gradient, of a loss that is written for labels.

    Two classes are one label of logit ``z_1 - z_0``; more are a label each, averaged. A subclass
    writes ``per_label`` and ``_label_gradient``. Place it before ``BaseLoss`` in the bases.
    """

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each label: ``(n, l), (n, l) -> (n, l)``."""
        raise NotImplementedError

    def _label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each label and its derivative by the logit, both ``(n, l)``."""
        raise NotImplementedError

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row, averaged over the labels: ``(n, c), (n,) -> (n,)``."""
        if logits.shape[1] == 2:
            label = target.unsqueeze(1).to(logits.dtype)
            return self.per_label(logits.diff(dim=1), label).squeeze(1)
        labels = one_hot(target, logits.shape[1], logits.dtype)
        return self.per_label(logits, labels).mean(dim=1)

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Spread the derivatives of the labels over the logits; two classes get both signs."""
        n_classes = logits.shape[1]
        if n_classes == 2:
            label = target.unsqueeze(1).to(logits.dtype)
            values, slopes = self._label_gradient(logits.diff(dim=1), label)
            return values.squeeze(1), torch.cat([-slopes, slopes], dim=1)
        labels = one_hot(target, n_classes, logits.dtype)
        values, slopes = self._label_gradient(logits, labels)
        return values.mean(dim=1), slopes / n_classes

    def with_label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Loss of each label and its derivative by the logit, both ``(n, l)``."""
        return self._label_gradient(logits, target)

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Log-probabilities, normalised over the classes: ``(n, c) -> (n, c)``."""
        if logits.shape[1] == 2:
            return torch.log_softmax(logits, dim=1)
        return torch.log_softmax(F.logsigmoid(logits), dim=1)
