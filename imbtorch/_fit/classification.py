"""What a classifier does between its data and its net: balance, bias, score, attributes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import average_precision_score, check_scoring

from imbtorch._common.memo import Memo
from imbtorch._data.datasets_as_rows import DatasetStream, refuse_imblearn
from imbtorch._data.targets import (
    encode_known_labels,
    encode_label_matrix,
    encode_labels,
    has_several_columns,
)
from imbtorch._fit.split import TrainingSplit
from imbtorch._tasks.classes import ClassBalance
from imbtorch._tasks.labels import LabelBalance
from imbtorch.metrics import mean_average_precision
from imbtorch.samplers import get_sampler
from imbtorch.training.checkpoint import Checkpoint
from imbtorch.training.data.mixing import Mixing
from imbtorch.training.data.validation import rows_to_score
from imbtorch.training.net import Net
from imbtorch.training.run import Fitting
from imbtorch.training.schedules import deferred, power_at, with_loss_schedule
from imbtorch.weights import class_weights, label_weights

__all__ = ["ClassificationMixin"]

Floats = NDArray[np.float64]
Attributes = dict[str, Any]


class ClassificationMixin:
    """Steps of ``fit`` that classes and labels share, whichever the targets are."""

    # of the estimator
    classes_: Any
    callbacks: Any
    decision_function: Any
    averaging: Any
    class_weight: Any
    class_weight_schedule: Any
    dtype: Any
    early_stopping: Any
    loss: Any
    loss_schedule: Any
    lr_schedule: Any
    max_epochs: Any
    sampler: Any
    sampler_schedule: Any
    scoring: Any
    validation_fraction: Any
    warm_start: Any
    _build_net: Any
    _checked: Any
    _fitting_stream: Any
    _learn: Any
    _log_target_shift: Any
    _monitors: Any
    _resolved_batch_size: Any
    _resume_net: Any
    _seeds: Any

    def _balance_of(
        self, classes: NDArray[Any], counts: Floats, seen: Floats, *, at_least: int = 2
    ) -> ClassBalance | LabelBalance:
        if counts.ndim == 2:
            return LabelBalance.of(counts, seen, self.class_weight, self.loss)
        weight = self.class_weight
        return ClassBalance.of(classes, counts, seen, weight, self.loss, at_least=at_least)

    def _net_for(
        self,
        X: Any,
        balance: ClassBalance | LabelBalance,
        seed: int,
        batch_size: int,
        *,
        resumed: bool,
    ) -> Net:
        if resumed:
            net: Net = self._resume_net(balance.loss, batch_size)
        else:
            net = self._build_net(
                X,
                balance.loss,
                balance.task,
                balance.n_outputs,
                balance.initial_bias,
                seed,
                batch_size,
            )
        return net

    def _scorer(
        self, attributes: Attributes, X: Any, y: Any, weights: Floats | None
    ) -> Callable[[], float]:
        """Score the present weights on the validation rows."""
        view = copy.copy(self)
        view.__dict__.update(attributes)
        view.__dict__.pop("feature_names_in_", None)  # X is an array by now
        if self.scoring is not None:
            scorer = check_scoring(view, scoring=self.scoring)
            return lambda: float(scorer(view, X, y))
        if y.ndim == 2:
            labels = _dense(y)
            return lambda: _mean_label_precision(labels, view.decision_function(X), weights)
        codes = encode_known_labels(y, view.classes_)
        return lambda: mean_average_precision(codes, view.decision_function(X), weights)

    def _attributes(
        self, net: Net, balance: ClassBalance | LabelBalance, n_rows: int
    ) -> Attributes:
        attributes = {
            "classes_": balance.classes,
            "class_counts_": balance.counts,
            "class_prior_": balance.prior,
            "effective_prior_": balance.effective_prior,
            "class_weight_": balance.class_weight,
            "net_": net,
            "_n_rows_seen": n_rows,
            "_counts_are_stated_": False,
        }
        self._log_target_shift(attributes)  # complain now rather than at prediction
        return attributes

    def _fitting(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        rows: NDArray[Any] | None,
        memo: Memo,
        checkpoint: Checkpoint | None,
    ) -> Fitting:
        if isinstance(X, DatasetStream):
            streamed: bool = yield from self._fitting_stream(X, checkpoint)
            return streamed
        refuse_imblearn(X, self.sampler)
        resumed = self.warm_start and hasattr(self, "net_")
        given = X, y
        X, y, sample_weight = self._checked(X, y, sample_weight, reset=not resumed, memo=memo)
        classes, targets = memo.once(_encode, (y, rows))
        if resumed and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start=True continues with the classes {self.classes_.tolist()}, but y has "
                f"{classes.tolist()}. Use warm_start=False to start anew."
            )
        sampler = get_sampler(self.sampler) if isinstance(self.sampler, str) else self.sampler
        self._check_schedules(sampler)
        part = TrainingSplit(X, targets, sample_weight, rows)
        seeds = self._seeds(6, checkpoint, part)
        batch_size = self._resolved_batch_size(X.shape[0] if rows is None else len(rows))
        valid = None
        if self.early_stopping or self.validation_fraction is not None:
            valid = part.hold_out(self.validation_fraction or 0.1, classes, seeds[0])
        counts = part.counts(len(classes))
        trained = part.resampled(sampler, classes, seeds[1])
        plan = trained.plan(sampler, len(classes), batch_size, seeds[5])
        seen = trained.seen(plan, len(classes), self.max_epochs)
        balance = self._balance_of(classes, counts, seen)
        balance.check_double_correction(sampler, self.class_weight)
        n_rows = trained.n_rows
        weights = balance.weigh(trained, self.dtype)
        if plan is not None and trained.n_rows < n_rows:  # classes of weight 0 have left
            plan = trained.plan(sampler, len(classes), batch_size, seeds[5])
        start = self._first_stage(balance)
        net = self._net_for(X, start, seeds[2], batch_size, resumed=resumed)
        attributes = self._attributes(net, balance, part.n_rows)
        score = None
        if valid is not None:
            rows_scored = (  # a scorer of the user's own may look at them
                X[valid]
                if callable(self.scoring)
                else rows_to_score(X, valid, net, trained.X, memo)
            )
            own = None if sample_weight is None else sample_weight[valid]
            score = self._scorer(attributes, rows_scored, y[valid], own)
        order = None if plan is None else plan.order
        if order is not None and self.sampler_schedule is not None:
            order = deferred(order, self.sampler_schedule)
        reweigh = None
        if self.class_weight_schedule is not None:
            reweigh = (
                self.class_weight_schedule,
                lambda power: self._at_power(balance, power).weigh(trained, self.dtype),
            )
        monitors = with_loss_schedule(
            self.loss_schedule,
            net.criterion_,
            lambda loss: loss.prepare(seen),
            self._monitors(score, attributes, given, sample_weight),
        )
        interrupted = yield from self._learn(
            net,
            trained,
            weights,
            attributes,
            (seeds[3], seeds[4]),
            plan=order,
            epochs=self.max_epochs,
            lr_schedule=self.lr_schedule,
            averaging=self.averaging,
            reweigh=reweigh,
            mixing=_mixing(sampler, trained, len(classes), seeds[5]),
            monitors=monitors,
            shown=(X, targets, part.index, valid) if self.callbacks else None,
            memo=memo,
            checkpoint=checkpoint,
        )
        if self.loss_schedule:  # the posterior is that of the values which the loss ended with
            self.effective_prior_ = balance.effective_prior
        return bool(interrupted)

    # -- what changes during the training ----------------------------------------------------

    def _check_schedules(self, sampler: Any) -> None:
        """Complain of a schedule of something that is not there."""
        if self.class_weight_schedule is not None and self.class_weight is None:
            raise ValueError(
                f"class_weight_schedule={self.class_weight_schedule!r} has no class_weight to "
                "change; set one, such as class_weight='balanced'."
            )
        if self.sampler_schedule is not None and not hasattr(sampler, "plan"):
            raise ValueError(
                f"sampler_schedule={self.sampler_schedule!r} needs a sampler that plans each "
                f"epoch, one of imbtorch.samplers; got sampler={sampler!r}."
            )

    def _at_power(
        self, balance: ClassBalance | LabelBalance, power: float
    ) -> ClassBalance | LabelBalance:
        """Balance under a power of the class weights; a weight of 0 stays 0."""
        own = balance.loss.class_weight
        if isinstance(balance, ClassBalance):
            stated = class_weights(self.class_weight, balance.counts, balance.classes)
            own = class_weights(own, balance.counts, balance.classes)
            return replace(balance, class_weight=_power(stated, power) * own)
        weights = _power(label_weights(self.class_weight, balance.counts), power)
        if own is not None:
            weights = weights * own[:, None]
        mean = float((balance.seen * weights).sum() / balance.seen.sum())
        return replace(balance, class_weight=weights / mean)

    def _first_stage(self, balance: ClassBalance | LabelBalance) -> ClassBalance | LabelBalance:
        """Balance of the first epoch, at which the output bias starts."""
        if self.class_weight_schedule is not None:
            balance = self._at_power(balance, power_at(self.class_weight_schedule, 0.0))
        return balance if self.sampler_schedule is None else replace(balance, seen=balance.counts)


def _power(weights: Floats, power: float) -> Floats:
    return np.where(weights > 0, weights**power, 0.0)  # numpy's 0 ** 0 is 1


def _mixing(sampler: Any, part: TrainingSplit, n_classes: int, seed: int) -> Mixing | None:
    """Mixtures of the rows of the part, where the sampler makes some."""
    return Mixing(sampler, part.counts(n_classes), seed) if hasattr(sampler, "mix") else None


def _dense(y: Any) -> NDArray[Any]:
    return np.asarray(y.toarray() if sparse.issparse(y) else y)


def _mean_label_precision(
    labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None
) -> float:
    """Average precision, averaged over the labels that have positives; NaN without any."""
    usable = labels.any(axis=0)
    if not usable.any():
        return float("nan")
    labels, scores = labels[:, usable], scores[:, usable]
    return float(average_precision_score(labels, scores, average="macro", sample_weight=weights))


def _encode(y: Any, rows: NDArray[Any] | None) -> tuple[NDArray[Any], Any]:
    """Classes and codes of the rows, 0 elsewhere; or the numbers of the labels and their matrix."""
    if has_several_columns(y):
        return np.arange(y.shape[1]), encode_label_matrix(y)
    if rows is None:
        return encode_labels(y)
    classes, codes = encode_labels(y[rows])
    everywhere = np.zeros(len(y), dtype=codes.dtype)
    everywhere[rows] = codes
    return classes, everywhere
