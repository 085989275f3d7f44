"""What the estimators share: parameters, input checks, the net's life, and publishing it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import nn

from imbtorch._common.components import NamedComponentsMixin
from imbtorch._common.memo import Memo
from imbtorch._common.seed import draw_seeds, private_torch_rng
from imbtorch._common.sklearn_private import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    callback_management_context,
    fit_context,
)
from imbtorch._common.versions import VersionStampMixin
from imbtorch._data.datasets_as_rows import DatasetStream
from imbtorch._fit.fitted_net import FittedNetMixin
from imbtorch._fit.input_checks import InputMixin
from imbtorch._fit.split import TrainingSplit
from imbtorch.losses import BaseLoss, get_loss
from imbtorch.modules import (
    build_module,
    get_module,
    set_output_bias,
)
from imbtorch.modules._first_rows import try_module
from imbtorch.samplers import get_sampler
from imbtorch.training.callbacks import (
    BestEpoch,
    DivergenceGuard,
    EpochCallbacks,
    Monitor,
    ProgressBar,
)
from imbtorch.training.checkpoint import Checkpoint, describe
from imbtorch.training.data.mixing import Mixing
from imbtorch.training.data.observers import observed
from imbtorch.training.data.rows import as_features
from imbtorch.training.data.stream import rows_in_order
from imbtorch.training.data.validation import Validation
from imbtorch.training.device import resolve_device
from imbtorch.training.distributed import joined, refuse_company, together
from imbtorch.training.net import Net, new_net
from imbtorch.training.optimizers import LR_SCHEDULES, OPTIMIZERS
from imbtorch.training.run import Fitting, Run
from imbtorch.training.schedules import SCHEDULE_CONSTRAINTS, WeightSchedule
from imbtorch.training.single.distributed_engine import ready

__all__ = ["BaseNetEstimator"]

Attributes = dict[str, Any]
# parameters that may differ when a training is continued
_INCIDENTAL = {
    "callbacks", "checkpoint", "checkpoint_interval", "data_parallel", "device", "on_divergence",
    "on_interrupt", "on_oom", "random_state", "target_prior", "verbose", "warm_start",
}  # fmt: skip


class BaseNetEstimator(
    InputMixin,
    FittedNetMixin,
    NamedComponentsMixin,
    CallbackSupportMixin,
    VersionStampMixin,
    BaseEstimator,
):
    """Common ground of the estimators: they hold a skorch net, they are not one."""

    _components: ClassVar[dict[str, Callable[[str], Any]]] = {
        "loss": get_loss,
        "module": get_module,
        "sampler": get_sampler,
    }
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "module": [str, HasMethods("build"), nn.Module, callable],
        "loss": [str, BaseLoss, nn.Module, callable],
        "sampler": [None, str, HasMethods("fit_resample"), HasMethods("plan")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "lr_schedule": [StrOptions(set(LR_SCHEDULES)), callable],
        **SCHEDULE_CONSTRAINTS,
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "early_stopping": ["boolean"],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "scoring": [None, str, callable],
        "device": [str, torch.device],
        "data_parallel": ["boolean"],
        "dtype": [StrOptions({"float32", "float64"})],
        "num_workers": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "callbacks": [None, "array-like"],
        "on_divergence": [StrOptions({"raise", "restore", "warn"})],
        "on_oom": [StrOptions({"raise", "split"})],
        "checkpoint": [None, str, PathLike],
        "checkpoint_interval": [Interval(Integral, 1, None, closed="left")],
        "on_interrupt": [StrOptions({"raise", "keep"})],
        "verbose": ["verbose"],
    }

    # of estimators that lack these parameters
    gradient_clipping: float | None = None
    sharpness: float = 0.0

    data_parallel: bool
    _fitting: Any  # of the estimator: its part of ``_begin_fit``

    @property
    def _torch_dtype(self) -> torch.dtype:
        return torch.float64 if self.dtype == "float64" else torch.float32

    # -- the net ---------------------------------------------------------------------------

    def _resolved_batch_size(self, n_rows: int) -> int:
        # Steps per epoch matter more than rows per step: small tables get small batches.
        if self.batch_size != "auto":
            return int(self.batch_size) * joined(self).size
        return int(np.clip(2 ** round(np.log2(max(n_rows, 1) / 256)), 64, 1024))

    @property
    def _resolved_weight_decay(self) -> float:
        if self.weight_decay != "auto":
            return float(self.weight_decay)
        # Decoupled decay is a mild prior on the weights at any learning rate; added to the
        # gradient, the same number would drown it.
        return 0.1 if self.optimizer == "adamw" else 0.0

    def _build_net(
        self,
        X: Any,
        loss: Any,
        task: str,
        n_outputs: int,
        bias: torch.Tensor | None,
        seed: int,
        batch_size: int,
    ) -> Net:
        """Build and try out a net for rows like those of ``X``, under a private seed."""
        dtype = self._torch_dtype
        device = resolve_device(joined(self).device(self.device), dtype)
        with private_torch_rng(seed, device):
            module = build_module(self.module, tuple(X.shape[1:]), n_outputs).to(dtype)
            if bias is not None:
                set_output_bias(self.module, module, bias)
            module.to(device).train(False)
            with torch.no_grad():  # also lets lazy layers find their sizes
                few = as_features(X[:2], dtype, device, resident=False).slice(0, 2)
                output = try_module(module, few, n_outputs, task)
            loss.to(device, dtype).train(False)
            net = new_net(self, module, loss, task, n_outputs, batch_size, dtype, device)
            net.keeps_optimizer = self.warm_start
            with torch.no_grad():
                net.try_loss(output)
        return net

    def _resume_net(self, loss: Any, batch_size: int) -> Net:
        """Copy the fitted net, so that a failure cannot harm it, under the present parameters."""
        # epochs that are over do not change: a stream of many chunks must not copy them each time
        history = self.net_.history_
        net: Net = copy.deepcopy(self.net_, {id(history): copy.copy(history)})
        net.resume(loss.to(torch.device(net.device), net.dtype), self.callbacks)
        net.batch_size, net.keeps_optimizer = batch_size, True
        for group in net.optimizer_.param_groups:
            group.update(lr=self.lr, weight_decay=self._resolved_weight_decay)
        return net

    def _monitors(
        self,
        score: Callable[[], float] | None,
        attributes: Attributes,
        given: tuple[Any, Any],
        weights: Any,
    ) -> list[Monitor]:
        monitors: list[Monitor] = []
        if score is not None:
            monitors.append(BestEpoch(score, self.patience if self.early_stopping else None))
        if self.verbose:
            monitors.append(ProgressBar())
        if getattr(self, "_skl_callbacks", None):
            metadata = {} if weights is None else {"sample_weight": weights}
            monitors.append(EpochCallbacks(self, lambda: attributes, *given, metadata))
        return monitors

    def _learn(
        self,
        net: Net,
        part: TrainingSplit | DatasetStream,
        weights: tuple[NDArray[Any] | None, NDArray[Any] | None],
        attributes: Attributes,
        seeds: tuple[int, int],
        *,
        plan: Callable[[int, int], NDArray[Any]] | None = None,
        epochs: int,
        lr_schedule: str | Callable[[float], float],
        averaging: str | float | None = None,
        reweigh: tuple[Any, Callable[[float], Any]] | None = None,
        mixing: Mixing | None = None,
        monitors: list[Monitor],
        shown: tuple[Any, Any, Any, Any] | None,
        memo: Memo,
        checkpoint: Checkpoint | None = None,
    ) -> Fitting:
        """Hand over the net to be trained, and publish whatever came out.

        ``weights`` are those of the rows, and of the labels. ``reweigh`` is a schedule of powers
        and the weights at a power. ``shown`` is what skorch's callbacks see: ``X``, targets,
        training and validation positions.
        """
        device = torch.device(net.device)
        rows, order = rows_in_order(part, weights, seeds[1], net, memo)
        rows.mixing = mixing
        rows, monitors = observed(rows, monitors, net.module_)
        if reweigh is not None:
            monitors = [WeightSchedule(*reweigh, rows), *monitors]
        run = Run(
            net,
            rows,
            order,
            epochs,
            lr_schedule,
            seeds[0] + joined(self).rank,  # dropout of other rows is not the same
            DivergenceGuard(self.on_divergence),
            plan=plan,
            monitors=monitors,
            validation=None if shown is None else Validation(*shown, net.dtype, device),
            clipping=self.gradient_clipping,
            sharpness=self.sharpness,
            averaging=averaging,
            on_oom=self.on_oom,
            checkpoint=checkpoint,
            processes=joined(self),
        )
        ready(run)
        yield [run]
        if run.error is not None:
            raise run.error
        self.__dict__.update(attributes, interrupted_=run.interrupted)
        return run.interrupted

    @fit_context
    def _begin_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        rows: NDArray[Any] | None = None,
        memo: Memo | None = None,
        resume: bool = False,
    ) -> Fitting:
        """Fit as a coroutine: it stops where its net is to be trained, and publishes when resumed.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``.
        rows : ndarray of int or None, default=None
            Positions of the rows to fit on; None for all.
        memo : Memo or None, default=None
            What other fits on the same data have computed.
        resume : bool, default=False
            Whether to continue the training in ``checkpoint``.

        Yields
        ------
        list of Run
            To be trained before the coroutine is resumed.

        Returns
        -------
        bool
            Whether Ctrl-C cut the training short.
        """
        if memo is not None:
            refuse_company(self)
        with self._all_or_nothing(), callback_management_context(self):
            interrupted: bool = yield from self._fitting(
                X, y, sample_weight, rows, memo or Memo(), self._checkpoint(resume)
            )
        return interrupted

    def _checkpoint(self, resume: bool) -> Checkpoint | None:
        if self.checkpoint is not None:
            return Checkpoint(self.checkpoint, self.checkpoint_interval, resume=resume)
        if resume:
            raise ValueError(
                "resume=True continues the training in a folder; say which one, as in "
                f"{type(self).__name__}(checkpoint='folder')."
            )
        return None

    def _seeds(
        self, n: int, checkpoint: Checkpoint | None, part: TrainingSplit | DatasetStream
    ) -> list[int]:
        """Draw seeds, unless a training is continued: then they are the former ones."""
        processes = joined(self)
        drawn = processes.exchange(draw_seeds(self.random_state, n))[0]
        if processes.size > 1:
            processes.check_same(part.identity())
        if checkpoint is None:
            return drawn
        params = self.get_params(deep=False)
        identity = {name: describe(params[name]) for name in sorted(set(params) - _INCIDENTAL)}
        identity["processes"] = str(processes.size)
        return checkpoint.begin({**identity, **part.identity()}, drawn)

    def _fitted_state(self) -> Attributes:
        """Collect what ``fit`` has set."""
        return {key: value for key, value in vars(self).items() if _is_fitted_state(key)}

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Undo whatever a failed fit has set, so that no half-fitted object is left."""
        before = self._fitted_state()
        try:
            with together(self) if self.data_parallel else nullcontext():
                yield
        except BaseException:
            for key in self._fitted_state():
                del self.__dict__[key]
            self.__dict__.update(before)
            raise

    def _pass_on(self, interrupted: bool) -> None:
        """Re-raise an interruption, now that the model of that moment is published."""
        if not interrupted:
            return
        if self.on_interrupt == "raise":
            raise KeyboardInterrupt
        warnings.warn(
            f"Training was interrupted in epoch {self.n_iter_}; the model of that moment is kept.",
            UserWarning,
            stacklevel=4,
        )

    def __sklearn_tags__(self) -> Any:
        """Say what this estimator accepts: sparse and n-dimensional ``X``."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        return tags


def _is_fitted_state(key: str) -> bool:
    return (key.endswith("_") and not key.startswith("__")) or key in {
        "_input_shape",
        "_n_rows_seen",
    }
