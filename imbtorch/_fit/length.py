"""``max_epochs="auto"``: nets of folds, trained as one stack, find the length of a training.

The nets of the folds have a constant learning rate and an exponential average of their weights,
so that they may be stopped after any epoch. All folds are scored on the rows that they did not
train on; the training ends for all of them when their mean score no longer improves.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone, is_regressor
from sklearn.model_selection import KFold
from sklearn.utils import indexable

from imbtorch._common.log import logger
from imbtorch._common.memo import Memo
from imbtorch._common.seed import draw_seeds
from imbtorch._common.sklearn_private import CALLBACKS
from imbtorch._common.training_length import TrainingLength
from imbtorch._data.datasets_as_rows import DatasetStream
from imbtorch._data.folds import as_folds
from imbtorch._fit.fit import PreparedFit, batch_rows, fitted_state
from imbtorch._fit.parameters import PATIENCE
from imbtorch._fit.validation_rows import ValidationRows
from imbtorch.training.callbacks import BestEpoch, Monitor, Record, next_scored
from imbtorch.training.parameter_groups import unfreezes
from imbtorch.training.run import Run
from imbtorch.training.stack import train_stacked

__all__ = [
    "GROWTH",
    "any_length",
    "find_length",
    "groups_of_folds",
    "prepare_with_length",
    "refuse_settings",
    "stop_together",
    "with_length",
]

Floats = NDArray[np.float64]
_FOLDS = 4
_MOST_EPOCHS, _MOST_STEPS = 160, 2_000  # where the search ends, whichever takes longer
_FEW_ROWS_EPOCHS = 400  # but not more epochs than these, where an epoch has only a few steps
_LEAST_EPOCHS, _LEAST_STEPS = 5, 600  # before these the search goes on, whatever the scores are
_STEPS_OF_MEMBERS = 1_000  # the same for members that keep an epoch each, the best on their fold
_PATIENCE = 1.3  # factor on the best epoch so far after which the search ends
GROWTH = 1.1  # factor from one epoch that is scored to the next
# The mean of a rate that rises and falls is about half of the constant rate of the search.
# Measured on development data: docs/training_length.md.
_LONGER_WITH_SCHEDULE = 2.0
_MAX_MEMORY = 2**30  # bytes that the nets of a stack may take together


class _FoldScores:
    """Scores of all folds, and the decision when the search ends.

    Parameters
    ----------
    n_folds : int
        Number of folds.
    first : int
        Epoch before which the search does not end.
    """

    def __init__(self, n_folds: int, first: int) -> None:
        self.by_epoch: dict[int, dict[int, float]] = {}
        self.n_folds, self.first = n_folds, first
        self.is_over = False

    def add(self, fold: int, epoch: int, score: float) -> None:
        """Note the score of a fold; the last fold to be scored decides whether to go on."""
        scores = self.by_epoch.setdefault(epoch, {})
        scores[fold] = score
        if len(scores) == self.n_folds and epoch >= self.first:
            self.is_over = epoch >= _PATIENCE * _best_epoch(*self.points())

    def points(self) -> tuple[NDArray[np.intp], Floats]:
        """Return the epochs after which all folds were scored, and their scores."""
        known = {e: s for e, s in self.by_epoch.items() if len(s) == self.n_folds}
        scores = [[s[fold] for s in known.values()] for fold in range(self.n_folds)]
        return np.array(list(known), dtype=np.intp), np.array(scores)


class _FoldMonitor(Monitor):
    """Score a fold after some of the epochs.

    Parameters
    ----------
    score : callable() -> float, or None
        Score of the present weights; None where another monitor scores every epoch.
    fold : int
        Number of the fold.
    shared : _FoldScores
        Scores of all folds.
    """

    def __init__(self, score: Callable[[], float] | None, fold: int, shared: _FoldScores) -> None:
        self.score, self.fold, self.shared = score, fold, shared
        self.next = 1

    def epoch_end(self, net: Any, record: Record) -> bool:
        """Score the epoch if its turn has come; end the training with that of the other folds."""
        epoch = record["epoch"]
        if epoch == self.next and not self.shared.is_over:
            self.next = next_scored(epoch, GROWTH)
            score = record["valid_score"] if self.score is None else self.score()
            self.shared.add(self.fold, epoch, score)
        return self.shared.is_over


def _best_epoch(epochs: NDArray[np.intp], scores: Floats) -> int:
    """Return the epoch with the best mean score of the folds; 1 if no fold could be scored.

    Each score is averaged with its two neighbours, because a few positives decide by luck which
    single epoch is the best.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing but NaN
        mean = np.pad(np.nanmean(scores, axis=0), 1, constant_values=np.nan)
        smooth = np.nanmean([mean[:-2], mean[1:-1], mean[2:]], axis=0)
    return int(epochs[np.nanargmax(smooth)]) if np.isfinite(smooth).any() else 1


