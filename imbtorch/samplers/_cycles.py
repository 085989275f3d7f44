"""Samplers that walk through shuffled rows of each class: no row comes again before its turn."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from imbtorch._common.sklearn_private import Interval, StrOptions
from imbtorch.samplers._base import BaseSampler, Plan
from imbtorch.samplers._rows import ClassRows, Cycles, Positions, shuffled

__all__ = ["ClassAwareSampler", "ExactBatchSampler", "UnderSampler"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class _CyclePlan(Plan):
    """Base of the plans of this file."""

    def __init__(self, codes: NDArray[Any], n_classes: int, seed: int) -> None:
        self.groups = ClassRows(codes, n_classes)
        self.cycles = Cycles(self.groups, seed)
        self.seed, self.n_rows, self.n_classes = seed, len(codes), n_classes

    def _per_present(self, values: Any) -> Floats:
        """Shape ``(n_classes,)``, 0 for classes without rows."""
        counts = np.zeros(self.n_classes)
        counts[self.groups.present] = values
        return counts


class _ClassAwarePlan(_CyclePlan):
    def __init__(
        self, codes: NDArray[Any], n_classes: int, seed: int, epoch_size: int | str | None
    ) -> None:
        super().__init__(codes, n_classes, seed)
        n_present = len(self.groups.present)
        if epoch_size is None:
            self.size = self.n_rows
        elif isinstance(epoch_size, str):
            self.size = int(self.groups.counts.max()) * n_present
        else:
            self.size = int(epoch_size)
        self.n_rounds = -(-self.size // n_present)

    def order(self, epoch: int, n_epochs: int) -> Positions:
        """Join rounds of one row per class, each with the classes in a new order."""
        rng = np.random.default_rng([self.seed, epoch])
        present = self.groups.present
        rounds: Positions = np.empty((self.n_rounds, len(present)), dtype=self.groups.rows.dtype)
        for column, code in enumerate(present.tolist()):
            rounds[:, column] = self.cycles.take(code, self.n_rounds, epoch, rng)
        rng.permuted(rounds, axis=1, out=rounds)
        return rounds.reshape(-1)[: self.size]

    def expected_counts(self, n_epochs: int | None = None) -> Floats:
        """Divide the epoch evenly."""
        return self._per_present(self.size / len(self.groups.present))


class ClassAwareSampler(BaseSampler):
    r"""Take classes in turn, and the rows of each class in turn.

    Every round goes through all classes, in a new order, and takes the next row of each; rows of a
    class come again, in a new order, only after all of them were seen.

    Parameters
    ----------
    epoch_size : int, "full" or None, default=None
        Rows per epoch. None is the number of rows; ``"full"`` is the original's :math:`C \max_j
        n_j`, which sees all rows of the largest class in each epoch.

    Notes
    -----
    Use it for balanced classes with less randomness than ``class_balanced``: neighbouring batches
    hold all classes, and no row is left out by chance.

    References
    ----------
    Shen, Lin & Huang (2016), "Relay backpropagation for effective learning of deep convolutional
    neural networks", ECCV. :arxiv:`1512.05830`; as in Kang et al. (2020), ICLR.
    :arxiv:`1910.09217`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import ClassAwareSampler
    >>> codes = np.repeat([0, 1], [90, 10])
    >>> plan = ClassAwareSampler(epoch_size="full").plan(codes, 2, batch_size=32, seed=0)
    >>> np.bincount(codes[plan.order(epoch=0, n_epochs=10)])
    array([90, 90])
    """

    name = "class_aware"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "epoch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"full"}), None]
    }

    def __init__(self, epoch_size: int | str | None = None) -> None:
        self.epoch_size = epoch_size

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        return _ClassAwarePlan(targets, n_classes, seed, self.epoch_size)


def _rows_per_class(per_class: Any, counts: Ints, batch_size: int) -> tuple[Ints, int]:
    """Rows of each class in a batch, and how many slots are left over."""
    present = counts > 0
    n_present = int(present.sum())
    if per_class is None:
        if batch_size < n_present:
            raise ValueError(
                f"batch_size={batch_size} is less than the number of classes, {n_present}: a batch "
                "cannot hold all of them."
            )
        return present * (batch_size // n_present), batch_size % n_present
    wanted = np.asarray(per_class)
    if wanted.ndim == 0:
        wanted = present * int(wanted)
    elif wanted.shape != counts.shape or wanted.dtype.kind not in "iu" or (wanted < 0).any():
        raise ValueError(
            f"per_class must be one integer >= 0 for each of the {len(counts)} classes; got "
            f"{per_class!r}."
        )
    if (wanted > 0)[~present].any():
        raise ValueError(
            f"per_class={per_class!r} asks for rows of classes that have none: "
            f"{np.flatnonzero((wanted > 0) & ~present).tolist()}."
        )
    if wanted.sum() != batch_size:
        raise ValueError(
            f"per_class={per_class!r} makes batches of {wanted.sum()} rows, but batch_size is "
            f"{batch_size}: set batch_size={wanted.sum()}."
        )
    return wanted.astype(np.int64), 0


class _ExactPlan(_CyclePlan):
    def __init__(
        self, codes: NDArray[Any], n_classes: int, seed: int, per_class: Any, batch_size: int
    ) -> None:
        super().__init__(codes, n_classes, seed)
        self.per_class, self.n_left = _rows_per_class(per_class, self.groups.counts, batch_size)
        self.batch_size, self.n_batches = batch_size, max(1, self.n_rows // batch_size)

    def _extra_slots(self, rng: np.random.Generator) -> ClassRows:
        """Slots left over, grouped by the class that they go to (as its place in ``present``).

        Classes take them in turn, so those of a batch differ.
        """
        n_present = len(self.groups.present)
        places = rng.permutation(n_present).astype(np.int32)
        return ClassRows(np.resize(places, self.n_batches * self.n_left), n_present)

    def order(self, epoch: int, n_epochs: int) -> Positions:
        """Fill the batches class by class; the order within a batch has no meaning."""
        rng = np.random.default_rng([self.seed, epoch])
        shape = (self.n_batches, self.batch_size)
        batches: Positions = np.empty(shape, dtype=self.groups.rows.dtype)
        extra = self._extra_slots(rng)
        # the same number in every epoch, whichever class gets more: the walks rely on it
        n_extra = -(-self.n_batches * self.n_left // len(self.groups.present))
        into_extra = np.empty(self.n_batches * self.n_left, dtype=batches.dtype)
        start = 0
        for place, code in enumerate(self.groups.present.tolist()):
            n_each = int(self.per_class[code])
            n_main = self.n_batches * n_each
            if not n_main:
                continue
            rows = self.cycles.take(code, n_main + n_extra, epoch, rng)
            batches[:, start : start + n_each] = rows[:n_main].reshape(-1, n_each)
            slots = extra.of(place)
            into_extra[slots] = rows[n_main : n_main + len(slots)]
            start += n_each
        batches[:, start:] = into_extra.reshape(self.n_batches, self.n_left)
        return batches.reshape(-1)

    def expected_counts(self, n_epochs: int | None = None) -> Floats:
        """Multiply a batch by the number of batches; remaining slots are shared equally."""
        extra = self._per_present(self.n_left / len(self.groups.present))
        return self.n_batches * (self.per_class + extra)


class ExactBatchSampler(BaseSampler):
    r"""Give every batch the same number of rows of each class.

    Rows of a class come again, in a new order, only after all of them were seen. An epoch is as
    many whole batches as there are rows for, at least one.

    Parameters
    ----------
    per_class : int, array-like of int of shape (n_classes,) or None, default=None
        Rows of each class in a batch; they must add up to the batch size. None divides the batch
        evenly: classes differ by one row where the batch size is no multiple of their number, and
        the classes with one more change from batch to batch.

    Notes
    -----
    Use it with losses that compare the rows of a batch, of AUC and of average precision: they need
    rows of each class in every batch. A class with fewer rows than its share of a batch has some of
    them there more than once.

    References
    ----------
    Yuan et al. (2023), "LibAUC: A deep learning library for X-risk optimization", KDD
    (its DualSampler). :arxiv:`2306.03065`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import ExactBatchSampler
    >>> codes = np.repeat([0, 1], [90, 10])
    >>> plan = ExactBatchSampler(per_class=[24, 8]).plan(codes, 2, batch_size=32, seed=0)
    >>> order = plan.order(epoch=0, n_epochs=10)
    >>> [np.bincount(codes[batch]).tolist() for batch in order.reshape(-1, 32)]
    [[24, 8], [24, 8], [24, 8]]
    """

    name = "exact_batches"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "per_class": [Interval(Integral, 1, None, closed="left"), "array-like", None]
    }

    def __init__(self, per_class: Any = None) -> None:
        self.per_class = per_class

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        return _ExactPlan(targets, n_classes, seed, self.per_class, batch_size)


class _UnderPlan(_CyclePlan):
    def __init__(self, codes: NDArray[Any], n_classes: int, seed: int, ratio: float) -> None:
        super().__init__(codes, n_classes, seed)
        counts = self.groups.counts[self.groups.present]
        rarest = counts.min()
        kept = np.minimum(counts, max(1, round(ratio * rarest)))
        self.sizes = np.where(counts == rarest, counts, kept)

    def order(self, epoch: int, n_epochs: int) -> Positions:
        """Take the part of each class whose turn it is, and shuffle."""
        rng = np.random.default_rng([self.seed, epoch])
        parts = [
            self.cycles.take(code, size, epoch, rng)
            for code, size in zip(self.groups.present.tolist(), self.sizes.tolist(), strict=True)
        ]
        return shuffled(parts, rng)

    def expected_counts(self, n_epochs: int | None = None) -> Floats:
        """Count what is kept of each class."""
        return self._per_present(self.sizes)


class UnderSampler(BaseSampler):
    r"""Keep the rarest class and, in each epoch, another part of every other class.

    Class :math:`j` has :math:`\min(n_j, \text{ratio} \cdot \min_k n_k)` rows in an epoch, each of
    them once. Parts follow each other through a permutation of the class, so that after
    :math:`\lceil n_j / (\text{ratio} \cdot \min_k n_k) \rceil` epochs all of its rows were seen.

    Parameters
    ----------
    ratio : float > 0, default=1.0
        Rows of every other class for each row of the rarest.

    Notes
    -----
    Use it where there are more rows than time: epochs shrink to a few times the rarest class. A
    part drawn once, as by imbalanced-learn's ``RandomUnderSampler``, discards the rest; here it is
    divided among the epochs, which is the idea of EasyEnsemble within one net.

    References
    ----------
    Liu, Wu & Zhou (2009), "Exploratory undersampling for class-imbalance learning", IEEE TSMC-B
    39(2). https://doi.org/10.1109/TSMCB.2008.2007853

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import UnderSampler
    >>> codes = np.repeat([0, 1], [90, 10])
    >>> plan = UnderSampler(ratio=3).plan(codes, 2, batch_size=32, seed=0)
    >>> np.bincount(codes[plan.order(epoch=0, n_epochs=3)])
    array([30, 10])
    >>> seen = np.concatenate([plan.order(epoch, n_epochs=3) for epoch in range(3)])
    >>> len(np.unique(seen))
    100
    """

    name = "under_sampling"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "ratio": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, ratio: float = 1.0) -> None:
        self.ratio = ratio

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        return _UnderPlan(targets, n_classes, seed, self.ratio)
