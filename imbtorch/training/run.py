"""One training of one net: its recipe, its rows, and the monitors that watch it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import LRScheduler
from torch import Tensor

from imbtorch.training.averaging import update_statistics
from imbtorch.training.callbacks import DivergenceGuard, Monitor
from imbtorch.training.checkpoint import Checkpoint
from imbtorch.training.data.buckets import bucketed
from imbtorch.training.data.rows import ArrayRows, RowOrder, Rows, batch_sizes
from imbtorch.training.data.several import InputFeatures
from imbtorch.training.data.validation import Validation
from imbtorch.training.distributed import ONE, Processes
from imbtorch.training.net import Net
from imbtorch.training.single.accumulation import check_accumulable
from imbtorch.training.skorch_callbacks import check_monitored

__all__ = ["Auxiliary", "Plan", "Recipe", "Run"]

Positions = NDArray[np.integer[Any]]
Schedule = str | Callable[[float], float]
# Losses that a module returns beside its logits: a name, names with factors, or a function.
Auxiliary = str | Mapping[str, float] | Callable[..., Tensor]
# Which of the training rows an epoch sees, by epoch and number of epochs; None: all, shuffled.
Plan = Callable[[int, int], Positions | None]


@dataclass(frozen=True)
class Recipe:
    """How a net is trained, whatever the net and the rows are.

    Attributes
    ----------
    epochs : int
        Largest number of further epochs.
    lr_schedule : str or callable(progress) -> factor
        Factor on the learning rate, for the share of the training that is done.
    averaging : {"ema", "swa"}, float or None
        Average of the weights, see :class:`imbtorch.training.steps.Steps`.
    clipping : float or None
        Largest norm of the gradient.
    sharpness : float
        Radius of sharpness-aware minimisation.
    on_divergence : {"raise", "restore", "warn"}
        What to do when the loss or a weight is not finite.
    on_oom : {"raise", "split"}
        What to do when memory runs out on a batch.
    accumulate : int
        Number of batches of a step.
    aux_loss : str, dict of str to float, callable or None
        What is added to the loss, see :mod:`imbtorch.training.single.auxiliary`.
    """

    epochs: int
    lr_schedule: Schedule
    averaging: str | float | None = None
    clipping: float | None = None
    sharpness: float = 0.0
    on_divergence: str = "raise"
    on_oom: str = "raise"
    accumulate: int = 1
    aux_loss: Auxiliary | None = None


@dataclass(eq=False)
class Run:
    """One training of one net.

    Attributes
    ----------
    net : Net
        The net to train.
    rows : Rows
        Features, targets and weights.
    row_order : RowOrder
        Positions of the training rows, and their order in each epoch.
    recipe : Recipe
        How the net is trained.
    seed : int
        Seed of torch's generators during the training.
    plan : callable(epoch, epochs) -> ndarray of int or None, or None
        Which of the training rows an epoch sees, in this order; None shuffles all of them.
    monitors : list of Monitor
        Monitors, called in this order after each epoch.
    validation : Validation or None
        What skorch's callbacks see of the data; None where there are none.
    checkpoint : Checkpoint or None
        Where the training is saved and resumed; only a net that is trained alone has one.
    processes : Processes
        The processes that train the net together.
    lr_schedule : str or callable(progress) -> factor
        The schedule of the recipe, unless a skorch callback is in charge.
    guard : DivergenceGuard
        Monitor that sees each epoch first; when it ends the training, the others do not see that
        epoch.
    device : torch.device
        Device on which the net is trained.
    rows_per_step : int
        Number of rows of an optimizer step: those of one batch, or of several.
    aux_total : float or None
        Sum of what was added to the losses of the epoch, set by the engine; None without
        ``aux_loss``.
    in_stack : bool
        Whether other nets are trained with this one.
    done : bool
        Whether the training has come to an end, for whatever reason.
    interrupted : bool
        Whether Ctrl-C was that reason.
    error : Exception or None
        What went wrong.
    """

    net: Net
    rows: Rows
    row_order: RowOrder
    recipe: Recipe
    seed: int
    plan: Plan | None = None
    monitors: list[Monitor] = field(default_factory=list)
    validation: Validation | None = None
    checkpoint: Checkpoint | None = None
    processes: Processes = ONE
    aux_total: float | None = None
    in_stack: bool = False
    done: bool = False
    interrupted: bool = False
    error: Exception | None = None

    def __post_init__(self) -> None:
        """Start from the recipe."""
        self.lr_schedule = self.recipe.lr_schedule
        self.guard = DivergenceGuard(self.recipe.on_divergence)
        self.device = torch.device(self.net.device)
        self.rows_per_step: int = self.net.batch_size * self.recipe.accumulate
        # what skorch's callbacks get: of a training, and of an epoch
        self._given: dict[str, Any] = {"X": None, "y": None}
        self._datasets: dict[str, Any] = {}
        if self.validation is not None:
            self._given, self._datasets = self.validation.given, self.validation.datasets
        features = self.rows.features
        # of rows that a user's Dataset reads, and may draw random numbers for
        self.begin_reading = getattr(
            self.rows if features is None else features, "begin_epoch", None
        )
        # losses of a whole batch need rows of two classes in each, and lengths may tell the class
        if isinstance(features, InputFeatures) and self.net.criterion_.sums_over_rows:
            self.row_order = bucketed(self.row_order, features.lengths, self.rows_per_step)

    @property
    def epochs(self) -> int:
        """Largest number of epochs of this training."""
        return self.recipe.epochs

    @property
    def n_rows(self) -> int:
        """Number of rows to choose from."""
        return self.row_order.n_rows

    @property
    def array_rows(self) -> ArrayRows:
        """The rows of a run that may be in a stack: they can be asked for by position."""
        assert isinstance(self.rows, ArrayRows)
        return self.rows

    # -- before the epochs -------------------------------------------------------------------

    def begin(self) -> None:
        """Tell monitors and callbacks that the training is about to start."""
        if any(isinstance(callback, LRScheduler) for _, callback in self.net.callbacks_):
            self.lr_schedule = "constant"  # the callback is in charge
        self.hooks = self.net.requested_hooks()
        if self.validation is not None and self.validation.rows is None:
            check_monitored(self.net.callbacks_)
        if self.recipe.accumulate > 1:
            check_accumulable(self.net, self.recipe.accumulate, hooked=bool(self.hooks))
        for watcher in (self.guard, *self.monitors):
            watcher.begin(self.net, self.recipe.epochs, self.row_order.n_rows)
        self.net.notify("on_train_begin", **self._given)

    # -- an epoch ----------------------------------------------------------------------------

    def _order_in(self, epoch: int) -> Tensor:
        chosen = None if self.plan is None else self.plan(epoch, self.epochs)
        rows = self.row_order
        return rows.shuffled(epoch) if chosen is None else rows.chosen(chosen)

    def open_epoch(self, epoch: int) -> None:
        """Draw the rows of the epoch, and tell monitors and callbacks that it is about to start."""
        self.order: Tensor = self._order_in(epoch)
        if self.in_stack and callable(self.lr_schedule):  # what it raises stops this run alone
            steps = len(batch_sizes(len(self.order), self.rows_per_step))
            for step in range(steps):
                self.lr_schedule((epoch + step / steps) / self.epochs)
        self._start = time.perf_counter()
        for monitor in self.monitors:
            monitor.epoch_begin(self.net)
        self.net.notify("on_epoch_begin", **self._datasets)  # skorch opens the epoch's record here
        self.set_training(True)
        self.net.criterion_.set_epoch(len(self.net.history) - 1)
        if self.begin_reading is not None:
            epoch, called = len(self.net.history) - 1, bool(self.net.callbacks_)
            called = called or any(monitor.runs_callbacks for monitor in self.monitors)
            self.begin_reading(epoch, may_have_changed=called)

    def close_epoch(self, total: float, weights_are_finite: bool) -> None:
        """Record the epoch, whose losses sum up to ``total``, and ask whether it was the last."""
        net, self.guard.weights_are_finite = self.net, weights_are_finite
        self.set_training(False)
        record: dict[str, Any] = {
            "epoch": len(net.history),
            "lr": net.optimizer_.param_groups[0]["lr"],
            # a chunk may hold nothing but rows of weight 0
            "train_loss": total / max(len(self.order), 1),
            "dur": time.perf_counter() - self._start,
        }
        if self.aux_total is not None:
            record["aux_loss"] = self.aux_total / max(len(self.order), 1)
        self.done = self.guard.epoch_end(net, record)
        if not self.done:
            votes = [monitor.epoch_end(net, record) for monitor in self.monitors]
            self.done = any(votes)  # all have seen the epoch
        for key, value in record.items():
            net.history.record(key, value)
        net.history.record_loss("train_loss", record["train_loss"])
        if self.validation is not None:
            valid_loss = self.validation.show(net, record["train_loss"], self.hooks)
            if valid_loss is not None:
                net.history.record_loss("valid_loss", valid_loss)
        net.notify("on_epoch_end", **self._datasets)

    def resume(self, epoch: int, *, done: bool) -> None:
        """Restore the state after this epoch of a former training."""
        self.order, self.done = self._order_in(epoch), done
        if self.rows.mixing is not None:
            self.rows.mixing.epoch = epoch + 1
        self.guard.restore(None, self.net)

    def set_training(self, mode: bool) -> None:
        """Put module and loss into training mode, or out of it."""
        self.net.module_.train(mode)
        self.net.criterion_.train(mode)

    # -- after the epochs --------------------------------------------------------------------

    def interrupt(self) -> None:
        """End the training because of Ctrl-C; the record of an unfinished epoch is dropped."""
        self.interrupted = self.done = True
        history = self.net.history
        if history and "train_loss" not in history[-1]:
            del history[-1]

    def end(self) -> None:
        """Tell the monitors that the training is over."""
        self.net.module_.train(False)
        for monitor in self.monitors:
            monitor.end(self.net, self.error is None and not self.interrupted)

    def finish(self, averaged: bool) -> None:
        """Prepare the net for predictions, after a training that was not cut short."""
        if averaged:  # batch normalisation knows other weights
            batches = self.rows.batches(self.order, self.net.batch_size)
            with self.net.autocast():
                update_statistics(self.net.module_, batches)
        self.net.optimizer_.zero_grad()  # frees the gradients
        self.net.notify("on_train_end", **self._given)
