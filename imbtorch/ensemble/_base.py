"""What the ensembles have in common: members, folds, and one training for all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import indexable

from imbtorch._common.inputs import as_inputs
from imbtorch._common.memo import Memo
from imbtorch._common.seed import draw_seeds
from imbtorch._common.sklearn_private import Interval, fit_context
from imbtorch._common.training_length import TrainingLength
from imbtorch._data.datasets_as_rows import own_targets, refuse_dataset
from imbtorch._fit.estimator import BaseNetEstimator
from imbtorch._fit.fit import PreparedFit, Stackable, all_or_nothing
from imbtorch._fit.length import (
    GROWTH,
    any_length,
    find_length,
    refuse_settings,
    stop_together,
    with_length,
)
from imbtorch._fit.validation_rows import ValidationRows
from imbtorch.ensemble._members import NetMembers
from imbtorch.samplers import BaseSampler
from imbtorch.training.stack import train_stacked

__all__ = ["NetEnsemble"]

Positions = NDArray[np.integer[Any]]
_MOST_TIMES = 10  # largest factor on the epochs of members that see few rows


class NetEnsemble(NetMembers, Stackable):
    """Base of the ensembles: how their members are made and trained together."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "cv": ["cv_object"],
        "max_memory": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }
    # How each name of ``subset`` draws the rows of a member by a sampler; None needs no sampler.
    _samplers: ClassVar[dict[str, Callable[[], BaseSampler] | None]]

    estimator: BaseNetEstimator | None
    n_estimators: int
    subset: str
    cv: object
    max_memory: int | None
    random_state: int | np.random.RandomState | None
    _length_of_folds: TrainingLength | None = None  # where folds have found one

    # -- what differs between classifier and regressor -----------------------------------------

    @property
    def _rows_of_members(self) -> str:
        return self.subset

    def _rows_per_member_row(self, y: Any, rows: Any) -> float:
        """Return how many rows there are for each row that a member sees in an epoch."""
        return 1.0

    def _weights(
        self, members: Sequence[Any], X: Any, y: Any, sample_weight: Any, rows: Any
    ) -> list[Any]:
        """Return the weights of the rows for each member."""
        return [sample_weight] * len(members)

    # -- training ------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> None:
        """Train the members as stacks."""
        with self._prepare_fit(X, y, sample_weight, groups=groups) as fit:
            train_stacked(fit.runs, self.max_memory)
            interrupted = fit.publish()
        if interrupted and self._base.on_interrupt == "raise":
            raise KeyboardInterrupt

    def _members(self, folds: Sequence[ValidationRows | None]) -> list[Any]:
        """Unfitted members, each with its own seed."""
        base, draw = self._base, self._samplers[self.subset]
        params: dict[str, Any] = {} if draw is None else {"sampler": draw()}
        if base.max_epochs == "auto":
            refuse_settings(base)
        if self.subset == "folds" and not base.early_stopping:  # the best of all epochs is kept
            if base.max_epochs == "auto":
                params = any_length(base, [fold for fold in folds if fold is not None])
            params |= {
                "early_stopping": True,
                "patience": params.get("max_epochs", base.max_epochs),
            }
        if draw is not None and base.sampler is not None:
            raise ValueError(
                f"subset={self.subset!r} chooses the rows of a member, and so does sampler="
                f"{base.sampler!r} of the estimator. Use subset='all' to keep the sampler, or "
                "sampler=None."
            )
        if base.checkpoint is not None:
            raise ValueError(
                f"checkpoint={base.checkpoint!r} keeps the training of one net, but an ensemble "
                "trains several; use checkpoint=None."
            )
        seeds = draw_seeds(self.random_state, len(folds))
        return [clone(base).set_params(random_state=seed, **params) for seed in seeds]

    @fit_context
    def _prepare_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        rows: NDArray[Any] | None = None,
        memo: Memo | None = None,
        groups: Any = None,
    ) -> PreparedFit:
        """Prepare the fits of all members up to the training."""
        refuse_dataset(X, type(self).__name__)
        X, y, sample_weight = own_targets(as_inputs(X), y, sample_weight, self._base)
        if self.subset == "folds":
            X, y = indexable(X, y)  # rows of folds are taken out of them
        memo, folds = memo or Memo(), self._folds(y, rows, groups)
        if self._base.max_epochs == "auto":  # long trainings of few rows have many short epochs
            folds = [fold and replace(fold, growth=GROWTH) for fold in folds]
        members = self._members(folds)
        weights = self._weights(members, X, y, sample_weight, rows)
        length = None
        if members[0].max_epochs == "auto":
            length = self._length(members[0], X, y, sample_weight, rows, memo)
            members = [with_length(member, length) for member in members]
        undo = ExitStack()
        with undo:
            undo.enter_context(all_or_nothing(self))
            fits = [
                undo.enter_context(
                    m._prepare_fit(X, y, weight, rows=rows, memo=memo, validation=fold)
                )
                for m, weight, fold in zip(members, weights, folds, strict=True)
            ]
            undo = undo.pop_all()
        found = None
        if self.subset == "folds" and self._base.max_epochs == "auto":
            held_out = [fold for fold in folds if fold is not None]
            found = stop_together(self._base, held_out, [fit.runs for fit in fits])

        def publish() -> bool:
            cut_short = [fit.publish() for fit in fits]
            for member in members:
                member.net_.length = length
            # where Ctrl-C came between two stacks, some members have not been trained at all
            self._publish([member for member in members if member.n_iter_] or members)
            for name in self._out_of_fold:  # those of a former fit
                self.__dict__.pop(name, None)
            pairs = zip(members, folds, strict=True)
            known = [fold for m, fold in pairs if fold is not None and m in self.estimators_]
            tests = [fold.positions for fold in known if fold.positions is not None]
            if tests:
                self._predict_folds(X, y, sample_weight, tests)
            self.__dict__.pop("_length_of_folds", None)
            if found is not None:
                self._length_of_folds = found()
            self.interrupted_ = any(cut_short)
            return self.interrupted_

        return PreparedFit([run for fit in fits for run in fit.runs], publish, undo)

    def _length(
        self, member: Any, X: Any, y: Any, sample_weight: Any, rows: Any, memo: Memo
    ) -> TrainingLength:
        """Find how long members are trained that are not scored on folds of their own.

        A member of few rows overfits before the mean of all members does. So they take as many
        steps as one net on all rows would take.
        """
        one = clone(self._base).set_params(random_state=member.random_state)
        found = find_length(one, X, y, sample_weight, rows=rows, memo=memo)
        factor = min(self._rows_per_member_row(y, rows), _MOST_TIMES)
        return replace(found, n_epochs=round(factor * found.n_epochs))

    def _folds(self, y: Any, rows: Any, groups: Any) -> Sequence[ValidationRows | None]:
        """Return the rows on which each member is scored; None for members without such rows."""
        if self.subset != "folds":
            self._refuse_folds(groups)
            return [None] * self.n_estimators
        return self._divided(y, rows, groups, self.n_estimators)

    def _refuse_folds(self, groups: Any) -> None:
        """Raise ValueError for groups, and warn of ``cv``, where there are no folds."""
        if groups is not None:
            raise ValueError(
                f"groups divide the rows into folds; subset={self.subset!r} has none. Use "
                "subset='folds'."
            )
        if self.cv is not None:
            warnings.warn(
                f"cv={self.cv!r} is not used: subset={self.subset!r} has no folds.",
                UserWarning,
                stacklevel=8,
            )
