"""Rows drawn with replacement: first the class, then a row of it."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from imbtorch._common.sklearn_private import Interval
from imbtorch.samplers._base import BaseSampler, Plan
from imbtorch.samplers._rows import ClassRows, Positions, chunks

__all__ = ["ClassBalancedSampler", "PowerSampler", "ProgressiveSampler", "SquareRootSampler"]

Floats = NDArray[np.float64]
_EPOCH_SIZE = [Interval(Integral, 1, None, closed="left"), None]


def _power_law(counts: NDArray[np.int64], power: float) -> Floats:
    """Probability of each class, ``n_j^power / sum``; 0 for classes without rows."""
    masses = np.zeros(len(counts))
    present = counts > 0
    logs = power * np.log(counts[present])
    masses[present] = np.exp(logs - logs.max())
    masses /= masses.sum()
    return masses


def _draw(
    groups: ClassRows, probabilities: Floats, size: int, rng: np.random.Generator
) -> Positions:
    """Draw rows independently of each other: a class by its probability, any row of it.

    One uniform number decides on both: its interval is the class, its place within the interval
    the row. A table of equal cells finds the interval; only cells that an edge cuts need a search,
    so a draw costs the same for 2 classes and for 10,000.
    """
    classes = np.flatnonzero(probabilities > 0)
    edges = np.concatenate([[0.0], np.cumsum(probabilities[classes])])
    edges /= edges[-1]
    # a probability below the spacing of doubles leaves an empty interval, and no slope
    held = np.diff(edges) > 0
    classes, low = classes[held], edges[:-1][held]
    high = np.append(low[1:], 1.0)
    first = groups.starts[classes]
    # rounded down a little, so that no product reaches the first row of the next class
    slope = groups.counts[classes] / (high - low) * (1 - 2.0**-50)
    n_cells = 2 ** max(12, int(16 * len(classes)).bit_length())
    guesses = np.searchsorted(high, np.arange(n_cells) / n_cells, side="right")

    drawn: Positions = np.empty(size, dtype=groups.rows.dtype)
    for chunk in chunks(size):
        u = rng.random(chunk.stop - chunk.start)
        interval = guesses.take((u * n_cells).astype(np.intp))
        late = np.flatnonzero(u >= high.take(interval))
        interval[late] = np.searchsorted(high, u[late], side="right")
        u -= low.take(interval)
        u *= slope.take(interval)
        slot = u.astype(np.intp)
        slot += first.take(interval)
        groups.rows.take(slot, out=drawn[chunk])
    return drawn


class _DrawPlan(Plan):
    """Draws whose class probabilities may depend on how far training has come, in [0, 1]."""

    def __init__(
        self,
        codes: NDArray[Any],
        n_classes: int,
        seed: int,
        epoch_size: int | None,
        probabilities: Callable[[NDArray[np.int64], float], Floats],
    ) -> None:
        self.groups = ClassRows(codes, n_classes)
        self.size = len(codes) if epoch_size is None else int(epoch_size)
        self.seed, self._probabilities = seed, probabilities

    def order(self, epoch: int, n_epochs: int) -> Positions:
        """Draw the rows of one epoch."""
        progress = min(epoch / n_epochs, 1.0)
        rng = np.random.default_rng([self.seed, epoch])
        return _draw(self.groups, self._probabilities(self.groups.counts, progress), self.size, rng)

    def expected_counts(self, n_epochs: int | None = None) -> Floats:
        """Multiply the draws by the mean probability of each class."""
        # probabilities are linear in progress, so their mean is that of the mean progress
        mean = 0.5 if n_epochs is None else (n_epochs - 1) / (2 * n_epochs)
        return self.size * self._probabilities(self.groups.counts, mean)


class _PowerLaw:
    """Class probabilities that stay the same; a class, so that plans can be pickled."""

    def __init__(self, power: float) -> None:
        self.power = power

    def __call__(self, counts: NDArray[np.int64], progress: float) -> Floats:
        return _power_law(counts, self.power)


def _progressive(counts: NDArray[np.int64], progress: float) -> Floats:
    return (1 - progress) * _power_law(counts, 1.0) + progress * _power_law(counts, 0.0)


class ClassBalancedSampler(BaseSampler):
    r"""Draw every class equally often.

    .. math:: P(\text{class } j) = 1 / C, \qquad P(\text{row } i) = 1 / (C n_{y_i})

    over the :math:`C` classes that have rows; rows are drawn with replacement.

    Parameters
    ----------
    epoch_size : int or None, default=None
        Draws per epoch; None is the number of rows.

    Notes
    -----
    Use it to train a head on balanced classes, as in the second stage of Kang et al. (cRT); a net
    that is trained with it from the beginning sees rare rows so often that it memorises them.

    References
    ----------
    Kang et al. (2020), "Decoupling representation and classifier for long-tailed recognition",
    ICLR. :arxiv:`1910.09217`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import ClassBalancedSampler
    >>> codes = np.repeat([0, 1], [90, 10])
    >>> plan = ClassBalancedSampler().plan(codes, 2, batch_size=32, seed=0)
    >>> plan.expected_counts()
    array([50., 50.])
    >>> len(plan.order(epoch=0, n_epochs=10))
    100
    """

    name = "class_balanced"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"epoch_size": _EPOCH_SIZE}

    def __init__(self, epoch_size: int | None = None) -> None:
        self.epoch_size = epoch_size

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        return _DrawPlan(targets, n_classes, seed, self.epoch_size, _PowerLaw(0.0))


class SquareRootSampler(BaseSampler):
    r"""Draw classes by the square root of their size, half-way from given to balanced.

    .. math:: P(\text{class } j) = \sqrt{n_j} / \sum_k \sqrt{n_k}

    Rows are drawn with replacement, all rows of a class with equal probability.

    Parameters
    ----------
    epoch_size : int or None, default=None
        Draws per epoch; None is the number of rows.

    Notes
    -----
    Use it where balanced draws over-fit the rare classes.

    References
    ----------
    Kang et al. (2020), "Decoupling representation and classifier for long-tailed recognition",
    ICLR. :arxiv:`1910.09217`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import SquareRootSampler
    >>> codes = np.repeat([0, 1], [90, 10])
    >>> SquareRootSampler().plan(codes, 2, batch_size=32, seed=0).expected_counts()
    array([75., 25.])
    """

    name = "square_root"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"epoch_size": _EPOCH_SIZE}

    def __init__(self, epoch_size: int | None = None) -> None:
        self.epoch_size = epoch_size

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        return _DrawPlan(targets, n_classes, seed, self.epoch_size, _PowerLaw(0.5))


class PowerSampler(BaseSampler):
    r"""Draw classes by a power of their size.

    .. math:: P(\text{class } j) = n_j^q / \sum_k n_k^q

    Rows are drawn with replacement, all rows of a class with equal probability.

    Parameters
    ----------
    power : float in [-1, 1], default=0.5
        :math:`q`: 1 leaves the imbalance, 0 removes it, -1 reverses it, as the reversed sampler of
        BBN does.
    epoch_size : int or None, default=None
        Draws per epoch; None is the number of rows.

    Notes
    -----
    Use it to tune how far to rebalance; ``1 - power`` is the strength of the correction.

    References
    ----------
    Kang et al. (2020), "Decoupling representation and classifier for long-tailed recognition",
    ICLR. :arxiv:`1910.09217`. Zhou et al. (2020), "BBN: Bilateral-branch network with cumulative
    learning for long-tailed visual recognition", CVPR. :arxiv:`1912.02413`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import PowerSampler
    >>> codes = np.repeat([0, 1], [90, 10])
    >>> PowerSampler(power=-1).plan(codes, 2, batch_size=32, seed=0).expected_counts()
    array([10., 90.])
    """

    name = "power"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "power": [Interval(Real, -1, 1, closed="both")],
        "epoch_size": _EPOCH_SIZE,
    }

    def __init__(self, power: float = 0.5, epoch_size: int | None = None) -> None:
        self.power = power
        self.epoch_size = epoch_size

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        return _DrawPlan(targets, n_classes, seed, self.epoch_size, _PowerLaw(self.power))


class ProgressiveSampler(BaseSampler):
    r"""Go from the classes as they are to balanced ones in the course of training.

    .. math:: P(\text{class } j) = (1 - t/T)\, n_j / n + (t/T) / C

    in epoch :math:`t` of :math:`T`, counted from 0. Rows are drawn with replacement.

    Parameters
    ----------
    epoch_size : int or None, default=None
        Draws per epoch; None is the number of rows.

    Notes
    -----
    Use it for a single run that learns features from all rows first and the balance last. The
    population that the net ends up with is closer to that of its last epochs than to their mean,
    which ``expected_counts`` returns.

    References
    ----------
    Kang et al. (2020), "Decoupling representation and classifier for long-tailed recognition",
    ICLR. :arxiv:`1910.09217`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import ProgressiveSampler
    >>> codes = np.repeat([0, 1], [90, 10])
    >>> plan = ProgressiveSampler().plan(codes, 2, batch_size=32, seed=0)
    >>> plan.expected_counts()  # the mean of [90, 10] and [50, 50]
    array([70., 30.])
    """

    name = "progressive"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"epoch_size": _EPOCH_SIZE}

    def __init__(self, epoch_size: int | None = None) -> None:
        self.epoch_size = epoch_size

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        return _DrawPlan(targets, n_classes, seed, self.epoch_size, _progressive)
