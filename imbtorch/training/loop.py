"""The training loop, of one net or of many that go through their epochs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from imbtorch._common.seed import private_torch_rng
from imbtorch.training.net import StopTraining
from imbtorch.training.run import Fitting, Run
from imbtorch.training.single.distributed_engine import DistributedEngine
from imbtorch.training.single.engine import SingleEngine

__all__ = ["Engine", "complete", "train", "train_one_by_one"]


class Engine(Protocol):
    """What computes an epoch."""

    def epoch(self, runs: Sequence[Run], epoch: int) -> list[tuple[float, bool]]:
        """Sum of the losses of each run over the epoch, and whether its weights are finite."""

    def leave(self, runs: Sequence[Run]) -> None:
        """Hand over nets that are trained no further."""

    def averaged(self, run: Run) -> bool:
        """Tell whether the net holds an average of its weights."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the computation."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""


def train(runs: Sequence[Run], build: Callable[[Sequence[Run]], Engine] | None = None) -> None:
    """Train every run to its end.

    What goes wrong with one of them is kept in its ``error`` and stops it alone. Ctrl-C stops all
    of them; they are left usable and ``interrupted``.

    Parameters
    ----------
    runs : sequence of Run
        Of equally many epochs.
    build : callable(runs) -> Engine or None, default=None
        What computes the epochs; the default takes a single run, of one process or of several.
    """
    engine: Engine | None = None
    active = list(runs)
    try:
        for run in active:
            _attempt(run, run.begin)
        active = _left(None, active)
        if active:
            engine = (build or _of_one_net)(active)
        first = _taken_up(engine, active)
        for epoch in range(first, runs[0].epochs):
            if not active or engine is None:
                break
            for run in active:
                _attempt(run, partial(run.open_epoch, epoch))
            active = _left(engine, active)
            try:
                totals = engine.epoch(active, epoch) if active else []
            except StopTraining:  # of a callback that looks at batches
                active[0].done = True
                break
            for run, total in zip(active, totals, strict=True):
                _attempt(run, partial(run.close_epoch, *total))
                if run.checkpoint is not None and run.error is None:
                    _attempt(run, partial(run.checkpoint.write, run, engine, epoch))
            active = _left(engine, active)
    except KeyboardInterrupt:
        for run in active:
            run.interrupt()
    finally:
        if engine is not None:
            engine.leave(active)
        for run in runs:
            run.end()
    for run in runs:
        if run.error is None and not run.interrupted:
            run.finish(engine is not None and engine.averaged(run))


def _of_one_net(runs: Sequence[Run]) -> Engine:
    return SingleEngine(runs) if runs[0].processes.size == 1 else DistributedEngine(runs)


def _attempt(run: Run, act: Callable[[], None]) -> None:
    """Let a run act; what stops it stops no other run, but in every process that trains it."""
    try:
        act()
    except StopTraining:
        run.done = True
    except Exception as error:
        run.error, run.done = error, True
    run.processes.agree(run)


def _taken_up(engine: Engine | None, runs: list[Run]) -> int:
    """Take up what was cut short before; return the epoch to begin with."""
    if engine is None or not runs or runs[0].checkpoint is None:
        return 0
    return runs[0].checkpoint.restore(runs[0], engine)


def _left(engine: Engine | None, runs: list[Run]) -> list[Run]:
    """Let runs that are done leave the engine; return the others."""
    done = [run for run in runs if run.done]
    if engine is not None and done:
        engine.leave(done)
    return [run for run in runs if not run.done]


def train_one_by_one(runs: Sequence[Run]) -> None:
    """Train runs to their end, one after the other.

    Parameters
    ----------
    runs : sequence of Run
        Any.
    """
    for run in runs:
        with private_torch_rng(run.seed, run.device):
            train([run])


def complete(
    fitting: Fitting, train_all: Callable[[Sequence[Run]], None] = train_one_by_one
) -> bool:
    """Run a fit to its end.

    Parameters
    ----------
    fitting : Fitting
        From ``_begin_fit`` of an estimator.
    train_all : callable(runs), default=train_one_by_one
        Trains the nets of the fit.

    Returns
    -------
    bool
        Whether Ctrl-C cut the training short.
    """
    try:
        runs = next(fitting)
        while True:
            try:
                train_all(runs)
            except BaseException as error:  # let the fit tidy up, knowing why
                fitting.throw(error)
            runs = next(fitting)
    except StopIteration as end:
        return bool(end.value)
