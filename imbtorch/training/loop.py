"""The training loop, of one net or of many that go through their epochs side by side."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

import torch

from imbtorch._common.log import logger
from imbtorch._common.seed import private_torch_rng, rng_states, set_rng_states
from imbtorch.training.net import StopTraining
from imbtorch.training.run import Run
from imbtorch.training.single.distributed_engine import DistributedEngine
from imbtorch.training.single.engine import SingleEngine
from imbtorch.training.threads import threads_of_training

__all__ = ["Engine", "PausableTraining", "train", "train_one_by_one"]


class Engine(Protocol):
    """What computes the epochs of one or several runs."""

    def epoch(self, runs: Sequence[Run], epoch: int) -> list[tuple[float, bool]]:
        """Return the sum of the losses of each run, and whether its weights are finite."""

    def leave(self, runs: Sequence[Run]) -> None:
        """Hand over nets that are trained no further."""

    def averaged(self, run: Run) -> bool:
        """Return whether the net holds an average of its weights."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the computation."""

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state from a checkpoint."""


def train(runs: Sequence[Run], build: Callable[[Sequence[Run]], Engine] | None = None) -> None:
    """Train every run to its end.

    What goes wrong with one of them is kept in its ``error`` and stops it alone. Ctrl-C stops all
    of them; they are left usable and ``interrupted``.

    Parameters
    ----------
    runs : sequence of Run
        Trainings of equally many epochs.
    build : callable(runs) -> Engine or None, default=None
        What computes the epochs; the default takes a single run, of one process or of several.
    """
    # the caller may have switched gradients off
    with torch.inference_mode(False), torch.enable_grad(), _threads(runs):
        for _ in _epochs(runs, build or _engine_of_one_net):
            pass


def _epochs(
    runs: Sequence[Run], build: Callable[[Sequence[Run]], Engine]
) -> Generator[None, None, None]:
    """Train every run to its end, and pause after each epoch."""
    engine: Engine | None = None
    active = list(runs)
    try:
        for run in active:
            _attempt(run, run.begin)
        active = _unfinished(None, active)
        if active:
            if logger.isEnabledFor(logging.INFO):
                _log_begin(active)
            engine = build(active)
        first = _resume(engine, active)
        for epoch in range(first, runs[0].recipe.epochs):
            if not active or engine is None:
                break
            for run in active:
                _attempt(run, partial(run.open_epoch, epoch))
            active = _unfinished(engine, active)
            try:
                totals = engine.epoch(active, epoch) if active else []
            except StopTraining:  # raised by a callback that looks at batches
                active[0].done = True
                break
            for run, total in zip(active, totals, strict=True):
                _attempt(run, partial(run.close_epoch, *total))
                if run.checkpoint is not None and run.error is None:
                    _attempt(run, partial(run.checkpoint.write, run, engine, epoch))
            if logger.isEnabledFor(logging.DEBUG):
                _log_epoch(runs, active)
            yield
            active = _unfinished(engine, active)
    except KeyboardInterrupt:
        for run in active:
            run.interrupt()
    finally:
        if engine is not None:
            engine.leave(active)
        for run in runs:
            run.end()
        if logger.isEnabledFor(logging.INFO):
            _log_end(runs)
    for run in runs:
        if run.error is None and not run.interrupted:
            run.finish(engine is not None and engine.averaged(run))


def _log_begin(runs: Sequence[Run]) -> None:
    """Log what is trained: one net, or many side by side."""
    first = runs[0]
    logger.info(
        "Training begins: %d net(s), %s rows, at most %d epochs, %d rows per step, %s on %s",
        len(runs),
        f"{first.row_order.n_rows:,}",
        first.recipe.epochs,
        first.rows_per_step,
        type(first.net.criterion_).__name__,
        first.net.device,
    )


def _log_epoch(runs: Sequence[Run], active: Sequence[Run]) -> None:
    """Log the numbers of an epoch, for each net that was trained in it."""
    trained = set(map(id, active))
    for number, run in enumerate(runs):
        if id(run) in trained and run.error is None:
            record = run.net.history[-1]
            values = {key: value for key, value in record.items() if isinstance(value, float)}
            shown = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
            which = f" of net {number}" if len(runs) > 1 else ""
            logger.debug("Epoch %d%s: %s", record["epoch"], which, shown)


def _log_end(runs: Sequence[Run]) -> None:
    """Log how long the nets were trained, and what has stopped them."""
    for run in runs:
        if run.error is not None:
            logger.info("Training stopped by %s: %s", type(run.error).__name__, run.error)
    epochs = sorted({len(run.net.history) for run in runs})
    logger.info(
        "Training ends: %d net(s), after %s epochs%s",
        len(runs),
        epochs[0] if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}",
        ", interrupted" if any(run.interrupted for run in runs) else "",
    )


def _engine_of_one_net(runs: Sequence[Run]) -> Engine:
    return SingleEngine(runs) if runs[0].processes.size == 1 else DistributedEngine(runs)


def _threads(runs: Sequence[Run]) -> AbstractContextManager[None]:
    """Return a context with the threads of a training."""
    return threads_of_training(runs) if runs[0].net.limits_threads else nullcontext()


def _attempt(run: Run, act: Callable[[], None]) -> None:
    """Let a run act; what stops it stops no other run, but in every process that trains it."""
    try:
        act()
    except StopTraining:
        run.done = True
    except Exception as error:
        run.error, run.done = error, True
    if run.processes.size > 1:
        run.processes.agree(run)


def _resume(engine: Engine | None, runs: list[Run]) -> int:
    """Restore what the checkpoint holds of a former training; return the epoch to begin with."""
    if engine is None or not runs or runs[0].checkpoint is None:
        return 0
    return runs[0].checkpoint.restore(runs[0], engine)


def _unfinished(engine: Engine | None, runs: list[Run]) -> list[Run]:
    """Return the runs that are trained further; the engine hands over the others."""
    done = [run for run in runs if run.done]
    if done and engine is not None:
        engine.leave(done)
    return [run for run in runs if not run.done] if done else runs


def train_one_by_one(runs: Sequence[Run]) -> None:
    """Train nets one after the other, each under its own seed.

    Parameters
    ----------
    runs : sequence of Run
        Trainings that have not begun.
    """
    for run in runs:
        with private_torch_rng(run.seed, run.device):
            train([run])


class PausableTraining:
    """A training that goes on by a few epochs at a time, with the result of one without pauses.

    Parameters
    ----------
    runs : sequence of Run
        Trainings of equally many epochs, none of which has begun.
    build : callable(runs) -> Engine or None, default=None
        What computes the epochs; the default takes a single run.

    Attributes
    ----------
    is_over : bool
        Whether all runs have come to their end.
    """

    def __init__(
        self, runs: Sequence[Run], build: Callable[[Sequence[Run]], Engine] | None = None
    ) -> None:
        self.runs, self.is_over = runs, False
        self._epochs = _epochs(runs, build or _engine_of_one_net)
        self._random: list[torch.Tensor] | None = None  # states of the generators at the pause

    def advance(self, pauses: Callable[[], bool]) -> None:
        """Train until the end, or until ``pauses`` is true after an epoch.

        Raises
        ------
        Exception
            What kept the training from going on at all. What goes wrong with one of the runs is
            kept in its ``error``, as by :func:`train`.
        """
        first = self.runs[0]
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            private_torch_rng(first.seed, first.device),
            _threads(self.runs),
        ):
            if self._random is not None:
                set_rng_states(self._random, first.device)
            for _ in self._epochs:
                if pauses():
                    break
            else:
                self.is_over = True
            self._random = rng_states(first.device)

    def stop(self) -> None:
        """End the training here; its nets are finished as after their last epoch."""
        if self._random is None:  # it has not begun
            self.abandon()
        for run in self.runs:
            run.done = True
        if not self.is_over:
            self.advance(lambda: False)

    def abandon(self) -> None:
        """End the training; its nets are not finished."""
        self._epochs.close()
        self.is_over = True
