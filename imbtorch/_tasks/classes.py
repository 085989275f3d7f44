"""The balance of the classes: how much each one weighs at every stage, and for whom.

Training prior x sampler x class weights x loss adjustment = effective prior, the population that
the raw posterior describes. Below this module nothing knows about class weights: a loss sees one
weight per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imbtorch._tasks.double_correction import check_double_correction
from imbtorch.losses import BaseLoss, as_loss
from imbtorch.priors import normalize
from imbtorch.weights import class_weights

__all__ = ["ClassBalance"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassBalance:
    """Class masses from the data to the loss.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The labels.
    counts : ndarray of shape (n_classes,)
        Weighted rows of each class in the training part.
    seen : ndarray of shape (n_classes,)
        The same as the loss sees them, after the sampler.
    class_weight : ndarray of shape (n_classes,)
        Weight of each class, that of ``loss.weight`` included.
    loss : BaseLoss
        Prepared for ``seen``.
    """

    classes: NDArray[Any]
    counts: Floats
    seen: Floats
    class_weight: Floats
    loss: BaseLoss

    @classmethod
    def of(
        cls,
        classes: NDArray[Any],
        counts: Floats,
        seen: Floats,
        class_weight: Any,
        loss: Any,
        *,
        at_least: int = 2,
    ) -> ClassBalance:
        """Compute weights from the training data, and prepare the loss for what it will see.

        ``class_weight`` is a statement about the data that the user gave, so it is computed from
        ``counts``; the prior inside a loss is that of the rows it is trained on, so it is
        computed from ``seen``.

        Raises
        ------
        ValueError
            If fewer than ``at_least`` classes have rows that weigh, or a weight is invalid.
        """
        weights = class_weights(class_weight, counts, classes)
        prepared = as_loss(loss).prepare(seen)
        weights = weights * class_weights(prepared.class_weight, counts, classes)
        present = classes[seen * weights > 0].tolist()
        if len(present) < at_least:
            raise ValueError(
                f"A classifier needs rows of at least {at_least} classes with a weight above 0; "
                f"got {len(present)} class(es): {present}."
            )
        return cls(classes, counts, seen, weights, prepared)

    task = "classes"

    @property
    def n_outputs(self) -> int:
        """Columns of the net."""
        return len(self.classes)

    def weigh(self, part: Any, dtype: str, n_rows: int | None = None) -> tuple[Any, None]:
        """Weights of the rows of a part, and of labels, of which there are none.

        They are scaled to mean 1 over the part, or over the ``n_rows`` rows counted so far.
        """
        mean = None if n_rows is None else float(self.counts @ self.class_weight) / n_rows
        return part.weigh(self.class_weight, dtype, mean), None

    @property
    def prior(self) -> Floats:
        """Class frequencies of the training data."""
        return normalize(self.counts)

    @property
    def weighted_prior(self) -> Floats:
        """Class frequencies in the weighted sum that is minimised."""
        return normalize(self.seen * self.class_weight)

    @property
    def _log_shift(self) -> Floats:
        shift = self.loss.log_prior_shift()
        return np.zeros(len(self.classes)) if shift is None else shift.double().cpu().numpy()

    @property
    def effective_prior(self) -> Floats:
        """The population that the raw posterior describes."""
        shift = self._log_shift
        return normalize(self.weighted_prior * np.exp(shift - shift.max()))

    @property
    def initial_bias(self) -> torch.Tensor | None:
        """Output bias at which the net starts, where the loss calls for one."""
        prior = self.weighted_prior
        floor = prior[prior > 0].min() / 2  # for classes that partial_fit has not met yet
        log_prior = torch.from_numpy(np.log(np.maximum(prior, floor)))
        return self.loss.initial_bias(log_prior)

    def check_double_correction(self, sampler: Any, class_weight: Any) -> None:
        """Warn if sampler, weights and loss correct the same imbalance more than once."""
        own = class_weights(self.loss.class_weight, self.counts, self.classes)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_effects = {
                "sampler={.__class__.__name__}": (
                    sampler,
                    np.log(normalize(self.seen) / self.prior),
                ),
                "class_weight={!r}": (class_weight, np.log(self.class_weight / own)),
                "weight of {}": (self.loss, np.log(own)),
                "loss={}": (self.loss, self._log_shift),
            }
        check_double_correction(self.prior, log_effects)
