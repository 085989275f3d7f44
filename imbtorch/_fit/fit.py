"""The recipe of every fit: from the user's data to a net that is ready to be trained.

Arrays, chunks of ``partial_fit``, streams, folds of a search and members of an ensemble all go
through :func:`prepare_fit`. What differs is the source of the rows
(:mod:`imbtorch._fit.sources`), and the task (:mod:`imbtorch._tasks`). Training itself is
:func:`imbtorch.training.loop.train`, or that of a stack.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from imbtorch._common.memo import Memo
from imbtorch._common.seed import draw_seeds
from imbtorch._common.sklearn_private import CALLBACKS, callback_management_context
from imbtorch._fit.epoch_callbacks import EpochCallbacks
from imbtorch._fit.pairs import PairWatch
from imbtorch._fit.parameters import PATIENCE, NetParameters, check_settings
from imbtorch._fit.scale import warn_of_scale
from imbtorch._fit.scoring import validation_score
from imbtorch._fit.sources import RowSource
from imbtorch._tasks import Balance, RowWeights, Task
from imbtorch.training.callbacks import BestEpoch, Monitor, ProgressBar
from imbtorch.training.checkpoint import Checkpoint, describe
from imbtorch.training.continuation import continued_net
from imbtorch.training.data.observers import observed
from imbtorch.training.devices import resolve_device
from imbtorch.training.distributed import ONE, Processes, joined, together
from imbtorch.training.net import Net, NetSpec, build_net
from imbtorch.training.parameter_groups import Freezing
from imbtorch.training.run import Recipe, Run
from imbtorch.training.schedules import WeightSchedule, power_at, with_loss_schedule
from imbtorch.training.single.distributed_engine import ready

__all__ = [
    "PreparedFit",
    "Stackable",
    "all_or_nothing",
    "auto_batch_size",
    "batch_rows",
    "fitted_state",
    "net_spec",
    "prepare_fit",
    "weight_decay_of",
]

Floats = NDArray[np.float64]
# Parameters that may differ when a training is continued from its checkpoint.
_INCIDENTAL = {
    "callbacks", "checkpoint", "checkpoint_interval", "data_parallel", "device", "on_divergence",
    "n_threads", "num_workers", "on_interrupt", "on_oom", "random_state", "target_prior", "verbose",
    "warm_start",
}  # fmt: skip
_PRIVATE_STATE = {"_columns", "_input_shape", "_n_rows_seen", "_part_names"}


class PreparedFit:
    """A fit whose nets are ready: train ``runs``, then call ``publish`` once.

    Use it as a context. If the context ends with an error, or without ``publish``, the estimator is
    as it was before the fit::

        with estimator._prepare_fit(X, y) as fit:
            train_one_by_one(fit.runs)
            interrupted = fit.publish()

    Parameters
    ----------
    runs : list of Run
        The trainings of the fit.
    publish : callable() -> bool
        Sets the fitted attributes, and returns whether Ctrl-C cut the training short.
    undo : ExitStack
        Open contexts of the fit; an error that passes through them undoes what the fit has set.
    """

    def __init__(self, runs: list[Run], publish: Callable[[], bool], undo: ExitStack) -> None:
        self.runs, self._publish, self._undo = runs, publish, undo
        self._is_published = False

    def publish(self) -> bool:
        """Set the fitted attributes, after the training.

        Returns
        -------
        bool
            Whether Ctrl-C cut the training short.

        Raises
        ------
        Exception
            What went wrong in the training.
        """
        if self._is_published:
            raise RuntimeError("A fit is published once; prepare another one to fit again.")
        self._is_published = True
        return self._publish()

    def __enter__(self) -> PreparedFit:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and not self._is_published:
            error = RuntimeError("The fit was left before it was published.")
            kind = RuntimeError
        self._undo.__exit__(kind, error, trace)


class Stackable(ABC):
    """An estimator whose fit can be prepared, so that its nets are trained with those of others."""

    @abstractmethod
    def _prepare_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        rows: NDArray[Any] | None = None,
        memo: Memo | None = None,
    ) -> PreparedFit:
        """Prepare a fit up to the training.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``.
        rows : ndarray of int or None, default=None
            Positions of the rows to fit on; None for all.
        memo : Memo or None, default=None
            Results that other fits on the same data have computed.
        """


def prepare_fit(
    estimator: NetParameters, source: RowSource, *, checkpoint: Checkpoint | None = None
) -> PreparedFit:
    """Do everything that a fit does before its net is trained.

    Parameters
    ----------
    estimator : NetParameters
        Its parameters have been validated. Fitted attributes are set by ``publish``.
    source : RowSource
        Where the rows come from.
    checkpoint : Checkpoint or None, default=None
        Where the training is saved and resumed.

    Returns
    -------
    PreparedFit
        One run, and the function that publishes it.

    Raises
    ------
    ValueError
        If a parameter or the data are invalid. The estimator is as it was.
    """
    undo = ExitStack()
    with undo:
        undo.enter_context(all_or_nothing(estimator))
        if estimator.data_parallel:
            undo.enter_context(together(estimator.device, estimator.get_params()))
        undo.enter_context(callback_management_context(estimator))
        run, publish = _prepare(estimator, source, checkpoint)
        undo = undo.pop_all()
    return PreparedFit([run], publish, undo)


def _prepare(
    estimator: NetParameters, source: RowSource, checkpoint: Checkpoint | None
) -> tuple[Run, Callable[[], bool]]:
    processes = joined() if estimator.data_parallel else ONE

    # validate the data, encode the targets
    source.read(estimator)
    scheduled = estimator.class_weight_schedule is not None, estimator.sampler_schedule is not None
    judged = estimator.scoring is not None, estimator.patience != PATIENCE
    if any(scheduled + judged) and not source.is_chunk:
        check_settings(estimator, has_validation=source.validation_rows is not None)
    seeds = _draw_seeds(estimator, source, checkpoint, processes)

    # hold out validation rows, before anything is resampled
    fraction = estimator.validation_fraction
    if estimator.early_stopping or fraction is not None or source.validation_rows is not None:
        source.hold_out(fraction or 0.1, seeds["hold_out"])

    # learn how the columns of a table are encoded
    if source.resumed:
        source.encoder, source.tables = estimator.net_.encoder_, estimator.net_.tables
    source.encode(_dtype_of(estimator))

    # count, resample, weigh
    batch_size = batch_rows(estimator, source.n_given, processes.size)
    counts = seen = source.counts()
    if estimator.sampler is not None and not source.is_chunk:
        seen = source.sample(estimator, batch_size, seeds)
    balance = estimator._balance(source, counts, seen)
    if not source.is_chunk:
        balance.check_double_correction(source.sampler, estimator.class_weight)
    weights = source.weigh(balance, estimator.dtype)

    # build the net, or continue with the present one
    if source.resumed:
        kind, device = estimator.net_.dtype, torch.device(estimator.net_.device)
        spec = net_spec(estimator, source.task, batch_size, dtype=kind, device=device)
        net = continued_net(estimator.net_, balance.loss, spec)
    else:
        net = _new_net(estimator, source, balance, batch_size, processes, seeds["net"])
    estimator._check_fit(source, balance, net)
    if source.encoder is None and not source.resumed:
        warn_of_scale(source.X, net, getattr(source.given[0], "columns", None))

    # say how it is trained, and what is published after that
    attributes = {**source.task.attributes(), **balance.attributes(), **source.attributes()}
    attributes["net_"] = net
    run = _new_run(
        estimator, source, balance, weights, net, attributes, seeds, checkpoint, processes
    )

    def publish() -> bool:
        if run.error is not None:
            raise run.error
        if estimator.loss_schedule:  # the loss has the values with which it ended
            attributes.update(balance.attributes())
        estimator.__dict__.update(attributes, interrupted_=run.interrupted)
        return run.interrupted

    return run, publish


# -- steps of the recipe -----------------------------------------------------------------------


def _draw_seeds(
    estimator: NetParameters,
    source: RowSource,
    checkpoint: Checkpoint | None,
    processes: Processes,
) -> dict[str, int]:
    """Draw the seeds of a fit; a training that is resumed has those of its checkpoint."""
    names = estimator._seed_names
    drawn = draw_seeds(estimator.random_state, len(names))
    if processes.size > 1:
        drawn = processes.exchange(drawn)[0]
        processes.check_same(source.identity())
    if checkpoint is not None:
        params = estimator.get_params(deep=False)
        identity = {name: describe(params[name]) for name in sorted(set(params) - _INCIDENTAL)}
        identity |= {"processes": str(processes.size), **source.identity()}
        drawn = checkpoint.begin(identity, drawn)
    return dict(zip(names, drawn, strict=True))


def _new_net(
    estimator: NetParameters,
    source: RowSource,
    balance: Balance,
    batch_size: int,
    processes: Processes,
    seed: int,
) -> Net:
    """Build a net, whose output bias starts at the balance of the first epoch."""
    dtype = _dtype_of(estimator)
    name = estimator.device if processes.size == 1 else processes.device(estimator.device)
    device = resolve_device(name, dtype)
    spec = net_spec(estimator, source.task, batch_size, dtype=dtype, device=device)
    bias = (balance if source.is_chunk else _first_stage(estimator, balance)).initial_bias
    module = estimator.module if source.tables is None else source.tables.builder(estimator.module)
    features = None if isinstance(source.features, dict) else source.features
    net = build_net(spec, module, balance.loss, bias, source.X, seed, features, source.encoder)
    net.tables = source.tables
    net.keeps_optimizer = source.is_chunk or estimator.warm_start
    return net


def _dtype_of(estimator: NetParameters) -> torch.dtype:
    return torch.float64 if estimator.dtype == "float64" else torch.float32


def _first_stage(estimator: NetParameters, balance: Any) -> Any:
    """Return the balance of the first epoch, at which the output bias starts."""
    if estimator.class_weight_schedule is not None:
        power = power_at(estimator.class_weight_schedule, 0.0)
        balance = balance.at_power(estimator.class_weight, power)
    return balance if estimator.sampler_schedule is None else balance.before_sampler()


def _new_run(
    estimator: NetParameters,
    source: RowSource,
    balance: Balance,
    weights: RowWeights,
    net: Net,
    attributes: dict[str, Any],
    seeds: dict[str, int],
    checkpoint: Checkpoint | None,
    processes: Processes,
) -> Run:
    """Bring together the net, its rows, the recipe of the training and its monitors."""
    past = len(net.history) if source.is_chunk else 0  # each chunk has other random numbers
    rows, order = source.rows(net, balance, weights, seeds["order"] + past)
    monitors = _monitors(estimator, source, net, balance, attributes)
    if not net.criterion_.sums_over_rows:
        monitors.append(PairWatch(rows, order, source.plan))
    if estimator.param_groups:
        freezing = Freezing(net, estimator.param_groups, is_chunk=source.is_chunk)
        monitors = [freezing, *monitors]
    layers = net.observing_layers()
    if layers:
        rows, monitors = observed(rows, monitors, layers)
    schedule = None if source.is_chunk else estimator.class_weight_schedule
    if schedule is not None:
        monitors = [_weight_schedule(estimator, source, schedule, balance, rows), *monitors]
    run = Run(
        net,
        rows,
        order,
        _recipe(estimator, is_chunk=source.is_chunk),
        seeds["training"] + past + processes.rank,  # dropout of other rows is not the same
        plan=source.plan,
        monitors=monitors,
        validation=source.shown(net) if estimator.callbacks else None,
        checkpoint=checkpoint,
        processes=processes,
    )
    if processes.size > 1:
        ready(run)
    return run


def _weight_schedule(
    estimator: NetParameters, source: RowSource, schedule: Any, balance: Any, rows: Any
) -> WeightSchedule:
    """Weigh the rows anew whenever the power of the class weights changes."""

    def weigh(power: float) -> RowWeights:
        return source.weigh(balance.at_power(estimator.class_weight, power), estimator.dtype)

    return WeightSchedule(schedule, weigh, rows)


def _monitors(
    estimator: NetParameters,
    source: RowSource,
    net: Net,
    balance: Any,
    attributes: dict[str, Any],
) -> list[Monitor]:
    """Collect what looks at each epoch."""
    monitors: list[Monitor] = []
    if source.valid is not None:
        score = validation_score(estimator, source, net, balance, attributes)
        patience = estimator.patience if estimator.early_stopping else None
        rows = source.validation_rows
        monitors.append(BestEpoch(score, patience, *(() if rows is None else rows.judged)))
    if estimator.verbose:
        monitors.append(ProgressBar())
    if getattr(estimator, CALLBACKS, None):
        weights = source.sample_weight
        metadata = {} if weights is None else {"sample_weight": weights}
        monitors.append(EpochCallbacks(estimator, lambda: attributes, *source.given, metadata))
    if not estimator.loss_schedule or source.is_chunk:
        return monitors
    return with_loss_schedule(
        estimator.loss_schedule, net.criterion_, lambda loss: loss.prepare(balance.seen), monitors
    )


# -- what the engine gets of the parameters -----------------------------------------------------


def auto_batch_size(n_rows: int) -> int:
    """Choose the rows of a batch: about 1/256 of the rows, as a power of 2 from 64 to 1,024.

    Steps per epoch matter more than rows per step: small tables get small batches.

    Parameters
    ----------
    n_rows : int
        Number of rows of the data.

    Returns
    -------
    int
        Number of rows of a batch.

    Examples
    --------
    >>> from imbtorch._fit.fit import auto_batch_size
    >>> auto_batch_size(1_000), auto_batch_size(100_000)
    (64, 512)
    """
    return int(np.clip(2 ** round(np.log2(max(n_rows, 1) / 256)), 64, 1024))


def batch_rows(estimator: NetParameters, n_rows: int, n_processes: int = 1) -> int:
    """Return the rows of a batch, over all processes."""
    if estimator.batch_size == "auto":
        return auto_batch_size(n_rows)
    return int(estimator.batch_size) * n_processes


def weight_decay_of(estimator: NetParameters) -> float:
    """Return the weight decay of the optimizer, as a number."""
    if estimator.weight_decay != "auto":
        return float(estimator.weight_decay)
    # Decoupled decay is a mild prior on the weights at any learning rate; added to the gradient,
    # the same number would drown it.
    return 0.1 if estimator.optimizer == "adamw" else 0.0


def net_spec(
    estimator: NetParameters,
    task: Task,
    batch_size: int,
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> NetSpec:
    """Say what a net is made of."""
    return NetSpec(
        task=task,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        optimizer=estimator.optimizer,
        lr=estimator.lr,
        weight_decay=weight_decay_of(estimator),
        max_epochs=_epochs(estimator),
        callbacks=estimator.callbacks,
        param_groups=estimator.param_groups,
        precision=estimator.precision,
        n_threads=estimator.n_threads,
    )


def _epochs(estimator: NetParameters) -> int:
    """Return the number of epochs; 1 for "auto", which reaches only chunks and saved files."""
    return 1 if estimator.max_epochs == "auto" else int(estimator.max_epochs)


def _recipe(estimator: NetParameters, *, is_chunk: bool) -> Recipe:
    """Say how a net is trained; a chunk of ``partial_fit`` is one epoch without a schedule."""
    return Recipe(
        epochs=1 if is_chunk else _epochs(estimator),
        lr_schedule="constant" if is_chunk else estimator.lr_schedule,
        averaging=None if is_chunk else estimator.averaging,
        clipping=estimator.gradient_clipping,
        sharpness=estimator.sharpness,
        on_divergence=estimator.on_divergence,
        on_oom=estimator.on_oom,
        accumulate=estimator.accumulate,
        aux_loss=estimator.aux_loss,
    )


# -- all or nothing ------------------------------------------------------------------------------


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Undo whatever a failed fit has set, so that no half-fitted estimator is left."""
    before = fitted_state(estimator)
    try:
        yield
    except BaseException:
        for key in fitted_state(estimator):
            del estimator.__dict__[key]
        estimator.__dict__.update(before)
        raise


def fitted_state(estimator: BaseEstimator) -> dict[str, Any]:
    """Return what ``fit`` has set, by name."""
    return {
        key: value
        for key, value in vars(estimator).items()
        if (key[-1:] == "_" and key[:2] != "__") or key in _PRIVATE_STATE
    }
