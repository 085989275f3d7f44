"""Several labels per row: the task, and how much the presence of each label weighs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import assert_all_finite
from torch import Tensor

from imbtorch._data.targets import (
    absent_masses,
    encode_label_matrix,
    has_unknown,
    present_labels,
    rarest_label,
    stratified_holdout,
    unknown_labels,
)
from imbtorch._tasks.base import Balance, ClassificationTask, Link, RowWeights, log_mean
from imbtorch._tasks.double_correction import check_double_correction
from imbtorch._tasks.unknown_terms import check_leaves_out, tell_of_untrained
from imbtorch.losses import BaseLoss, as_loss
from imbtorch.metrics._average_precision import BLOCK, column_precision
from imbtorch.priors import log_prior_ratio, resolve_label_prior
from imbtorch.weights import label_weights

__all__ = ["LabelBalance", "Labels"]

Floats = NDArray[np.float64]
Positions = NDArray[np.integer[Any]]
_ROUNDING = 1e-9  # relative difference of two sums of the same weights
_ABSENT_ONCE = np.array([1.0, 0.0])  # counts that a loss sees for a label that no row knows
_REACH, _HALVINGS = 80.0, 60  # largest log-odds of an initial bias; steps of the bisection


class Labels(ClassificationTask):
    """Several labels per row, each of which is absent, present or not known.

    A label that is not known counts for nothing: not in the loss, the counts and the score. Where
    rows as a whole are grouped or sampled by their labels, it counts as absent.

    Parameters
    ----------
    n_labels : int
        Number of labels.
    """

    name = "labels"
    form = "sigmoid"
    noun = "labels"
    singular = "label"
    weight_title = "weight of presence to absence"

    def __init__(self, n_labels: int) -> None:
        self.n_outputs = self.n_labels = n_labels
        self.classes = np.arange(n_labels)

    # -- targets ---------------------------------------------------------------------------

    @classmethod
    def encode(cls, y: Any) -> tuple[Labels, Any]:
        """Store a matrix of labels as CSR, in which -1 is a label that is not known."""
        matrix = encode_label_matrix(y)
        if not has_unknown(matrix) and matrix.shape[1] > 2 and (np.diff(matrix.indptr) == 1).all():
            warnings.warn(
                f"Every row of y has exactly one of {matrix.shape[1]} labels, as in a one-hot "
                "encoding, but y is read as labels of which a row may have none or several. If a "
                "row has one class, give y.argmax(axis=1), one class per row.",
                UserWarning,
                stacklevel=2,
            )
        return cls(matrix.shape[1]), matrix

    def attributes(self) -> dict[str, Any]:
        """Return the numbers of the labels."""
        return {"classes_": self.classes}

    @classmethod
    def restored(cls, n_outputs: int, attributes: dict[str, Any]) -> Labels:
        """Make the task of a net from its fitted attributes."""
        return cls(n_outputs)

    @classmethod
    def counts_shape(cls, n_outputs: int) -> tuple[int, ...]:
        """Two counts per label."""
        return (n_outputs, 2)

    def encode_known(self, y: Any, rows: Positions | None = None) -> Any:
        """Store a matrix of as many labels as CSR, all rows of it."""
        matrix = encode_label_matrix(y)
        if matrix.shape[1] != self.n_outputs:
            raise ValueError(f"y has {matrix.shape[1]} labels, expected {self.n_outputs}.")
        return matrix

    def batch_of(self, y: Any, dtype: torch.dtype) -> Tensor:
        """Labels of a batch, ``(n, n_labels)``; -1 is a label that is not known."""
        return torch.from_numpy(self.encode_known(y).toarray()).to(dtype)

    def factors(self, weights: Tensor, target: Tensor) -> Tensor:
        """Repeat the one factor that all rows have."""
        return weights[torch.zeros(len(target), dtype=torch.int64, device=target.device)]

    def hold_out(self, targets: Any, fraction: float, seed: int) -> tuple[Positions, Positions]:
        """Hold out a share of the rows with each label, a row counting for its rarest label."""
        codes, names = rarest_label(targets)
        return stratified_holdout(codes, fraction, seed, names)

    def counts(self, targets: Any, weights: Floats | None) -> Floats:
        """Count the rows without and with each label, ``(n_labels, 2)``."""
        masses = np.ones(targets.shape[0]) if weights is None else weights
        present = np.asarray(present_labels(targets).astype(np.float64).T @ masses)
        unknown = unknown_labels(targets)
        if unknown is None:
            return np.stack([masses.sum() - present, present], axis=1)
        missing = np.asarray(unknown.astype(np.float64).T @ masses)
        return np.stack([absent_masses(masses.sum(), present, missing), present], axis=1)

    def masses(self, labelled: dict[Any, float], total: float) -> Floats:
        """Arrange counts of the rows without and with each label."""
        present = np.array([labelled.get(label, 0.0) for label in range(self.n_outputs)])
        return np.stack([total - present, present], axis=1)

    def present(self, counts: Floats) -> Floats:
        """Return the rows with each label."""
        return counts[:, 1]

    def total(self, counts: Floats) -> float:
        """Add up the rows without and with a label."""
        return float(counts[0].sum())

    def shown_weight(self, class_weight: Floats) -> Floats:
        """Return the weight of presence, relative to absence."""
        return class_weight[:, 1] / class_weight[:, 0]

    def scorer(
        self, estimator: Any, X: Any, targets: Any, weights: Floats | None
    ) -> Callable[[], float]:
        """Average precision of the known rows, averaged over the labels that have positives."""
        labels = np.asarray(targets.toarray() if sparse.issparse(targets) else targets)
        return lambda: _mean_label_precision(labels, estimator.decision_function(X), weights)

    @staticmethod
    def check_scoring(scoring: str, targets: Any) -> None:
        """Raise ValueError if a metric of scikit-learn would get labels that are not known."""
        if has_unknown(targets):
            raise ValueError(
                f"scoring={scoring!r} is a metric of scikit-learn, which cannot leave out labels "
                "that are not known (NaN in y). Use scoring=None, the mean average precision of "
                "the known labels, or a callable(estimator, X, y) that leaves them out."
            )

    def balance(
        self, counts: Floats, seen: Floats, class_weight: Any, loss: Any, *, at_least: int
    ) -> LabelBalance:
        """Compute weights from the training data, and prepare the loss for what it will see."""
        return LabelBalance.of(counts, seen, class_weight, loss)

    # -- outputs and loss --------------------------------------------------------------------

    def example_targets(self, values: Tensor) -> Tensor:
        """Labels that are present where the numbers are positive."""
        return (values > 0).to(values.dtype)

    def even_share(self, output: Tensor) -> Tensor:
        """Return equal shares of all terms, one number per row, ``(n, 1)``."""
        return output.new_full((len(output), 1), 1 / (len(output) * output.shape[-1]))

    def closed_form(self, loss: Any, target: Any, output: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return loss and derivative of each label."""
        known: tuple[Tensor, Tensor] | None = loss.with_label_gradient(output, target)
        return known

    def predicted(self, loss: Any) -> Link:
        """From logits to probabilities of the labels."""
        return torch.sigmoid

    def decided(self, predicted: NDArray[Any]) -> NDArray[Any]:
        """Choose the labels that are more probable than not."""
        return (predicted > 0.5).astype(np.int64)

    # -- from outputs to probabilities ---------------------------------------------------------

    def resolve_prior(self, target_prior: Any, class_prior: Floats) -> Floats:
        """Turn ``target_prior`` into one probability per label."""
        return resolve_label_prior(target_prior, class_prior)

    def log_shift(self, source: Floats, target: Floats) -> Floats:
        """Return the differences of the log-odds of two priors; 0 for labels without choice."""
        present, absent = log_prior_ratio(source, target), log_prior_ratio(1 - source, 1 - target)
        return np.where((source > 0) & (source < 1), present - absent, 0.0)

    def link(self, loss: Any, log_shift: Tensor | None) -> Link:
        """From logits to log-odds of the labels, ``(n, l) -> (n, l)``."""
        if log_shift is None:
            return lambda logits: logits
        return lambda logits: loss.log_odds(logits) + log_shift

    def log_proba(self, linked: Tensor) -> Tensor:
        """From log-odds to log-probabilities."""
        return F.logsigmoid(linked)

    def proba(self, linked: Tensor) -> Tensor:
        """From log-odds to probabilities."""
        return torch.sigmoid(linked)

    def mean_scores(self, linked: Tensor, shares: Tensor | None = None) -> Tensor:
        """Log-odds of the mean probabilities."""
        yes, no = F.logsigmoid(linked), F.logsigmoid(-linked)
        return log_mean(yes, shares) - log_mean(no, shares)

    def decision(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return the log-odds of each label, ``(n, l)``."""
        return scores

    def decide(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Choose the labels that are more probable than not."""
        return (scores > 0).astype(np.int64)


@dataclass(frozen=True)
class LabelBalance(Balance):
    """How much absence and presence of each label weigh, from the data to the loss.

    Attributes
    ----------
    counts : ndarray of shape (n_labels, 2)
        Weighted rows without and with each label in the training part.
    seen : ndarray of shape (n_labels, 2)
        Weighted rows without and with each label that the loss sees, after the sampler.
    class_weight : ndarray of shape (n_labels, 2)
        Weights of absence and presence, scaled so that terms weigh 1 on average.
    loss : BaseLoss
        Prepared for ``seen``.
    """

    counts: Floats
    seen: Floats
    class_weight: Floats
    loss: BaseLoss

    @classmethod
    def of(cls, counts: Floats, seen: Floats, class_weight: Any, loss: Any) -> LabelBalance:
        """Compute weights from the training data, and prepare the loss for what it will see.

        Raises
        ------
        ValueError
            If a weight is invalid, or the loss has no form for labels.
        """
        weights = label_weights(class_weight, counts)
        if not counts.any(axis=1).all():
            tell_of_untrained(np.flatnonzero(~counts.any(axis=1)), len(counts))
        shown, is_seen = seen, seen.any(axis=1, keepdims=True)
        if not is_seen.all():
            seen = np.where(is_seen, seen, _ABSENT_ONCE)
        prepared = as_loss(loss).prepare(seen)
        if not prepared.has_form_for(Labels(len(counts))):
            raise ValueError(
                f"loss={prepared} has no form for several labels per row; use 'bce', 'focal', "
                "'asymmetric', 'distribution_balanced', 'logit_adjusted' or another one whose form "
                "is 'sigmoid' in imbtorch.losses."
            )
        if prepared.class_weight is not None:
            weights = weights * prepared.class_weight[:, None]
        return cls(counts, seen, weights / _mean(shown, weights), prepared)

    def weigh(self, split: Any, dtype: str, n_rows: int | None = None) -> RowWeights:
        """Weigh each row by its sample weight, and the terms of each label.

        Terms of labels that are not known weigh 0. The others weigh more in exchange, so that all
        terms weigh 1 on average, and a batch loss is about the mean over its known terms. Losses
        of a whole batch take means of their own.
        """
        mean = None if n_rows is None else float(self.counts[0].sum()) / n_rows
        if not (has_unknown(split.targets) or self._knows_unevenly):
            return RowWeights(split.weigh_rows(dtype, mean=mean), self._label_factors(dtype))
        check_leaves_out(self.loss, len(self.counts))
        known = self.counts.sum(axis=1)
        if not self.loss.sums_over_rows:
            mean = None if n_rows is None else float(known.max()) / n_rows
            return RowWeights(split.weigh_rows(dtype, mean=mean), self._label_factors(dtype))
        mean = float(known.mean()) / (n_rows or split.n_rows)
        rows = split.weigh_rows(dtype, mean=mean)
        return RowWeights(rows, self._label_factors(dtype, 1 / mean if rows is None else 1.0))

    def stream_factors(self, n_rows: int, total: float, dtype: str) -> RowWeights:
        """Return the one factor of ``sample_weight``, for ``n_rows`` rows of a stream."""
        if not np.allclose(self.counts.sum(axis=1), total, rtol=_ROUNDING, atol=0):
            check_leaves_out(self.loss, len(self.counts))
            if self.loss.sums_over_rows:
                total = float(self.counts.sum(axis=1).mean())
        row = None if total == n_rows else np.array([n_rows / total], dtype)
        return RowWeights(row, self._label_factors(dtype))

    @property
    def _knows_unevenly(self) -> bool:
        """Whether some labels were known for more rows than others, in this chunk or before."""
        known = self.counts.sum(axis=1)
        return not np.allclose(known, known[0], rtol=_ROUNDING, atol=0)

    def _label_factors(self, dtype: str, scale: float = 1.0) -> NDArray[Any] | None:
        even = np.ptp(self.class_weight) == 0 and scale == 1
        return None if even else (self.class_weight * scale).astype(dtype)

    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes that follow from the balance."""
        return {
            "class_counts_": self.counts,
            "class_prior_": self.prior,
            "effective_prior_": self.effective_prior,
            "class_weight_": self.class_weight,
        }

    @property
    def prior(self) -> Floats:
        """Share of the rows that have each label, ``(n_labels,)``."""
        return _share(self.counts)

    @property
    def effective_prior(self) -> Floats:
        """Share of each label in the population that the posterior of the loss describes."""
        return _share(self.seen * self.class_weight)

    @property
    def initial_bias(self) -> Tensor | None:
        """Output bias at which each label is predicted at its share of the weighted rows."""
        loss = self.loss
        if not loss.has_posterior_for(Labels(len(self.counts))):
            return None
        share = torch.from_numpy(self.effective_prior)
        rarest = 0.5 / self.seen.sum(axis=1).max()
        wanted = torch.logit(share.clamp(rarest, 1 - rarest)).unsqueeze(0)
        low, high = torch.full_like(wanted, -_REACH), torch.full_like(wanted, _REACH)
        for _ in range(_HALVINGS):  # the link rises with the logit, whatever the loss
            middle = (low + high) / 2
            below = loss.log_odds(middle) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return ((low + high) / 2).squeeze(0)

    def at_power(self, class_weight: Any, power: float) -> LabelBalance:
        """Return the balance under a power of the class weights; a weight of 0 stays 0."""
        stated = label_weights(class_weight, self.counts)
        weights = np.where(stated > 0, stated**power, 0.0)
        if self.loss.class_weight is not None:
            weights = weights * self.loss.class_weight[:, None]
        return replace(self, class_weight=weights / _mean(self.seen, weights))

    def before_sampler(self) -> LabelBalance:
        """Return the balance of epochs in which the sampler does not act yet."""
        return replace(self, seen=self.counts)

    def check_double_correction(self, sampler: Any, class_weight: Any) -> None:
        """Warn if sampler, weights and loss correct the imbalance of the typical label twice."""
        usable = np.flatnonzero((self.counts > 0).all(axis=1))
        if not usable.size:
            return
        typical = usable[np.argsort(self.prior[usable])[len(usable) // 2]]
        counts, seen = self.counts[typical], self.seen[typical]
        zeros = torch.zeros(1, len(self.counts), dtype=torch.float64)
        own = float(self.loss.log_odds(zeros)[0, typical])
        with np.errstate(divide="ignore"):
            log_effects = {
                "sampler={.__class__.__name__}": (
                    sampler,
                    np.log(seen / seen.sum()) - np.log(counts / counts.sum()),
                ),
                "class_weight={!r}": (class_weight, np.log(self.class_weight[typical])),
                "loss={}": (self.loss, np.array([0.0, -own])),
            }
        check_double_correction(counts / counts.sum(), log_effects)


def _mean(seen: Floats, weights: Floats) -> float:
    return float((seen * weights).sum() / seen.sum())


def _share(masses: Floats) -> Floats:
    share: Floats = masses[:, 1] / np.maximum(masses.sum(axis=1), np.finfo(np.float64).tiny)
    return share


def _mean_label_precision(
    labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None
) -> float:
    """Average precision, averaged over the labels that have positives; NaN without any.

    Rows in which a label is not known, -1, do not count for this label.
    """
    usable = np.flatnonzero((labels > 0).any(axis=0))
    if not len(usable):
        return float("nan")
    assert_all_finite(scores, input_name="scores")
    n = len(scores)
    weights = np.ones(n) if weights is None else weights
    if labels.dtype.kind == "i":
        weights, labels = weights * (labels >= 0).T, np.maximum(labels, 0)
    step = max(BLOCK // n, 1)
    total = sum(
        column_precision(
            labels.T[some], scores.T[some], weights if weights.ndim == 1 else weights[some]
        ).sum()
        for some in (usable[start : start + step] for start in range(0, len(usable), step))
    )
    return float(total / len(usable))
