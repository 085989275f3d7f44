"""Training of a classifier on data that pass by: chunk after chunk, or item after item."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._common.memo import Memo
from imbtorch._common.sklearn_private import _check_partial_fit_first_call
from imbtorch._data.class_counts import ClassCounts, as_class_counts
from imbtorch._data.datasets_as_rows import DatasetStream, refuse_dataset
from imbtorch._data.targets import encode_known_labels, encode_label_matrix, has_several_columns
from imbtorch._fit.split import TrainingSplit
from imbtorch._tasks.classes import ClassBalance
from imbtorch._tasks.labels import LabelBalance
from imbtorch.training.checkpoint import Checkpoint
from imbtorch.training.distributed import joined
from imbtorch.training.run import Fitting
from imbtorch.training.schedules import with_loss_schedule
from imbtorch.weights import depends_on_counts

__all__ = ["StreamingMixin"]

Floats = NDArray[np.float64]


class StreamingMixin:
    """``partial_fit`` on chunks, and ``fit`` on an IterableDataset."""

    # of the estimator
    averaging: Any
    callbacks: Any
    class_counts_: Any
    class_weight: Any
    class_weight_schedule: Any
    classes_: Any
    dtype: Any
    early_stopping: Any
    loss_schedule: Any
    lr_schedule: Any
    max_epochs: Any
    random_state: Any
    sampler: Any
    validation_fraction: Any
    warm_start: Any
    _at_power: Any
    _attributes: Any
    _balance_of: Any
    _check_X: Any
    _check_schedules: Any
    _check_shape: Any
    _check_weights: Any
    _first_stage: Any
    _learn: Any
    _monitors: Any
    _n_rows_seen: Any
    _net_for: Any
    _resolved_batch_size: Any
    _seeds: Any
    _validate_params: Any

    # -- chunks ------------------------------------------------------------------------------

    def _fitting_chunk(
        self, X: Any, y: Any, classes: Any, sample_weight: Any, class_counts: Any, shuffle: bool
    ) -> Fitting:
        refuse_dataset(X, "partial_fit")
        first = not hasattr(self, "net_")
        stated = self._counts_stated(class_counts, first=first)
        if self.sampler is not None:
            raise ValueError("sampler needs the whole data set: use fit, or sample each chunk.")
        self._validate_params()  # scikit-learn does it on the first call only
        given = X, y
        X, targets, sample_weight = self._checked_chunk(X, y, classes, sample_weight, stated)
        part = TrainingSplit(X, targets, sample_weight)
        seeds = self._seeds(6, None, part)
        counts, n_rows = self._counts_so_far(part, stated, first=first)
        balance = self._balance_of(self.classes_, counts, counts, at_least=1)
        # The scale of the weights is that of the stream, not of one chunk: a chunk without
        # positives must not count as much as one full of them.
        weights = balance.weigh(part, self.dtype, n_rows)
        batch_size = self._resolved_batch_size(X.shape[0])
        net = self._net_for(X, balance, seeds[2], batch_size, resumed=not first)
        net.keeps_optimizer = True
        attributes = self._attributes(net, balance, n_rows)
        attributes["_counts_are_stated_"] = stated is not None
        n_before = len(net.history)  # another order, and other dropout masks, every time
        interrupted = yield from self._learn(
            net,
            part,
            weights,
            attributes,
            (seeds[3] + n_before, seeds[4] + n_before),
            plan=None if shuffle else lambda epoch, n_epochs: np.arange(part.n_rows),
            epochs=1,
            lr_schedule="constant",
            monitors=self._monitors(None, attributes, given, sample_weight),
            shown=(X, targets, None, None) if self.callbacks else None,
            memo=Memo(),
        )
        return bool(interrupted)

    def _counts_stated(self, class_counts: Any, *, first: bool) -> ClassCounts | None:
        """Check counts of the whole stream, which come with the first chunk."""
        known = None if first else self._stated_before()
        counts = known
        if class_counts is not None:
            counts = as_class_counts(class_counts)
            if not first and (known is None or _present(counts) != _present(known)):
                raise ValueError(
                    f"class_counts={dict(counts)} is not the same as on the first call to "
                    f"partial_fit, {None if known is None else dict(known)}: counts are those of "
                    "the whole stream, and cannot change while it is trained on."
                )
        if counts is None and depends_on_counts(self.class_weight):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs the class counts of the whole data set, "
                "which partial_fit never sees. Give them on the first call, as class_counts="
                "imbtorch.weights.class_counts(chunks); or give the weights as a dict, for example "
                "imbtorch.weights.class_weight_from_counts(counts, 'balanced')."
            )
        return counts

    def _stated_before(self) -> ClassCounts | None:
        """Return the counts stated on the first call; the fitted attributes are these."""
        if not getattr(self, "_counts_are_stated_", False):
            return None
        counts, several = self.class_counts_, self.class_counts_.ndim == 2
        masses = counts[:, 1] if several else counts
        total = float(counts[0].sum() if several else counts.sum())
        labelled = dict(zip(self.classes_.tolist(), masses.tolist(), strict=True))
        return ClassCounts(labelled, self._n_rows_seen, total, several)

    def _checked_chunk(
        self, X: Any, y: Any, classes: Any, sample_weight: Any, stated: ClassCounts | None
    ) -> tuple[Any, Any, Any]:
        """Validate a chunk and encode its labels; the first one sets ``classes_``."""
        first, multilabel = not hasattr(self, "net_"), has_several_columns(y)
        if first and classes is None and stated is not None:
            classes = stated.classes
        if multilabel and first and classes is None:
            self.classes_ = np.arange(np.shape(y)[1])
        else:
            _check_partial_fit_first_call(self, classes)
        X, y = self._check_X(X, reset=first, y=y)
        sample_weight = self._check_weights(sample_weight, X)
        targets = encode_label_matrix(y) if multilabel else encode_known_labels(y, self.classes_)
        if multilabel and targets.shape[1] != len(self.classes_):
            raise ValueError(f"y has {targets.shape[1]} labels, expected {len(self.classes_)}.")
        return X, targets, sample_weight

    def _counts_so_far(
        self, part: TrainingSplit, stated: ClassCounts | None, *, first: bool
    ) -> tuple[Floats, int]:
        """Weighted rows of each class, and rows: of all chunks so far, or those stated."""
        counts = part.counts(len(self.classes_))
        if stated is None:
            before = (0, 0) if first else (self.class_counts_, self._n_rows_seen)
            return counts + before[0], part.n_rows + before[1]
        if stated.multilabel != (counts.ndim == 2):
            raise ValueError("class_counts and y must both have one label a row, or both several.")
        labels = self.classes_.tolist()
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
        if stated.multilabel:
            return stated.counts, stated.n_rows
        return np.array([stated.masses.get(label, 0.0) for label in labels]), stated.n_rows

    # -- items -------------------------------------------------------------------------------

    def _fitting_stream(self, stream: DatasetStream, checkpoint: Checkpoint | None) -> Fitting:
        """Fit on an IterableDataset: everything but the rows is known from their counts."""
        self._refuse_for_streams()
        resumed = self.warm_start and hasattr(self, "net_")
        counted = stream.counts
        counts, classes = counted.counts, counted.classes
        if resumed and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start=True continues with the classes {self.classes_.tolist()}, but "
                f"class_counts has {classes.tolist()}. Use warm_start=False to start anew."
            )
        self._check_shape(stream.shape[1:], reset=not resumed)
        if not resumed:
            vars(self).pop("feature_names_in_", None)
        seeds = self._seeds(6, checkpoint, stream)
        balance = self._balance_of(classes, counts, counts)
        balance.check_double_correction(None, self.class_weight)
        batch_size = self._resolved_batch_size(counted.n_rows)
        start = self._first_stage(balance)
        net = self._net_for(stream, start, seeds[2], batch_size, resumed=resumed)
        attributes = self._attributes(net, balance, counted.n_rows)
        reweigh = None
        if self.class_weight_schedule is not None:
            reweigh = (
                self.class_weight_schedule,
                lambda power: _factors(self._at_power(balance, power), counted, self.dtype),
            )
        monitors = with_loss_schedule(
            self.loss_schedule,
            net.criterion_,
            lambda loss: loss.prepare(counts),
            self._monitors(None, attributes, (stream.dataset, None), None),
        )
        interrupted = yield from self._learn(
            net,
            stream,
            _factors(balance, counted, self.dtype),
            attributes,
            (seeds[3], seeds[4]),
            epochs=self.max_epochs,
            lr_schedule=self.lr_schedule,
            averaging=self.averaging,
            reweigh=reweigh,
            monitors=monitors,
            shown=None,
            memo=Memo(),
            checkpoint=checkpoint,
        )
        if self.loss_schedule:  # the posterior is that of the values which the loss ended with
            self.effective_prior_ = balance.effective_prior
        return bool(interrupted)

    def _refuse_for_streams(self) -> None:
        """Complain of what chooses rows, where none can be chosen."""
        self._check_schedules(self.sampler)
        if self.sampler is not None:
            raise ValueError(
                f"sampler={self.sampler!r} chooses rows by position, and an IterableDataset has "
                "none: drop or repeat rows in its __iter__ (and count what it yields), use "
                "class_weight or another loss, or a map-style Dataset."
            )
        if joined(self).size > 1:
            raise ValueError(
                "data_parallel=True divides rows by position, and an IterableDataset has none: "
                "use a map-style Dataset, or data_parallel=False."
            )
        if self.early_stopping or self.validation_fraction is not None:
            raise ValueError(
                "An IterableDataset cannot be split for validation: use early_stopping=False and "
                "validation_fraction=None, or a map-style Dataset; partial_fit on chunks lets you "
                "score data of your own in between."
            )


def _factors(
    balance: ClassBalance | LabelBalance, counted: ClassCounts, dtype: str
) -> tuple[Any, Any]:
    """Factors of the sample weights: of each class, or one and those of the labels' terms."""
    if isinstance(balance, LabelBalance):
        even = np.ptp(balance.class_weight) == 0
        row = np.array([counted.n_rows / counted.total], dtype)
        return (
            None if counted.total == counted.n_rows else row,
            None if even else balance.class_weight.astype(dtype),
        )
    if counted.total == counted.n_rows and np.ptp(balance.class_weight) == 0:
        return None, None
    mean = float(balance.counts @ balance.class_weight) / counted.n_rows
    return (balance.class_weight / mean).astype(dtype), None


def _present(counts: ClassCounts) -> tuple[Any, ...]:
    """Leave out labels without rows, which equal counts may name or not."""
    return {label: mass for label, mass in counts.items() if mass}, counts.n_rows
