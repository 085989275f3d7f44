"""The training loop, on skorch's net: its history and callbacks, without its per-row work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import skorch
import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback, LRScheduler
from torch import Tensor
from torch.optim.swa_utils import update_bn

from imbtorch.training.batches import Rows
from imbtorch.training.callbacks import DivergenceGuard, Monitor
from imbtorch.training.chain import Chain
from imbtorch.training.mixing import MixedTargets
from imbtorch.training.optimizers import LearningRate
from imbtorch.training.skorch_net import StopTraining, _SkorchNet
from imbtorch.training.steps import Step, Steps
from imbtorch.training.validation import Validation

__all__ = ["SKORCH_VERSION"]

SKORCH_VERSION: str = skorch.__version__
_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")


class _Net(_SkorchNet):
    """A skorch net that trains on :class:`Rows` and reports to monitors."""

    def train(
        self,
        rows: Rows,
        index: NDArray[np.integer[Any]] | None,
        epochs: int,
        *,
        lr_schedule: str | Callable[[float], float],
        shuffle_seed: int,
        plan: Callable[[int, int], NDArray[np.integer[Any]]] | None = None,
        guard: DivergenceGuard,
        monitors: list[Monitor],
        validation: Validation | None,
        stepping: dict[str, Any] | None = None,
    ) -> None:
        """Train on the rows at ``index`` for at most ``epochs`` epochs.

        Parameters
        ----------
        rows : Rows
            Features, codes and weights.
        index : ndarray of int, shape (m,), or None
            Positions of the training rows; None for all.
        epochs : int
            How many more epochs.
        lr_schedule : str or callable(progress) -> factor
            Factor on the learning rate, for the share of the training that is done.
        shuffle_seed : int
            Seed of the order of the rows.
        plan : callable(epoch, epochs) -> ndarray of int or None, or None
            Which of the rows at ``index`` an epoch sees, in this order; None shuffles them all.
        guard : DivergenceGuard
            Sees each epoch first; when it ends the training, the monitors do not see that epoch.
        monitors : list of Monitor
            Called in this order after each epoch.
        validation : Validation or None
            What skorch's callbacks see of the data; None where there are none.
        stepping : dict or None, default=None
            ``clipping``, ``sharpness`` and ``averaging``, as :class:`Steps` takes them.
        """
        n_rows = len(rows) if index is None else len(index)
        small = torch.int32 if n_rows < 2**31 else torch.int64
        positions = None if index is None else torch.from_numpy(index).to(self.device, small)
        generator = torch.Generator().manual_seed(shuffle_seed)
        self._find_requested_hooks()
        self._takes_sparse = rows.can_stay_sparse and self._lays_out_for_sparse()
        watchers = [guard, *monitors]
        given = {"X": None, "y": None} if validation is None else validation.given
        for monitor in watchers:
            monitor.begin(self, epochs, n_rows)
        if any(isinstance(callback, LRScheduler) for _, callback in self.callbacks_):
            lr_schedule = "constant"  # the callback is in charge
        rate = LearningRate(self.optimizer_, lr_schedule, epochs)
        average, order, completed = None, torch.empty(0), False
        try:
            self.notify("on_train_begin", **given)
            steps = Steps(self.module_, self.optimizer_, epochs, **(stepping or {}))
            average = steps.average
            for epoch in range(epochs):
                chosen = None if plan is None else plan(epoch, epochs)
                if chosen is None:
                    order = torch.randperm(n_rows, generator=generator, dtype=small)
                else:
                    order = torch.from_numpy(chosen)
                order = order.to(self.device)
                order = order if positions is None else positions[order]
                rate.begin_epoch(epoch, math.ceil(len(order) / self.batch_size))
                if self._epoch(rows, order, rate, steps, watchers, validation):
                    break
            completed = True
        except StopTraining:
            completed = True
        except KeyboardInterrupt:
            if self.history and "train_loss" not in self.history[-1]:
                del self.history[-1]  # this epoch never ended
            raise
        finally:
            self.module_.train(False)
            rate.reset()
            for monitor in watchers:
                monitor.end(self, completed)
        if average is not None and average.count:  # batch normalisation knows other weights
            update_bn(rows.batches(order, self.batch_size), self.module_)
        self.optimizer_.zero_grad()  # frees the gradients
        self.notify("on_train_end", **given)

    def _find_requested_hooks(self) -> None:
        """Find the batch hooks that some callback really implements: only those cost."""
        self._hooks = {
            hook
            for hook in _BATCH_HOOKS
            for _, callback in self.callbacks_
            if getattr(type(callback), hook) is not getattr(Callback, hook)
        }

    def _epoch(
        self,
        rows: Rows,
        order: Tensor,
        rate: LearningRate,
        steps: Steps,
        watchers: list[Monitor],
        validation: Validation | None,
    ) -> bool:
        start = time.perf_counter()
        for watcher in watchers:
            watcher.epoch_begin(self)
        datasets = {} if validation is None else validation.datasets
        self.notify("on_epoch_begin", **datasets)  # skorch opens the epoch's history record here
        self.module_.train(True)
        self.criterion_.train(True)
        self.criterion_.set_epoch(len(self.history) - 1)
        batches = rows.batches(order, self.batch_size, sparse=self._takes_sparse)
        run = self._hooked if self._hooks else self._lean
        with steps.epoch():
            total = run(batches, steps.step, rate)
        self.module_.train(False)
        self.criterion_.train(False)
        record = {"epoch": len(self.history), "lr": self.optimizer_.param_groups[0]["lr"]}
        n_rows = max(len(order), 1)  # a chunk may hold nothing but rows of weight 0
        record["train_loss"] = float(total) / n_rows  # the one sync of the epoch
        record["dur"] = time.perf_counter() - start
        guard, *monitors = watchers
        stop = guard.epoch_end(self, record)
        if not stop:
            votes = [monitor.epoch_end(self, record) for monitor in monitors]  # all see the epoch
            stop = any(votes)
        for key, value in record.items():
            self.history.record(key, value)
        self._record_loss("train_loss", record["train_loss"])
        if validation is not None and not self._hooks:  # skorch's checkpoints read a last batch
            self.history.new_batch()
            self.history.record_batch("train_loss", record["train_loss"])
        if validation is not None and validation.rows is not None:
            self._validate(validation.rows)
        self.notify("on_epoch_end", **datasets)
        return stop

    def _lean(
        self,
        batches: Iterator[tuple[Tensor, Tensor, Tensor]],
        step: Step,
        rate: LearningRate,
    ) -> Tensor:
        gradients = self._gradients_of(self._chain())
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        for x, codes, share in batches:
            rate()
            again = partial(gradients, x, codes, share)
            value = again()
            step(again)
            total.add_(value, alpha=len(x))
        return total

    def _gradients_of(self, chain: Chain | None) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Return what writes the gradients of a batch and gives its loss, detached."""
        module = self.module_
        params = [p for group in self.optimizer_.param_groups for p in group["params"]]

        def by_autograd(x: Tensor, codes: Tensor, share: Tensor) -> Tensor:
            for param in params:
                param.grad = None
            value = self._batch_loss(codes, share, module(x))
            value.backward()
            return value.detach()

        def by_chain(x: Tensor, codes: Tensor, share: Tensor) -> Tensor:
            assert chain is not None
            loss = partial(self._batch_loss, codes, share)
            return chain.gradients(x, loss, share, partial(self._closed_form, codes))

        return by_autograd if chain is None else by_chain

    def _lays_out_for_sparse(self) -> bool:
        chain = None if self._hooks else self._chain()
        return chain is not None and chain.store_by_feature(fresh=not self.optimizer_.state)

    def _chain(self) -> Chain | None:
        """Take the module apart for back-propagation without a graph, where that is possible."""
        learns = any(True for _ in self.criterion_.parameters())
        return None if learns else Chain.of(self.module_)

    def _closed_form(self, target: Tensor, output: Tensor) -> tuple[Tensor, Tensor] | None:
        known: tuple[Tensor, Tensor] | None = None
        if isinstance(target, MixedTargets):
            return None
        if self.task == "labels":
            known = self.criterion_.with_label_gradient(output, target)
        elif self.task == "classes" and output.shape[1] == self.n_outputs:
            known = self.criterion_.with_gradient(output, target)
        return known  # else values, or one column for two classes

    def _hooked(
        self,
        batches: Iterator[tuple[Tensor, Tensor, Tensor]],
        step: Step,
        rate: LearningRate,
    ) -> Tensor:
        """Do the same as ``_lean``, telling skorch's callbacks about every batch."""
        gradients = self._gradients_of(None)
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        for x, codes, share in batches:
            rate()
            self.optimizer_.zero_grad()
            self.notify("on_batch_begin", batch=(x, codes), training=True)
            logits = self.read(self.module_(x))
            loss = self._batch_loss(codes, share, logits)
            loss.backward()
            named = list(self.get_all_learnable_params())
            self.notify("on_grad_computed", named_parameters=named, batch=(x, codes), training=True)
            step(partial(gradients, x, codes, share))
            total.add_(loss.detach(), alpha=len(x))
            self.history.record_batch("train_loss", float(loss.detach()))
            self.history.record_batch("train_batch_size", len(x))
            self.notify(
                "on_batch_end", batch=(x, codes), training=True, loss=loss, y_pred=logits.detach()
            )
        return total

    def _validate(self, rows: Rows) -> None:
        """Record ``valid_loss``, and show the validation batches to the callbacks that ask."""
        total = 0.0
        order = torch.arange(len(rows), device=self.device)
        for x, codes, _ in rows.batches(order, self.batch_size):
            if self._hooks:
                self.notify("on_batch_begin", batch=(x, codes), training=False)
            with torch.no_grad():
                logits = self.read(self.module_(x))
                loss = self._unweighted(logits, codes)
            total += float(loss) * len(x)
            if self._hooks:
                self.history.record_batch("valid_loss", float(loss))
                self.history.record_batch("valid_batch_size", len(x))
                self.notify(
                    "on_batch_end", batch=(x, codes), training=False, loss=loss, y_pred=logits
                )
        self._record_loss("valid_loss", total / len(rows))

    def _record_loss(self, name: str, value: float) -> None:
        """Record a loss and, for skorch's checkpoints, whether it is the lowest so far."""
        earlier = [row[name] for row in self.history[:-1] if name in row]
        self.history.record(name, value)
        self.history.record(f"{name}_best", value < min(earlier, default=math.inf))
