"""The contract of a sampler: parameters, then a plan for one data set, then rows of each epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator

from imbtorch._common.registry import Registered, Registry
from imbtorch._common.sklearn_private import validate_parameter_constraints
from imbtorch.samplers._rows import Positions, count_classes, permutation

__all__ = ["SAMPLERS", "BaseSampler", "Plan", "ShufflePlan"]

SAMPLERS: Registry[BaseSampler] = Registry(
    "sampler",
    "give a sampler of imbalanced-learn, such as imblearn.over_sampling.SMOTE()",
    elsewhere={
        "balanced": "class_balanced",
        "oversample": "class_balanced",
        "oversampling": "class_balanced",
        "randomoversampler": "class_balanced",
        "randomundersampler": "under_sampling",
        "undersample": "under_sampling",
        "weightedrandomsampler": "class_balanced",
    },
)


class Plan(ABC):
    """Which rows of one data set each epoch sees.

    A plan is a function of the data and the seed alone: any epoch can be asked for, in any order,
    and is the same again, which lets interrupted training resume exactly.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import ClassBalancedSampler
    >>> codes = np.array([0] * 90 + [1] * 10)
    >>> plan = ClassBalancedSampler().plan(codes, n_classes=2, batch_size=10, seed=0)
    >>> plan.expected_counts().tolist()
    [50.0, 50.0]
    >>> bool((plan.order(3, 10) == plan.order(3, 10)).all())
    True
    """

    @abstractmethod
    def order(self, epoch: int, n_epochs: int) -> Positions:
        """Rows of one epoch, in training order.

        Parameters
        ----------
        epoch : int
            Which epoch, from 0.
        n_epochs : int
            How many there are to be.

        Returns
        -------
        ndarray of int32 or int64
            Positions into the targets; int32 where they fit.
        """

    @abstractmethod
    def expected_counts(self, n_epochs: int | None = None) -> NDArray[np.float64]:
        """Count the rows that an epoch trains on, in expectation.

        Parameters
        ----------
        n_epochs : int or None, default=None
            Average over this many epochs; None is the limit of many.

        Returns
        -------
        ndarray of float64, shape (n_classes,) or (n_labels, 2)
            Rows of each class; for a label matrix, rows without and with each label.
        """


class BaseSampler(Registered, BaseEstimator, ABC):
    """Base class of every sampler that chooses rows by position.

    Subclasses set ``name`` (the key of the registry), ``_parameter_constraints``, ``_takes_labels``
    (whether label matrices are sampled) and ``_counts_rows`` (False if ``expected_counts`` counts
    labels of mixtures), and write ``_plan``. A sampler holds parameters only; nothing changes it.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.samplers import BaseSampler, all_samplers
    >>> sampler = all_samplers()["class_balanced"]()
    >>> isinstance(sampler, BaseSampler)
    True
    >>> plan = sampler.plan(np.array([0, 0, 0, 1]), n_classes=2, batch_size=2, seed=0)
    >>> plan.order(epoch=0, n_epochs=1).shape
    (4,)
    """

    _registry: ClassVar[Registry[Any]] = SAMPLERS
    _takes_labels: ClassVar[bool] = False
    _counts_rows: ClassVar[bool] = True  # else expected_counts counts labels of mixtures of rows
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def plan(self, targets: Any, n_classes: int, *, batch_size: int, seed: int) -> Plan:
        """Prepare the epochs over one data set.

        Parameters
        ----------
        targets : ndarray of int, shape (n,), or CSR matrix of 0 and 1, shape (n, n_labels)
            Class codes, or a row of labels each. A label of -1 is not known: it counts as absent
            in the choice of rows, and not at all in ``expected_counts``.
        n_classes : int
            Number of classes, or of labels. Some may have no rows; those are never drawn.
        batch_size : int
            Rows of a batch.
        seed : int
            Seed >= 0 of every draw. Epoch ``e`` uses ``numpy.random.default_rng([seed, e])``.

        Returns
        -------
        Plan
            Positions of each epoch.

        Raises
        ------
        ValueError
            If a parameter is out of range, or the targets are not what the sampler works on.
        """
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more; got {batch_size}.")
        if sparse.issparse(targets):
            if not self._takes_labels:
                raise ValueError(
                    f"{type(self).__name__} needs one class per row; it cannot sample a label "
                    "matrix. RepeatFactorSampler can."
                )
            return self._plan(_checked_labels(targets, n_classes), n_classes, batch_size, seed)
        return self._plan(_checked_codes(targets, n_classes), n_classes, batch_size, seed)

    @abstractmethod
    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        """Do the work of ``plan``, on checked input."""


def _checked_codes(targets: Any, n_classes: int) -> NDArray[Any]:
    codes = np.asarray(targets)
    if codes.ndim != 1 or codes.dtype.kind not in "iu":
        raise ValueError(
            "targets must be class codes, a one-dimensional array of integers, or a CSR matrix of "
            f"labels; got an array of shape {codes.shape} and type {codes.dtype}."
        )
    if not len(codes):
        raise ValueError("targets are empty: there is no row to sample.")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= n_classes:
        raise ValueError(f"Class codes must lie in [0, {n_classes}); got {low} to {high}.")
    return codes


def _checked_labels(targets: Any, n_labels: int) -> Any:
    labels = targets.tocsr()
    if labels.ndim != 2 or labels.shape[1] != n_labels or not labels.shape[0]:
        raise ValueError(
            f"A label matrix needs one or more rows and n_classes={n_labels} columns; got shape "
            f"{labels.shape}."
        )
    if not (labels.has_canonical_format and labels.data.all()):
        labels = labels.copy()  # the caller's matrix stays as it is
        labels.sum_duplicates()
        labels.eliminate_zeros()
    if not ((labels.data == 1) | (labels.data == -1)).all():
        raise ValueError("A label matrix must hold only 0 and 1, or -1 where a label is unknown.")
    return labels


def unknown_part(labels: Any) -> tuple[Any, Any]:
    """Divide a checked label matrix into present and unknown labels; None if all are known."""
    if labels.dtype.kind != "i" or (labels.data > 0).all():
        return labels, None
    return (labels > 0).astype(np.uint8), (labels < 0).astype(np.uint8)


def label_counts(labels: Any) -> NDArray[np.float64]:
    """Known rows without and with each label of a CSR matrix, shape ``(l, 2)``."""
    n, n_labels = labels.shape
    present, unknown = unknown_part(labels)
    with_label = count_classes(present.indices, n_labels)
    if unknown is not None:
        n = n - count_classes(unknown.indices, n_labels)
    return np.stack([n - with_label, with_label], axis=1).astype(np.float64)


class ShufflePlan(Plan):
    """Every row once, in a new order each epoch: what training without a sampler does."""

    def __init__(self, targets: Any, n_classes: int, seed: int) -> None:
        self.n_rows, self.seed = targets.shape[0], seed
        self.counts = (
            label_counts(targets)
            if sparse.issparse(targets)
            else count_classes(targets, n_classes).astype(np.float64)
        )

    def order(self, epoch: int, n_epochs: int) -> Positions:
        """Permute all rows."""
        return permutation(self.n_rows, np.random.default_rng([self.seed, epoch]))

    def expected_counts(self, n_epochs: int | None = None) -> NDArray[np.float64]:
        """Count the rows as they are."""
        return self.counts.copy()