def find_length(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    rows: NDArray[Any] | None = None,
    groups: Any = None,
    memo: Memo | None = None,
) -> TrainingLength:
    """Train nets of folds as one stack until their mean score no longer improves.

    Parameters
    ----------
    estimator : BaseNetEstimator
        Its parameters have been validated; it is not changed.
    X, y, sample_weight
        Data as the user gave them.
    rows : ndarray of int or None, default=None
        Positions of the rows to train on; None for all.
    groups : array-like of shape (n,) or None, default=None
        Group of each row, for the splitter ``validation`` of the estimator.
    memo : Memo or None, default=None
        Results that other fits on the same data have computed.

    Returns
    -------
    TrainingLength
        The length, and the scores that decided it.

    Raises
    ------
    ValueError
        If the estimator has settings whose length folds cannot find, or no fold can be scored.
    """
    refuse_settings(estimator)
    split_seed, net_seed = draw_seeds(estimator.random_state, 2)
    folds, memo = _folds(estimator, y, rows, groups, split_seed), memo or Memo()
    seeds = draw_seeds(net_seed, len(folds))
    shared, settings = _shared_scores(estimator, folds), any_length(estimator, folds)
    with ExitStack() as undo:
        runs: list[Run] = []
        for number, (fold, seed) in enumerate(zip(folds, seeds, strict=True)):
            member = _for_fold(estimator, settings, seed)
            fit = undo.enter_context(
                member._prepare_fit(X, y, sample_weight, rows=rows, memo=memo, validation=fold)
            )
            for run in fit.runs:
                run.monitors = [_watching(monitor, number, shared) for monitor in run.monitors]
            runs += fit.runs
        train_stacked(runs, _MAX_MEMORY)
        for run in runs:
            if run.error is not None:
                raise run.error
            if run.interrupted:
                raise KeyboardInterrupt
        # the nets of the folds are not published: leaving their fits undoes them
    epochs, scores = shared.points()
    if not np.isfinite(scores).any():
        raise ValueError(
            "max_epochs='auto' found no length, because the score of every fold is NaN. Give a "
            "number of epochs, or another scoring."
        )
    length = _length(estimator, epochs, scores)
    logger.info("Folds find a training of %d epochs", length.n_epochs)
    return length


def _length(estimator: Any, epochs: NDArray[np.intp], scores: Floats) -> TrainingLength:
    best = _best_epoch(epochs, scores)
    factor = 1.0 if estimator.lr_schedule == "constant" else _LONGER_WITH_SCHEDULE
    return TrainingLength(round(factor * best), best, epochs, scores)


def prepare_with_length(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    rows: NDArray[Any] | None = None,
    groups: Any = None,
    memo: Memo | None = None,
    resume: bool = False,
) -> PreparedFit:
    """Find the length of the training, and prepare a fit of this length on all rows.

    Parameters
    ----------
    estimator : BaseNetEstimator
        Estimator with ``max_epochs="auto"``.
    X, y, sample_weight, rows, groups, memo
        As for :func:`find_length`.
    resume : bool, default=False
        Whether the fit continues from its checkpoint.

    Returns
    -------
    PreparedFit
        Publishes the fitted attributes of the estimator, and the length with its net.
    """
    memo = memo or Memo()
    length = find_length(estimator, X, y, sample_weight, rows=rows, groups=groups, memo=memo)
    view = with_length(copy.copy(estimator), length)
    fit = view._prepare_fit(X, y, sample_weight, rows=rows, memo=memo, resume=resume)

    def publish() -> bool:
        interrupted: bool = fit.publish()
        view.net_.length = length
        estimator.__dict__.update(fitted_state(view))
        return interrupted

    undo = ExitStack()
    undo.enter_context(fit)
    return PreparedFit(fit.runs, publish, undo)


def with_length(estimator: Any, length: TrainingLength) -> Any:
    """Give an estimator the number of epochs, and take away what has served to find it."""
    estimator.max_epochs, estimator.validation = length.n_epochs, None
    if estimator.validation_fraction is None:
        estimator.scoring = None
    return estimator


