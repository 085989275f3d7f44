"""The training loop, on skorch's net: its history and callbacks, without its per-row work."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import skorch
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.utils import to_tensor
from torch import Tensor, nn

from imbtorch.losses import BaseLoss
from imbtorch.modules import logits_of
from imbtorch.training.batches import Rows
from imbtorch.training.callbacks import DivergenceGuard, Monitor
from imbtorch.training.chain import Chain
from imbtorch.training.optimizers import LearningRate, build_optimizer, lean_step
from imbtorch.training.validation import Validation

__all__ = ["SKORCH_VERSION"]

SKORCH_VERSION: str = skorch.__version__
_TRAINED = ("module_", "criterion_", "optimizer_", "history_")
_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")


class _StopTraining(Exception):  # noqa: N818 - a signal, not an error
    """A skorch callback asked for an orderly end."""


class _Net(ClassifierMixin, NeuralNet):
    """A skorch net that trains on :class:`Rows` and reports to monitors.

    Parameters are skorch's; ``module`` and ``criterion`` are instances. ``weight_decay`` and
    ``optimizer`` are those of the estimator. ``task`` says what the targets are: ``"classes"``,
    ``"labels"`` or ``"values"``.
    """

    def __init__(
        self,
        module: nn.Module,
        criterion: BaseLoss,
        *,
        optimizer: Any,
        lr: float,
        weight_decay: float,
        batch_size: int,
        max_epochs: int,
        dtype: torch.dtype,
        device: torch.device,
        task: str,
        n_outputs: int,
        callbacks: Any,
    ) -> None:
        super().__init__(
            module,
            criterion,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            train_split=None,
            callbacks=callbacks,
            verbose=0,
            device=str(device),
        )
        self.weight_decay = weight_decay
        self.dtype = dtype
        self.task = task
        self.n_outputs = n_outputs

    def read(self, output: Tensor) -> Tensor:
        """Read outputs of the module for the loss: one column may stand for two classes."""
        output = logits_of(output) if self.task == "classes" else output
        return output.to(self.dtype)

    # -- skorch's hooks --------------------------------------------------------------------

    @property
    def _default_callbacks(self) -> list[Any]:
        return []  # they work per batch; the loop below records loss and duration itself

    def initialize_optimizer(self, triggered_directly: Any = None) -> _Net:
        """Build the optimizer from the estimator's own three parameters."""
        params = [p for _, p in self.get_all_learnable_params() if p.requires_grad]
        self.optimizer_ = build_optimizer(self.optimizer, params, self.lr, self.weight_decay)
        return self

    def initialize(self) -> _Net:
        """Build everything; drop the parameters that are instances, which are fitted now."""
        super().initialize()
        # skorch pickles module_ and criterion_ so that they load on a machine without the device,
        # but their parameters plainly: a second copy, tied to the device.
        self.module = self.criterion = None
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Net:
        """Copy what training changes; skorch's own way pickles, which local classes cannot."""
        fork = object.__new__(type(self))
        fork.__dict__.update(self.__dict__)
        trained = {name: vars(self)[name] for name in _TRAINED}
        fork.__dict__.update(copy.deepcopy(trained, memo))
        return fork

    def try_loss(self, output: Tensor) -> None:
        """Evaluate the loss on outputs of the module, so that what does not fit shows early."""
        shape = (len(output),) if self.task == "classes" else (len(output), self.n_outputs)
        kind = torch.int64 if self.task == "classes" else self.dtype
        self._unweighted(output, torch.zeros(shape, dtype=kind, device=output.device))

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Compute the logits of a batch, as skorch's callbacks ask for them."""
        x = to_tensor(x, device=self.device).to(self.dtype)
        return self.read(self.module_(x, **fit_params))

    def _get_predict_nonlinearity(self) -> Callable[[Tensor], Tensor]:
        if self.task == "classes":
            return lambda logits: self.criterion_.log_scores(logits).exp()
        return torch.sigmoid if self.task == "labels" else lambda output: output

    def get_loss(self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False) -> Any:
        """Unweighted mean loss of a batch, for skorch's own validation step."""
        target = to_tensor(y_true, device=self.device)
        return self._unweighted(
            y_pred, target.long() if self.task == "classes" else target.to(self.dtype)
        )

    @property
    def classes_(self) -> NDArray[np.intp]:
        """Class codes, for scikit-learn scorers inside skorch callbacks."""
        return np.arange(self.n_outputs)

    def predict(self, X: Any) -> NDArray[Any]:
        """Class codes, labels or values, for scikit-learn scorers inside skorch callbacks."""
        result = self.predict_proba(X)
        if self.task == "classes":
            return np.asarray(result.argmax(axis=1))
        return (result > 0.5).astype(np.int64) if self.task == "labels" else np.asarray(result)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call the callbacks; skorch's EarlyStopping ends the training, Ctrl-C is not swallowed."""
        getattr(self, method_name)(self, **cb_kwargs)
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except KeyboardInterrupt:
                if isinstance(callback, EarlyStopping):  # this is how it says stop
                    raise _StopTraining from None
                raise

    def resume(self, loss: BaseLoss, callbacks: Any) -> None:
        """Take the present loss and callbacks of a net that is trained further."""
        with self._current_init_context("criterion"):
            self.criterion_ = loss
        self.callbacks = callbacks
        self.initialize_callbacks()

    # -- the loop --------------------------------------------------------------------------

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
        plan : callable(epoch, epochs) -> ndarray of int, or None
            Which of the rows at ``index`` an epoch sees, in this order; None shuffles them all.
        guard : DivergenceGuard
            Sees each epoch first; when it ends the training, the monitors do not see that epoch.
        monitors : list of Monitor
            Called in this order after each epoch.
        validation : Validation or None
            What skorch's callbacks see of the data; None where there are none.
        """
        n_rows = len(rows) if index is None else len(index)
        small = torch.int32 if n_rows < 2**31 else torch.int64
        positions = None if index is None else torch.from_numpy(index).to(self.device, small)
        generator = torch.Generator().manual_seed(shuffle_seed)
        self._find_requested_hooks()
        watchers = [guard, *monitors]
        given = {"X": None, "y": None} if validation is None else validation.given
        for monitor in watchers:
            monitor.begin(self, epochs, n_rows)
        if any(isinstance(callback, LRScheduler) for _, callback in self.callbacks_):
            lr_schedule = "constant"  # the callback is in charge
        rate = LearningRate(self.optimizer_, lr_schedule, epochs)
        completed = False
        try:
            self.notify("on_train_begin", **given)
            step = lean_step(self.optimizer_)
            for epoch in range(epochs):
                if plan is None:
                    order = torch.randperm(n_rows, generator=generator, dtype=small)
                else:
                    order = torch.from_numpy(plan(epoch, epochs))
                order = order.to(self.device)
                order = order if positions is None else positions[order]
                rate.begin_epoch(epoch, math.ceil(len(order) / self.batch_size))
                if self._epoch(rows, order, rate, step, watchers, validation):
                    break
            completed = True
        except _StopTraining:
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
        step: Callable[[], Any],
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
        batches = rows.batches(order, self.batch_size)
        run = self._hooked if self._hooks else self._lean
        total = run(batches, step, rate)
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
        step: Callable[[], Any],
        rate: LearningRate,
    ) -> Tensor:
        module = self.module_
        params = [p for group in self.optimizer_.param_groups for p in group["params"]]
        learns = any(True for _ in self.criterion_.parameters())
        chain = None if learns else Chain.of(module)

        total = torch.zeros((), dtype=self.dtype, device=self.device)
        for x, codes, share in batches:
            rate()
            if chain is not None:
                loss = partial(self._batch_loss, codes, share)
                value = chain.gradients(x, loss, share, partial(self._closed_form, codes))
            else:
                for param in params:
                    param.grad = None
                value = self._batch_loss(codes, share, module(x))
                value.backward()
                value = value.detach()
            step()
            total.add_(value, alpha=len(x))
        return total

    def _batch_loss(self, target: Tensor, share: Tensor, output: Tensor) -> Tensor:
        loss: Tensor = self.criterion_.batch_loss(self.read(output), target, share)
        return loss

    def _closed_form(self, target: Tensor, output: Tensor) -> tuple[Tensor, Tensor] | None:
        known: tuple[Tensor, Tensor] | None = None
        if self.task == "labels":
            known = self.criterion_.with_label_gradient(output, target)
        elif self.task == "classes" and output.shape[1] == self.n_outputs:
            known = self.criterion_.with_gradient(output, target)
        return known  # else values, or one column for two classes

    def _unweighted(self, output: Tensor, target: Tensor) -> Tensor:
        shape = (len(target), 1) if self.task == "labels" else (len(target),)
        n_terms = target.numel() if self.task == "labels" else len(target)
        return self._batch_loss(target, output.new_full(shape, 1 / n_terms), output)

    def _hooked(
        self,
        batches: Iterator[tuple[Tensor, Tensor, Tensor]],
        step: Callable[[], Any],
        rate: LearningRate,
    ) -> Tensor:
        """Do the same as ``_lean``, telling skorch's callbacks about every batch."""
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
            step()
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
