"""Samplers that draw rows once and show all of them in every epoch, for members of an ensemble."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from imbtorch._common.sklearn_private import Interval
from imbtorch.samplers._base import BaseSampler, Plan, label_counts
from imbtorch.samplers._rows import ClassRows, Positions, count_classes, index_dtype, permutation

__all__ = ["BalancedSubsetSampler", "BootstrapSampler"]

Floats = NDArray[np.float64]


class _FixedPlan(Plan):
    """The same rows in each epoch, in a new order."""

    def __init__(self, rows: Positions, counts: Floats, seed: int) -> None:
        self.rows, self.counts, self.seed = rows, counts, seed

    def order(self, epoch: int, n_epochs: int) -> Positions:
        """Shuffle the rows."""
        rng = np.random.default_rng([self.seed, epoch, 2])  # the draw has [seed]
        order: Positions = self.rows[permutation(len(self.rows), rng)]
        return order

    def expected_counts(self, n_epochs: int | None = None) -> Floats:
        """Count the rows that were drawn."""
        return self.counts.copy()


class BalancedSubsetSampler(BaseSampler):
    r"""Keep the rarest class and one part, drawn at random, of every other class.

    Class :math:`j` has :math:`\min(n_j, \text{ratio} \cdot \min_k n_k)` rows, the same in each
    epoch.

    Parameters
    ----------
    ratio : float > 0, default=1.0
        Rows of every other class for each row of the rarest.

    Notes
    -----
    Use it for the members of an ensemble, which divide the frequent classes among each other; for a
    single net :class:`UnderSampler` shows another part in each epoch.

    References
    ----------
    Liu, Wu & Zhou (2009), "Exploratory undersampling for class-imbalance learning", IEEE TSMC-B
    39(2). https://doi.org/10.1109/TSMCB.2008.2007853

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import BalancedSubsetSampler
    >>> codes = np.repeat([0, 1], [90, 10])
    >>> plan = BalancedSubsetSampler(ratio=3).plan(codes, 2, batch_size=32, seed=0)
    >>> np.bincount(codes[plan.order(epoch=0, n_epochs=3)])
    array([30, 10])
    >>> bool((np.sort(plan.order(0, 3)) == np.sort(plan.order(1, 3))).all())
    True
    """

    name = "balanced_subset"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "ratio": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, ratio: float = 1.0) -> None:
        self.ratio = ratio

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        rng, groups = np.random.default_rng([seed]), ClassRows(targets, n_classes)
        rarest = int(groups.counts[groups.present].min())
        most = max(1, round(self.ratio * rarest))
        counts, parts = np.zeros(n_classes), []
        for code in groups.present.tolist():
            rows = groups.of(code)
            size = rarest if len(rows) == rarest else min(len(rows), most)
            counts[code] = size
            parts.append(rng.permutation(rows)[:size])
        return _FixedPlan(np.concatenate(parts), counts, seed)


class BootstrapSampler(BaseSampler):
    """Draw as many rows as there are, with replacement: some come several times, others never.

    Each class keeps its number of rows, so that a rare class is never missing; rows of several
    labels are drawn from all rows.

    Notes
    -----
    Use it for the members of an ensemble (bagging).

    References
    ----------
    Breiman (1996), "Bagging predictors", Machine Learning 24. https://doi.org/10.1007/BF00058655

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import BootstrapSampler
    >>> codes = np.repeat([0, 1], [90, 10])
    >>> order = BootstrapSampler().plan(codes, 2, batch_size=32, seed=0).order(0, 3)
    >>> np.bincount(codes[order]), len(np.unique(order)) < 80
    (array([90, 10]), True)
    """

    name = "bootstrap"
    _takes_labels: ClassVar[bool] = True

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        rng, n = np.random.default_rng([seed]), targets.shape[0]
        kind = index_dtype(n)
        if sparse.issparse(targets):
            rows = rng.integers(0, n, n, dtype=kind)
            return _FixedPlan(rows, label_counts(targets[rows]), seed)
        groups = ClassRows(targets, n_classes)
        parts = [
            rng.choice(groups.of(code), groups.counts[code]) for code in groups.present.tolist()
        ]
        counts = count_classes(targets, n_classes).astype(np.float64)
        return _FixedPlan(np.concatenate(parts).astype(kind, copy=False), counts, seed)
