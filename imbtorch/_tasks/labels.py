"""The balance of each of several labels: what ``_balance`` is for classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imbtorch._tasks.double_correction import check_double_correction
from imbtorch.losses import BaseLoss, as_loss
from imbtorch.weights import label_weights

__all__ = ["LabelBalance"]

Floats = NDArray[np.float64]
_REACH, _HALVINGS = 80.0, 60  # log-odds that a bias may have; bisection steps


@dataclass(frozen=True)
class LabelBalance:
    """Masses of absence and presence of each label, from the data to the loss.

    Attributes
    ----------
    counts : ndarray of shape (n_labels, 2)
        Weighted rows without and with each label in the training part.
    seen : ndarray of shape (n_labels, 2)
        The same as the loss sees them, after the sampler.
    class_weight : ndarray of shape (n_labels, 2)
        Weights of absence and presence, scaled so that terms weigh 1 on average.
    loss : BaseLoss
        Prepared for ``seen``.
    """

    counts: Floats
    seen: Floats
    class_weight: Floats
    loss: BaseLoss
    task = "labels"

    @classmethod
    def of(cls, counts: Floats, seen: Floats, class_weight: Any, loss: Any) -> LabelBalance:
        """Compute weights from the training data, and prepare the loss for what it will see.

        Raises
        ------
        ValueError
            If a weight is invalid, or the loss has no form for labels.
        """
        weights = label_weights(class_weight, counts)
        prepared = as_loss(loss).prepare(seen)
        if type(prepared).per_label is BaseLoss.per_label and not hasattr(prepared, "_of_labels"):
            raise ValueError(
                f"loss={prepared} has no form for several labels a row; use 'bce', 'focal', "
                "'asymmetric', 'distribution_balanced', 'logit_adjusted' or another one whose form "
                "is 'sigmoid' in imbtorch.losses."
            )
        if prepared.class_weight is not None:
            weights = weights * prepared.class_weight[:, None]
        mean = float((seen * weights).sum() / seen.sum())
        return cls(counts, seen, weights / mean, prepared)

    @property
    def classes(self) -> NDArray[np.intp]:
        """Numbers of the labels."""
        return np.arange(len(self.counts))

    @property
    def n_outputs(self) -> int:
        """Columns of the net."""
        return len(self.counts)

    @property
    def prior(self) -> Floats:
        """Share of the rows that have each label, ``(n_labels,)``."""
        return _share(self.counts)

    @property
    def effective_prior(self) -> Floats:
        """The same in the population that the posterior of the loss describes."""
        return _share(self.seen * self.class_weight)

    def weigh(self, part: Any, dtype: str, n_rows: int | None = None) -> tuple[Any, Any]:
        """Weights of the rows of a part, and of the labels; None where all are alike.

        Those of the rows have mean 1 over the part, or over the ``n_rows`` rows counted so far.
        """
        even = np.ptp(self.class_weight) == 0
        mean = None if n_rows is None else float(self.counts[0].sum()) / n_rows
        return part.weigh_rows(dtype, mean=mean), None if even else self.class_weight.astype(dtype)

    @property
    def initial_bias(self) -> torch.Tensor | None:
        """Output bias at which each label is predicted at its share of the weighted rows."""
        loss = self.loss
        if not label_posterior_exists(loss):
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

    def check_double_correction(self, sampler: Any, class_weight: Any) -> None:
        """Warn if sampler, weights and loss correct the imbalance of the typical label twice."""
        usable = np.flatnonzero((self.counts > 0).all(axis=1))
        if not usable.size:
            return
        typical = usable[np.argsort(self.prior[usable])[len(usable) // 2]]
        counts, seen = self.counts[typical], self.seen[typical]
        own = float(self.loss.log_odds(torch.zeros(1, self.n_outputs).double())[0, typical])
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


def label_posterior_exists(loss: BaseLoss) -> bool:
    """Whether log-odds of labels follow from the logits."""
    known = loss.has_label_posterior
    return bool(loss.has_posterior if known is None else known)


def _share(masses: Floats) -> Floats:
    share: Floats = masses[:, 1] / np.maximum(masses.sum(axis=1), np.finfo(np.float64).tiny)
    return share
