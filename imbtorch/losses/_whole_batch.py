"""Losses that look at the whole batch: overlaps and rankings, one value per column."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._log_space import log_not_each
from imbtorch.losses._one_vs_rest import one_hot
from imbtorch.losses._shapes import (
    as_index_rows,
    as_label_rows,
    fold_members,
    reduce,
    row_weights,
    single_precision,
)

__all__ = ["WARMUP_CONSTRAINT", "WholeBatchMixin", "anchors", "safe_ratio"]

WARMUP_CONSTRAINT: dict[str, list[Any]] = {
    "warmup_epochs": [Interval(Integral, 0, None, closed="left")]
}

_MEANS = {"mean", "weighted_mean"}


class WholeBatchMixin(BaseLoss):
    """Both forms, weights, warm-up and batches without positives, from ``_column_values``.

    Two classes are one column of logit ``z_1 - z_0``; more are one column each against the rest. A
    column in which no row of the batch is positive (or, where the loss compares, none negative) has
    the value 0 and no gradient, and does not count in the mean over columns.

    Place it before ``BaseLoss`` in the bases. ``warmup_epochs`` epochs of cross-entropy come first,
    in a training loop that calls ``set_epoch``.
    """

    has_posterior = False
    sums_over_rows = False
    _on_probabilities: ClassVar[bool] = False
    _compares: ClassVar[bool] = False  # positives with negatives: both are needed
    _counts_ties_half: ClassVar[bool] = False  # then a row that is given twice has another rank
    warmup_epochs: int
    _epoch: int | None = None

    def _column_values(self, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
        """Value of each column, ``(l,)``.

        Parameters
        ----------
        scores : Tensor of shape (n, l)
            Probabilities with ``_on_probabilities``, else log-odds.
        positive : Tensor of shape (n, l)
            0 or 1.
        weight : Tensor of shape (n, l)
            Row weights; 0 is a row left out.
        """
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, counted from 0: warm-up, or the loss itself."""
        self._epoch = epoch

    @property
    def is_warming_up(self) -> bool:
        """Whether the loss is cross-entropy now; never without ``set_epoch``."""
        return self._epoch is not None and self._epoch < self.warmup_epochs

    def has_form_for(self, task: Any) -> bool:
        """Return True: a column is a class in the softmax form, a label in the sigmoid form."""
        return True

    # -- forms -----------------------------------------------------------------------------

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Value of a batch.

        Parameters
        ----------
        logits : Tensor of shape (n, c), (n, c, d1, ...), or of the target's shape
            Raw outputs of a module.
        target : Tensor of shape (n,), (n, d1, ...), or of the logits' shape
            Class indices (softmax form), or zeros and ones of the logits' shape (sigmoid form).
        weight : Tensor of the shape of ``target``, of shape (n,) or a scalar, optional
            Row weights.

        Returns
        -------
        Tensor
            Mean (or sum) over the columns; with ``reduction="none"`` one value per column.

        Raises
        ------
        ValueError
            If shapes do not fit, or a class index is out of range.
        """
        logits = single_precision(logits)
        given = torch.ones((), device=logits.device, dtype=logits.dtype)
        if weight is not None:
            given = row_weights(weight, target).to(logits.dtype)
        given = given.expand(target.shape)
        if target.shape == logits.shape:
            rows, labels, weights = map(as_label_rows, (logits, target.to(logits.dtype), given))
            if self.weight is not None:
                weights = weights * self._class_factors(rows.shape[1], rows)
            return self._value_of_labels(rows, labels, weights)
        rows, index, kept = as_index_rows(logits, target, self.ignore_index)
        weights = given.reshape(-1) * kept
        factors = self._class_factors(rows.shape[1], rows)
        if isinstance(factors, Tensor):
            weights = weights * factors[index]
        return self._value_of_classes(rows, index, weights, kept.sum())

    def _value_of_labels(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Value in the sigmoid form, from logits, labels and weights of shape ``(n, l)``."""
        if self.is_warming_up:
            values = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            return reduce(values * weights, weights, labels.numel(), self._warm_reduction)
        scores = torch.sigmoid(logits) if self._on_probabilities else logits
        return self._reduce_columns(scores, labels, weights)

    def _value_of_classes(
        self, logits: Tensor, index: Tensor, weights: Tensor, n_rows: Tensor | int
    ) -> Tensor:
        """Value in the softmax form, from logits ``(n, c)``, class indices and weights ``(n,)``."""
        if self.is_warming_up:
            values = F.cross_entropy(logits, index, reduction="none")
            return reduce(values * weights, weights, n_rows, self._warm_reduction)
        scores, positive = self._columns_of_classes(logits, index)
        return self._reduce_columns(scores, positive, weights.unsqueeze(1).expand_as(scores))

    def _columns_of_classes(self, logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and positives, ``(n, l)``, from logits ``(n, c)`` and class indices ``(n,)``."""
        n_classes = logits.shape[1]
        if n_classes == 2:
            scores = logits[:, 1:] - logits[:, :1]
            scores = torch.sigmoid(scores) if self._on_probabilities else scores
            return scores, index.unsqueeze(1).to(logits.dtype)
        log_p = torch.log_softmax(logits, dim=1)
        scores = log_p.exp() if self._on_probabilities else log_p - log_not_each(log_p)
        return scores, one_hot(index, n_classes, logits.dtype)

    @property
    def _warm_reduction(self) -> str:
        return "mean" if self.reduction == "none" else self.reduction

    def _with_memory(
        self, scores: Tensor, positive: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows to compute with: those of the batch, unless a loss remembers others."""
        return scores, positive, weight

    def _reduce_columns(self, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
        scores, positive, weight = self._with_memory(scores, positive, weight)
        usable = (positive * weight).sum(0) > 0
        if self._compares:
            usable = usable & (((1 - positive) * weight).sum(0) > 0)
        values = torch.where(usable, self._column_values(scores, positive, weight), 0)
        if self.reduction in _MEANS:
            return values.sum() / usable.sum().clamp_min(1)
        return reduce(values, usable, 1, self.reduction)

    def batch_loss(self, logits: Tensor, target: Tensor, share: Tensor) -> Tensor:
        """Loss of a batch, a scalar; ``share`` is the weights divided by their number."""
        if target.ndim == 2:
            weights = (share * target.numel()).expand_as(target)
            return self._value_of_labels(logits, target, weights).sum()
        return self._value_of_classes(logits, target, share * len(share), len(share)).sum()

    def batch_loss_of_members(self, output: Tensor, target: Tensor, share: Tensor) -> Tensor:
        """Mean over the members of the loss of a batch, from outputs ``(n, k, c)``.

        Members are columns of scores, so that each is ranked, and remembered, by itself.
        """
        n, n_members = output.shape[:2]
        reduction = self.reduction
        if self.is_warming_up:
            value, reduction = (
                self.batch_loss(*fold_members(output, target, share)),
                self._warm_reduction,
            )
        elif target.ndim == 2:
            weights = (share * target.numel()).expand_as(target).repeat(1, n_members)
            value = self._value_of_labels(output.flatten(1), target.repeat(1, n_members), weights)
        else:
            rows, index, _ = fold_members(output, target, share)
            scores, positive = (
                columns.reshape(n, -1) for columns in self._columns_of_classes(rows, index)
            )
            weights = (share * n).unsqueeze(1).expand_as(scores)
            value = self._reduce_columns(scores, positive, weights)
        return value.sum() if reduction in _MEANS else value.sum() / n_members

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Normalised scores, not probabilities: softmax of the logits."""
        return torch.log_softmax(logits, dim=1)


def anchors(positive: Tensor) -> Tensor | slice:
    """Select the rows that are positive in some column, so that there are few pairs.

    On a device other than the CPU all rows are taken: to select some would wait for the device, and
    give a shape that depends on the data.
    """
    if positive.device.type != "cpu" or torch.compiler.is_compiling():
        return slice(None)
    return positive.any(dim=1).nonzero().squeeze(1)


def safe_ratio(part: Tensor, whole: Tensor) -> Tensor:
    """``part / whole``, 0 where both are 0."""
    return part / whole.clamp_min(torch.finfo(whole.dtype).tiny)
