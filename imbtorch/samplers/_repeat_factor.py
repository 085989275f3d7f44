"""Every row at least once, rows of rare classes or labels more often."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from imbtorch._common.sklearn_private import Interval
from imbtorch.samplers._base import BaseSampler, Plan, unknown_part
from imbtorch.samplers._rows import Positions, chunks, count_classes, index_dtype, shuffled

__all__ = ["RepeatFactorSampler"]

Floats = NDArray[np.float64]


def _repeat_factors(counts: NDArray[np.int64], n_rows: int, threshold: float) -> Floats:
    # a class without rows repeats nothing; 1 spares a division by 0
    frequency = np.where(counts > 0, counts / n_rows, 1.0)
    return np.maximum(1.0, np.sqrt(threshold / frequency))


def _rarest_label(labels: Any, factors: Floats) -> tuple[NDArray[Any], Floats]:
    """Reduce a row of labels to the one that repeats it most.

    Returns the rank of that label among all, 0 for rows without labels, and the factor of each
    rank: rows of labels become rows of one class.
    """
    by_factor = np.argsort(factors, kind="stable")
    kind = np.min_scalar_type(len(factors))
    ranks = np.empty(len(factors), dtype=kind)
    ranks[by_factor] = np.arange(1, len(factors) + 1)
    levels = np.zeros(labels.shape[0], dtype=kind)
    filled = np.flatnonzero(np.diff(labels.indptr))
    if len(filled):
        levels[filled] = np.maximum.reduceat(ranks[labels.indices], labels.indptr[filled])
    return levels, np.append(1.0, factors[by_factor])


class _RepeatPlan(Plan):
    def __init__(self, targets: Any, n_classes: int, seed: int, threshold: float) -> None:
        self.targets, self.seed = targets, seed
        self.n_rows: int = targets.shape[0]
        self.unknown: Any = None
        if sparse.issparse(targets):
            targets, self.unknown = unknown_part(targets)
            self.targets = targets
            counts = count_classes(targets.indices, n_classes)
            factors = _repeat_factors(counts, self.n_rows, threshold)
            self.levels, self.factors = _rarest_label(targets, factors)
        else:
            self.counts = count_classes(targets, n_classes)
            self.levels = targets
            self.factors = _repeat_factors(self.counts, self.n_rows, threshold)
        is_rare, kind = self.factors > 1, index_dtype(self.n_rows)
        self.rare = np.concatenate(
            [
                (np.flatnonzero(is_rare[self.levels[chunk]]) + chunk.start).astype(kind)
                for chunk in chunks(self.n_rows)
            ]
        )

    def order(self, epoch: int, n_epochs: int) -> Positions:
        """Repeat each row, its factor rounded up or down at random, and shuffle."""
        rng = np.random.default_rng([self.seed, epoch])
        parts: list[Positions] = [np.arange(self.n_rows, dtype=self.rare.dtype)]
        for chunk in chunks(len(self.rare)):
            rows = self.rare[chunk]
            beyond_one = self.factors[self.levels[rows]] - 1
            repeats = (beyond_one + rng.random(len(rows))).astype(np.intp)
            parts.append(np.repeat(rows, repeats))
        return shuffled(parts, rng)

    def expected_counts(self, n_epochs: int | None = None) -> Floats:
        """Sum the factors of the rows of each class, or without and with each label."""
        if not sparse.issparse(self.targets):
            return self.counts * self.factors
        n_labels = self.targets.shape[1]
        total, present, unknown = 0.0, np.zeros(n_labels), np.zeros(n_labels)
        for chunk in chunks(self.n_rows):
            factors = self.factors[self.levels[chunk]]
            total += factors.sum()
            present += self.targets[chunk].T @ factors
            if self.unknown is not None:
                unknown += self.unknown[chunk].T @ factors
        if self.unknown is None:
            return np.stack([total - present, present], axis=1)
        absent = np.maximum(total - unknown - present, 0)
        return np.stack([absent, present], axis=1)


class RepeatFactorSampler(BaseSampler):
    r"""Repeat rows of rare classes or labels.

    .. math:: r_c = \max\left(1, \sqrt{t / f_c}\right), \qquad r_i = \max_{c \in i} r_c

    where :math:`f_c` is the share of rows that have class or label :math:`c`. An epoch has every
    row :math:`\lfloor r_i \rfloor` times, and once more with probability
    :math:`r_i - \lfloor r_i \rfloor`. A row without labels is there once.

    Parameters
    ----------
    threshold : float in (0, 1], default=1e-3
        :math:`t`: classes with a smaller share of the rows are repeated.

    Notes
    -----
    Use it for label matrices, and for long tails where only the rarest classes need help: it
    leaves out no row, and epochs grow only by the repeats.

    References
    ----------
    Gupta, Dollar & Girshick (2019), "LVIS: A dataset for large vocabulary instance segmentation",
    CVPR. :arxiv:`1908.03195`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import RepeatFactorSampler
    >>> codes = np.repeat([0, 1], [96, 4])
    >>> plan = RepeatFactorSampler(threshold=0.16).plan(codes, 2, batch_size=32, seed=0)
    >>> plan.expected_counts()  # a factor of sqrt(0.16 / 0.04) = 2
    array([96.,  8.])
    >>> np.bincount(codes[plan.order(epoch=0, n_epochs=10)])
    array([96,  8])
    """

    name = "repeat_factor"
    _takes_labels = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "threshold": [Interval(Real, 0, 1, closed="right")]
    }

    def __init__(self, threshold: float = 1e-3) -> None:
        self.threshold = threshold

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        return _RepeatPlan(targets, n_classes, seed, self.threshold)
