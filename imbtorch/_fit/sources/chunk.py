"""Chunks of ``partial_fit``: a part of the data, on which the net is trained for one epoch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from imbtorch._common.inputs import as_inputs
from imbtorch._common.sklearn_private import _check_partial_fit_first_call
from imbtorch._data.class_counts import ClassCounts, as_class_counts
from imbtorch._data.datasets_as_rows import as_rows, refuse_dataset
from imbtorch._fit.input_checks import check_weights, has_several_columns
from imbtorch._fit.parameters import NetParameters, set_parameters
from imbtorch._fit.sources.arrays import ArraySource, TrainingSplit, ignored_label, labelled_rows
from imbtorch._fit.sources.base import in_order_given, refuse_ignored_class
from imbtorch._fit.table import chosen_features, is_for_tables
from imbtorch._tasks import Classes, ClassificationTask, Labels, RowWeights
from imbtorch.weights import depends_on_counts

__all__ = ["ChunkSource", "ClassChunkSource"]

Floats = NDArray[np.float64]

# Parameters that only fit uses, and the values besides the default that ask for nothing more.
_FIT_ONLY: dict[str, tuple[Any, ...]] = {
    "averaging": (),
    "checkpoint": (),
    "class_weight_schedule": (),
    "early_stopping": (),
    "loss_schedule": (),
    "lr_schedule": ("constant",),
    "max_epochs": (1,),
    "patience": (),
    "sampler_schedule": (),
    "scoring": (),
    "validation": (),
    "validation_fraction": (),
}


class ChunkSource(ArraySource):
    """One chunk of a larger data set, of which nothing is held out or resampled.

    Parameters
    ----------
    X, y, sample_weight
        As the user gave them to ``partial_fit``.
    former : ndarray
        Counts of the chunks before, as :meth:`Task.counts` arranges them.
    shuffle : bool
        Whether the rows are shuffled, or trained on in the order given.
    """

    is_chunk = True

    def __init__(
        self, X: Any, y: Any, sample_weight: Any, former: Floats, *, shuffle: bool
    ) -> None:
        super().__init__(as_inputs(X), y, sample_weight)
        self.former, self.shuffle = former, shuffle

    def read(self, estimator: NetParameters) -> None:
        """Validate the chunk and encode its targets."""
        self._warn_of_unused(estimator)
        self._read_dataset(estimator)
        super().read(estimator)

    def _read_dataset(self, estimator: NetParameters) -> None:
        """Let the items of a Dataset be the rows of the chunk."""
        X, y = self.given
        if isinstance(X, IterableDataset):
            refuse_dataset(X, "partial_fit")
        settings = estimator.num_workers, None, estimator.collate_fn, is_for_tables(estimator)
        X, y, self._given_weight = as_rows(X, y, self._given_weight, *settings)
        self.given = X, y

    def _warn_of_unused(self, estimator: NetParameters) -> None:
        """Warn of parameters that a chunk does not use, on the first one."""
        if self.resumed:
            return
        asking = [
            name
            for name, others in _FIT_ONLY.items()
            if getattr(estimator, name, None) not in others
        ]
        unused = set_parameters(estimator, asking)
        if unused:
            warnings.warn(
                f"{', '.join(unused)}: not used by partial_fit, which trains for one epoch on each "
                "chunk, at a constant learning rate and without validation rows. Leave them at "
                "their defaults, or use fit.",
                UserWarning,
                stacklevel=8,
            )

    def hold_out(self, fraction: float, seed: int) -> None:
        """Hold out nothing: validation belongs to ``fit``."""

    def encode(self, dtype: torch.dtype) -> None:
        """Encode the columns of a table as the first chunk has taught."""
        is_first = self.encoder is None and self.tables is None
        super().encode(dtype)
        encoders = [] if self.tables is None else list(self.tables.encoders.values())
        encoders += [] if self.encoder is None else [self.encoder]
        if is_first and any(len(e.factor) and not e.factor.any() for e in encoders):
            warnings.warn(
                f"All columns of numbers are constant in the {self.n_given} rows of the first "
                "chunk, from which their scale is learned: they will be 0 in every later chunk. "
                "Give more rows first, or scale X yourself and use features=None.",
                UserWarning,
                stacklevel=8,
            )

    def counts(self) -> Floats:
        """Count the rows of all chunks so far."""
        return self.split.counts(self.task) + self.former

    def weigh(self, balance: Any, dtype: str) -> RowWeights:
        """Weigh the rows by the scale of the whole stream."""
        weights = super().weigh(balance, dtype)
        if not self.shuffle:
            self.plan = in_order_given(self.split.n_rows)
        return weights


class ClassChunkSource(ChunkSource):
    """One chunk of a classifier: the classes are known before the first row.

    Parameters
    ----------
    X, y, sample_weight
        As the user gave them to ``partial_fit``.
    classes : array-like or None
        Every label that will ever come; required for the first chunk.
    class_counts : ClassCounts, mapping or None
        Counts of the whole stream, given with the first chunk.
    shuffle : bool
        Whether the rows are shuffled, or trained on in the order given.
    """

    at_least = 1
    task: ClassificationTask

    def __init__(
        self, X: Any, y: Any, sample_weight: Any, classes: Any, class_counts: Any, *, shuffle: bool
    ) -> None:
        super().__init__(X, y, sample_weight, np.zeros(0), shuffle=shuffle)
        self.classes, self.class_counts = classes, class_counts

    def read(self, estimator: NetParameters) -> None:
        """Validate the chunk and encode its labels; the first one sets ``classes_``."""
        self._warn_of_unused(estimator)
        self._read_dataset(estimator)
        X, y = self.given
        first = not self.resumed
        former = None if first else estimator.net_.task
        self.stated = self._stated(estimator, first=first)
        if estimator.sampler is not None:
            raise ValueError("sampler needs the whole data set: use fit, or sample each chunk.")
        multilabel = has_several_columns(y)
        self._learn_classes(estimator, y, multilabel=multilabel, first=first)
        self.features = chosen_features(estimator, X) if first else None
        self.X, self.y = estimator._check_X(X, reset=first, y=y, features=self.features)
        self.columns, self.read_X = estimator._columns, self.X
        if self._given_weight is not None:
            self.sample_weight = check_weights(self._given_weight, self.X)
        classes = estimator.classes_
        self.task = Labels(len(classes)) if multilabel else Classes(classes)
        rows = labelled_rows(self.y, None, ignored_label(estimator.loss))
        targets = self.task.encode_known(self.y, rows)
        if former is not None and former.kind != self.task.kind:
            raise ValueError(
                f"y holds {self.task.n_outputs} {self.task.noun}, but the chunks before held "
                f"{former.n_outputs} {former.noun}: all chunks must have targets of one kind."
            )
        self.split = self.trained = TrainingSplit(self.X, targets, self.sample_weight, rows)
        self.n_given = int(self.X.shape[0])
        self._counts, self.n_rows = self._counts_so_far(estimator, first=first)

    def all_labels(self) -> list[Any]:
        """Return the classes, which are stated before the first row."""
        labels: list[Any] = self.task.classes.tolist()
        return labels

    def _learn_classes(self, estimator: Any, y: Any, *, multilabel: bool, first: bool) -> None:
        classes = self.classes
        if first and classes is None and self.stated is not None:
            classes = self.stated.classes
        if multilabel and first and classes is None:
            estimator.classes_ = np.arange(np.shape(y)[1])
        else:
            _check_partial_fit_first_call(estimator, classes)
            refuse_ignored_class(estimator.classes_, ignored_label(estimator.loss))

    def counts(self) -> Floats:
        """Return the counts of all chunks so far, or those that were stated."""
        return self._counts

    def weigh(self, balance: Any, dtype: str) -> RowWeights:
        """Weigh the rows by the scale of the whole stream.

        A chunk without positives must not count as much as one full of them.
        """
        weights: RowWeights = balance.weigh(self.split, dtype, self.n_rows)
        if not self.shuffle:
            self.plan = in_order_given(self.split.n_rows)
        return weights

    def attributes(self) -> dict[str, Any]:
        """Return what the next chunk needs."""
        return {"_n_rows_seen": self.n_rows, "_counts_are_stated_": self.stated is not None}

    # -- counts of the whole stream --------------------------------------------------------------

    def _stated(self, estimator: NetParameters, *, first: bool) -> ClassCounts | None:
        """Check the counts of the whole stream, which come with the first chunk."""
        known = None if first else _stated_before(estimator)
        counts = known
        if self.class_counts is not None:
            counts = as_class_counts(self.class_counts)
            if not first and (known is None or _nonzero(counts) != _nonzero(known)):
                raise ValueError(
                    f"class_counts={dict(counts)} is not the same as on the first call to "
                    f"partial_fit, {None if known is None else dict(known)}: counts are those of "
                    "the whole stream, and cannot change while it is trained on."
                )
        if counts is None and depends_on_counts(estimator.class_weight):
            raise ValueError(
                f"class_weight={estimator.class_weight!r} needs the class counts of the whole data "
                "set, which partial_fit never sees. Give them on the first call, as class_counts="
                "imbtorch.weights.class_counts(chunks); or give the weights as a dict, for example "
                "imbtorch.weights.class_weight_from_counts(counts, 'balanced')."
            )
        return counts

    def _counts_so_far(self, estimator: NetParameters, *, first: bool) -> tuple[Floats, int]:
        """Return weighted rows of each class, and rows: of all chunks so far, or those stated."""
        counts, n_rows = self.split.counts(self.task), self.split.n_rows
        if self.stated is None:
            before = (0, 0) if first else (estimator.class_counts_, estimator._n_rows_seen)
            return counts + before[0], n_rows + before[1]
        stated = self.stated
        if stated.multilabel != bool(self.task.n_labels):
            raise ValueError(
                "class_counts and y must both have one label per row, or both have several."
            )
        labels = self.task.classes.tolist()
        unknown = sorted(set(stated) - set(labels))
        uncounted = [] if stated.multilabel else [
            label for label, count in zip(labels, counts, strict=True)
            if count and not stated.masses.get(label)
        ]  # fmt: skip
        if unknown or uncounted:
            raise ValueError(
                f"class_counts={dict(stated)} do not fit the classes {labels}"
                + (f": {unknown} are not among them." if unknown else "")
                + (f": y holds {uncounted}, of which they count no row." if uncounted else "")
            )
        return self.task.masses(dict(stated.masses), stated.total), stated.n_rows


def _stated_before(estimator: Any) -> ClassCounts | None:
    """Return the counts stated on the first call, from which the fitted attributes were made."""
    if not getattr(estimator, "_counts_are_stated_", False):
        return None
    task, counts = estimator.net_.task, estimator.class_counts_
    labelled = dict(zip(task.classes.tolist(), task.present(counts).tolist(), strict=True))
    total = task.total(counts)
    return ClassCounts(labelled, estimator._n_rows_seen, total, bool(task.n_labels))


def _nonzero(counts: ClassCounts) -> tuple[Any, ...]:
    """Leave out labels without rows, which equal counts may name or not."""
    return {label: mass for label, mass in counts.items() if mass}, counts.n_rows