def any_length(estimator: Any, folds: Sequence[ValidationRows]) -> dict[str, Any]:
    """Return parameters with which a training may be stopped after any epoch."""
    averaging, steps = estimator.averaging, _steps_of_an_epoch(estimator, folds)
    return {
        "max_epochs": max(_MOST_EPOCHS, min(-(-_MOST_STEPS // steps), _FEW_ROWS_EPOCHS)),
        "lr_schedule": "constant",
        "averaging": "ema" if averaging in (None, "swa") else averaging,
    }


def stop_together(
    estimator: Any, folds: Sequence[ValidationRows], runs: Sequence[Sequence[Run]]
) -> Callable[[], TrainingLength]:
    """Let the trainings of folds, which are scored after each epoch, end at the same time.

    Parameters
    ----------
    estimator : BaseNetEstimator
        What the members are clones of.
    folds : sequence of ValidationRows
        Rows of each fold.
    runs : sequence of sequence of Run
        Trainings of each fold.

    Returns
    -------
    callable() -> TrainingLength
        Returns, after the training, how long a net on all rows takes.
    """
    shared = _shared_scores(estimator, folds, _STEPS_OF_MEMBERS)
    for number, own in enumerate(runs):
        for run in own:
            run.monitors.append(_FoldMonitor(None, number, shared))
    return lambda: _length(estimator, *shared.points())


def groups_of_folds(validation: ValidationRows | None, X: Any) -> NDArray[Any] | None:
    """Return the groups of the rows that the folds of a search keep together.

    Raises
    ------
    ValueError
        If validation rows are named one by one, or the rows are a stream.
    """
    if isinstance(X, DatasetStream):
        raise ValueError(
            "max_epochs='auto' trains on folds of the rows, which an IterableDataset does not "
            "have. Give a number of epochs, or use a map-style Dataset."
        )
    if validation is None:
        return None
    if validation.splitter is None:
        raise ValueError(
            "max_epochs='auto' finds the length by folds of X, so that X_val would not be used. "
            "Use early_stopping=True and a number of epochs with X_val."
        )
    return validation.groups


def refuse_settings(estimator: Any) -> None:
    """Raise ValueError if folds cannot find how long such a training takes."""
    if estimator.early_stopping:
        raise ValueError(
            "max_epochs='auto' and early_stopping=True both find the length of the training. Use "
            "early_stopping=False, so that all rows are trained on, or a number of epochs."
        )
    if estimator.data_parallel:
        raise ValueError(
            "max_epochs='auto' trains nets of folds in one process. Find the length with "
            "data_parallel=False, on a part of the rows, and give it as max_epochs."
        )
    if estimator.warm_start and hasattr(estimator, "net_"):
        raise ValueError(
            "max_epochs='auto' finds the length of a training that starts anew, but "
            "warm_start=True continues one; give a number of epochs."
        )
    if unfreezes(estimator.param_groups):
        raise ValueError(
            "max_epochs='auto' cannot find the length for param_groups="
            f"{estimator.param_groups!r}, which freezes parameters for a share of the epochs; give "
            "a number of epochs, or frozen=True."
        )
    for name in ("loss_schedule", "class_weight_schedule", "sampler_schedule"):
        value = getattr(estimator, name)
        if value is not None and (name == "loss_schedule" or not isinstance(value, float)):
            raise ValueError(
                f"max_epochs='auto' cannot find the length for {name}={value!r}, which says what "
                "happens at a share of the epochs; give a number of epochs."
            )


def _folds(estimator: Any, y: Any, rows: Any, groups: Any, seed: int) -> list[ValidationRows]:
    """Return the rows of each fold: those to train on, and those to score."""
    targets = np.asarray(y.toarray() if sparse.issparse(y) else y)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets.ravel()
    everything = np.arange(len(targets))
    chosen = everything if rows is None else everything[rows]
    splitter = estimator.validation
    if splitter is None and is_regressor(estimator):
        splitter = KFold(_FOLDS, shuffle=True, random_state=seed)
    elif splitter is None:
        splitter = as_folds(_FOLDS, targets[chosen], seed)
    indexable(targets, groups)  # raises ValueError if there are more or fewer groups than rows
    grouped = None if groups is None else np.asarray(groups)[chosen]
    return [
        ValidationRows(chosen[test], training=chosen[train])
        for train, test in splitter.split(np.zeros((len(chosen), 1)), targets[chosen], grouped)
    ]


def _steps_of_an_epoch(estimator: Any, folds: Sequence[ValidationRows]) -> int:
    """Return the largest number of steps of an epoch, over the folds, as far as rows decide it."""
    sizes = [0 if fold.training is None else len(fold.training) for fold in folds]
    n_rows = max(sizes, default=0)
    rows_per_step: int = batch_rows(estimator, n_rows) * estimator.accumulate
    return max(-(-n_rows // rows_per_step), 1)


def _shared_scores(
    estimator: Any, folds: Sequence[ValidationRows], least_steps: int = _LEAST_STEPS
) -> _FoldScores:
    steps = _steps_of_an_epoch(estimator, folds)
    least = max(_LEAST_EPOCHS, min(-(-least_steps // steps), _FEW_ROWS_EPOCHS // 2))
    return _FoldScores(len(folds), least)


def _for_fold(estimator: Any, settings: dict[str, Any], seed: int) -> Any:
    """Return an estimator whose training may be stopped after any epoch."""
    bare = copy.copy(estimator).set_params(callbacks=None)  # callbacks cannot always be copied
    vars(bare).pop(CALLBACKS, None)
    fold = clone(bare).set_params(
        **settings,
        validation=None,
        validation_fraction=None,
        checkpoint=None,
        patience=PATIENCE,
        verbose=0,
        random_state=seed,
    )
    # deferred weights and samplers: the first stage, which takes most of the epochs
    if getattr(fold, "class_weight_schedule", None) is not None:
        fold.set_params(class_weight=None, class_weight_schedule=None)
    if getattr(fold, "sampler_schedule", None) is not None:
        fold.set_params(sampler=None, sampler_schedule=None)
    return fold


def _watching(monitor: Monitor, fold: int, shared: _FoldScores) -> Monitor:
    """Return a monitor that scores the fold instead of one that keeps its best epoch."""
    return _FoldMonitor(monitor.score, fold, shared) if isinstance(monitor, BestEpoch) else monitor
