"""Losses of the top of a ranking: recall among the highest scores, average precision."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._whole_batch import WARMUP_CONSTRAINT, WholeBatchMixin, safe_ratio

__all__ = ["RecallAtTopLoss", "SmoothAPLoss"]


class RecallAtTopLoss(WholeBatchMixin, BaseLoss):
    r"""One minus a smooth recall among the highest scores of a batch.

    .. math:: \ell = 1 - \frac{1}{n_+} \sum_{i \in +} \sigma \left( \frac{s_i - \theta}{T}
        \right)

    where a share ``fraction`` of the rows scores :math:`\theta` or more.

    Parameters
    ----------
    fraction : float in (0, 1), default=0.05
        Share of the rows that can be looked at.
    temperature : float > 0, default=1.0
        :math:`T`, the width of the smooth step, in log-odds.
    warmup_epochs : int >= 0, default=0
        Epochs of cross-entropy first; the estimator counts them, another training loop calls
        ``set_epoch``.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        Over the columns; ``"none"`` gives one value per column.

    Notes
    -----
    Use it where capacity is fixed, such as an inspection of the top 1%, with batches large enough
    that the top share holds several rows. Weights count in the share and in the recall. A batch
    without positives has the value 0 and no gradient. Scores are not probabilities.

    References
    ----------
    .. [1] Adam et al. (2020). "General Framework for Binary Classification on Top Samples".
           :arxiv:`2002.10923`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import RecallAtTopLoss
    >>> scores, target = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
    >>> loss = RecallAtTopLoss(fraction=0.5, temperature=0.001)
    >>> round(loss(scores, target).item(), 4)
    0.5
    """

    name = "recall_at_top"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "fraction": [Interval(Real, 0, 1, closed="neither")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        **WARMUP_CONSTRAINT,
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {"fraction": 0.2},
        {"fraction": 0.5, "temperature": 0.3},
    )

    def __init__(
        self,
        fraction: float = 0.05,
        temperature: float = 1.0,
        warmup_epochs: int = 0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.fraction = fraction
        self.temperature = temperature
        self.warmup_epochs = warmup_epochs

    def _column_values(self, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
        ordered, order = scores.sort(dim=0, descending=True, stable=True)
        reached = weight.gather(0, order).cumsum(0)
        before = (reached < self.fraction * weight.sum(0) * (1 - 1e-6)).sum(0, keepdim=True)
        threshold = ordered.gather(0, before.clamp_max(len(scores) - 1))
        found = torch.sigmoid((scores - threshold) / self.temperature)
        hits = weight * positive
        return 1 - safe_ratio((hits * found).sum(0), hits.sum(0))


class SmoothAPLoss(WholeBatchMixin, BaseLoss):
    r"""One minus a smooth average precision of a batch and of scores remembered from earlier ones.

    .. math:: \ell = 1 - \frac{1}{n_+} \sum_{i \in +} \frac{R^+_i}{R_i}, \qquad
        R_i = 1 + \sum_{j \ne i} \sigma \left( \frac{s_j - s_i}{T} \right)

    :math:`R_i` is the smooth rank among all rows, :math:`R^+_i` among the positives. Remembered
    rows pass no gradient; they make the ranks of a few positives meaningful. Scores are taken
    relative to the mean of their batch. Time and memory grow with the positives of each
    column times all rows.

    Parameters
    ----------
    temperature : float > 0, default=0.1
        :math:`T`, the width of the smooth step, in log-odds. Papers have 0.01, for cosines.
    queue_size : int >= 0, default=1024
        How many rows to remember in training mode; 0 ranks within the batch.
    warmup_epochs : int >= 0, default=0
        Epochs of cross-entropy first; the estimator counts them, another training loop calls
        ``set_epoch``.
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class, used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        Over the columns; ``"none"`` gives one value per column.

    Notes
    -----
    Use it to rank by average precision, the usual score of rare positives, after a warm-up. Weights
    count in the ranks and in the mean. Where neither the batch nor the memory holds positives, its
    value is 0, without gradient. Scores are not probabilities.

    References
    ----------
    .. [1] Brown et al. (2020). "Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval".
           :arxiv:`2007.12163`
    .. [2] Wang et al. (2020). "Cross-Batch Memory for Embedding Learning". :arxiv:`1912.06798`
           (the queue)

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import SmoothAPLoss
    >>> scores, target = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
    >>> round(SmoothAPLoss(temperature=0.01)(scores, target).item(), 4)
    0.1659
    """

    name = "smooth_ap"
    _counts_ties_half = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "queue_size": [Interval(Integral, 0, None, closed="left")],
        **WARMUP_CONSTRAINT,
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"queue_size": 0})

    queue: Tensor | None

    def __init__(
        self,
        temperature: float = 0.1,
        queue_size: int = 1024,
        warmup_epochs: int = 0,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.register_buffer("queue", None)
        self.temperature = temperature
        self.queue_size = queue_size
        self.warmup_epochs = warmup_epochs

    def _prepare(self, class_counts: Tensor) -> None:
        self.queue = None  # scores of another training must not count in the ranks

    def _with_memory(
        self, scores: Tensor, positive: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add the remembered rows, which are constants, and remember these."""
        # Compared with scores of earlier steps, the loss would fall if every score rose a little in
        # each step. Scores relative to the mean of their own batch prevent this.
        scores = scores - safe_ratio((weight * scores).sum(0), weight.sum(0))
        current = torch.stack([scores, positive, weight])
        queue = self.queue
        if queue is not None and queue.shape[2] == current.shape[2]:
            current = torch.cat([current, queue.to(current.dtype)], dim=1)
        if self.training and self.queue_size:
            self.queue = current.detach()[:, : self.queue_size].clone()
        scores, positive, weight = current.unbind(0)
        return scores, positive, weight

    def _column_values(self, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
        rows, columns = _positives(positive * weight)
        own, own_weight = scores[rows, columns], weight[rows, columns]
        others, positive_others = _of_columns(scores, columns), _of_columns(positive, columns)
        # a row is not above itself
        in_rank = _of_columns(weight, columns).scatter(1, rows.unsqueeze(1), 0.0)
        above = torch.sigmoid((others - own.unsqueeze(1)) / self.temperature) * in_rank
        rank = own_weight + above.sum(1)
        rank_among_positives = own_weight + (above * positive_others).sum(1)
        precision = safe_ratio(rank_among_positives, rank)
        hits = own_weight * positive[rows, columns]
        n_columns = scores.shape[1]
        return 1 - safe_ratio(
            _sum_by_column(hits * precision, columns, n_columns),
            _sum_by_column(hits, columns, n_columns),
        )


def _positives(hits: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column of each positive, so that a column is ranked for its own ones only.

    On a device other than the CPU all rows are taken in all columns: to select some would wait for
    the device, and give a shape that depends on the data.
    """
    if _selects(hits):
        rows, columns = hits.nonzero().unbind(1)
        return rows, columns
    n, n_columns = hits.shape
    places = torch.arange(n * n_columns, device=hits.device)
    return places // n_columns, places % n_columns


def _of_columns(numbers: Tensor, columns: Tensor) -> Tensor:
    """Return all rows of the column of each positive, ``(n, l) -> (n_positives, n)``."""
    if numbers.shape[1] == 1:  # a view
        return numbers.t().expand(len(columns), -1)
    return numbers.t()[columns]


def _selects(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _sum_by_column(values: Tensor, columns: Tensor, n_columns: int) -> Tensor:
    """Sum the values of the positives of each column, ``(n_positives,) -> (n_columns,)``."""
    if not _selects(values):
        return values.view(-1, n_columns).sum(0)
    if n_columns == 1:
        return values.sum(0, keepdim=True)
    return values.new_zeros(n_columns).index_add(0, columns, values)
