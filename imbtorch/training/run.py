"""One net on its way through the epochs: what it sees, and who watches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import LRScheduler
from torch import Tensor
from torch.optim.swa_utils import update_bn

from imbtorch.training.callbacks import DivergenceGuard, Monitor
from imbtorch.training.checkpoint import Checkpoint
from imbtorch.training.data.order import RowOrder
from imbtorch.training.data.rows import Rows, batch_sizes
from imbtorch.training.data.validation import Validation
from imbtorch.training.distributed import ONE, Processes
from imbtorch.training.net import Net

__all__ = ["Fitting", "Run"]

Positions = NDArray[np.integer[Any]]
Schedule = str | Callable[[float], float]


@dataclass(eq=False)
class Run:
    """One training of one net.

    Attributes
    ----------
    net : Net
        To be trained.
    rows : Rows
        Features, targets and weights.
    order_of : RowOrder
        Positions of the training rows, and their order in each epoch.
    epochs : int
        How many more epochs, at most.
    lr_schedule : str or callable(progress) -> factor
        Factor on the learning rate, for the share of the training that is done.
    seed : int
        Of torch's generators during the training.
    guard : DivergenceGuard
        Sees each epoch first; when it ends the training, the monitors do not see that epoch.
    plan : callable(epoch, epochs) -> ndarray of int or None, or None
        Which of the training rows an epoch sees, in this order; None shuffles them all.
    monitors : list of Monitor
        Called in this order after each epoch.
    validation : Validation or None
        What skorch's callbacks see of the data; None where there are none.
    clipping, sharpness, averaging
        As :class:`imbtorch.training.steps.Steps` takes them.
    on_oom : {"raise", "split"}
        What to do where memory runs out on a batch.
    checkpoint : Checkpoint or None
        Where to take the training up again; of a net that is trained alone.
    processes : Processes
        Who trains the net.
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
    order_of: RowOrder
    epochs: int
    lr_schedule: Schedule
    seed: int
    guard: DivergenceGuard
    plan: Callable[[int, int], Positions | None] | None = None
    monitors: list[Monitor] = field(default_factory=list)
    validation: Validation | None = None
    clipping: float | None = None
    sharpness: float = 0.0
    averaging: str | float | None = None
    on_oom: str = "raise"
    checkpoint: Checkpoint | None = None
    processes: Processes = ONE
    in_stack: bool = False
    done: bool = False
    interrupted: bool = False
    error: Exception | None = None

    @property
    def n_rows(self) -> int:
        """Rows to choose from."""
        return self.order_of.n_rows

    @property
    def device(self) -> torch.device:
        """Where the net is trained."""
        return torch.device(self.net.device)

    @property
    def _watchers(self) -> list[Monitor]:
        return [self.guard, *self.monitors]

    @property
    def _given(self) -> dict[str, Any]:
        return {"X": None, "y": None} if self.validation is None else self.validation.given

    @property
    def _datasets(self) -> dict[str, Any]:
        return {} if self.validation is None else self.validation.datasets

    # -- before the epochs -------------------------------------------------------------------

    def begin(self) -> None:
        """Tell everybody that the training is about to start."""
        self.hooks = self.net.requested_hooks()
        for watcher in self._watchers:
            watcher.begin(self.net, self.epochs, self.n_rows)
        if any(isinstance(callback, LRScheduler) for _, callback in self.net.callbacks_):
            self.lr_schedule = "constant"  # the callback is in charge
        self.net.notify("on_train_begin", **self._given)

    # -- an epoch ----------------------------------------------------------------------------

    def _order_in(self, epoch: int) -> Tensor:
        chosen = None if self.plan is None else self.plan(epoch, self.epochs)
        rows = self.order_of
        return rows.shuffled(epoch) if chosen is None else rows.chosen(chosen)

    def open_epoch(self, epoch: int) -> None:
        """Draw the rows of the epoch, and tell everybody that it is about to start."""
        self.order: Tensor = self._order_in(epoch)
        if self.in_stack and callable(self.lr_schedule):  # what it raises stops this run alone
            steps = len(batch_sizes(len(self.order), self.net.batch_size))
            for step in range(steps):
                self.lr_schedule((epoch + step / steps) / self.epochs)
        self._start = time.perf_counter()
        for watcher in self._watchers:
            watcher.epoch_begin(self.net)
        self.net.notify("on_epoch_begin", **self._datasets)  # skorch opens the epoch's record here
        self.set_training(True)
        self.net.criterion_.set_epoch(len(self.net.history) - 1)

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
        self.done = self.guard.epoch_end(net, record)
        if not self.done:
            votes = [monitor.epoch_end(net, record) for monitor in self.monitors]
            self.done = any(votes)  # all have seen the epoch
        for key, value in record.items():
            net.history.record(key, value)
        self._record_loss("train_loss", record["train_loss"])
        if self.validation is not None:
            valid_loss = self.validation.show(net, record["train_loss"], self.hooks)
            if valid_loss is not None:
                self._record_loss("valid_loss", valid_loss)
        net.notify("on_epoch_end", **self._datasets)

    def resume(self, epoch: int, *, done: bool) -> None:
        """Stand where a former training stood after this epoch."""
        self.order, self.done = self._order_in(epoch), done
        if self.rows.mixing is not None:
            self.rows.mixing.epoch = epoch + 1
        self.guard.restore(None, self.net)

    def set_training(self, mode: bool) -> None:
        """Put module and loss into training mode, or out of it."""
        self.net.module_.train(mode)
        self.net.criterion_.train(mode)

    def _record_loss(self, name: str, value: float) -> None:
        """Record a loss and, for skorch's checkpoints, whether it is the lowest so far."""
        history = self.net.history
        earlier = [row[name] for row in history[:-1] if name in row]
        history.record(name, value)
        history.record(f"{name}_best", value < min(earlier, default=math.inf))

    # -- after the epochs --------------------------------------------------------------------

    def interrupt(self) -> None:
        """See that Ctrl-C ends the training here; an epoch that never ended is forgotten."""
        self.interrupted = self.done = True
        history = self.net.history
        if history and "train_loss" not in history[-1]:
            del history[-1]

    def end(self) -> None:
        """Tell everybody that the training is over."""
        self.net.module_.train(False)
        for watcher in self._watchers:
            watcher.end(self.net, self.error is None and not self.interrupted)

    def finish(self, averaged: bool) -> None:
        """Leave the net as it is to be used, after a training that was not cut short."""
        if averaged:  # batch normalisation knows other weights
            update_bn(self.rows.batches(self.order, self.net.batch_size), self.net.module_)
        self.net.optimizer_.zero_grad()  # frees the gradients
        self.net.notify("on_train_end", **self._given)


# A fit that stops where nets are to be trained, and publishes them when it is resumed; its value
# tells whether Ctrl-C cut it short.
Fitting = Generator[list[Run], None, bool]
