"""The parameters that all estimators with a net share, and what the engine gets of them."""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import nn

from imbtorch._common.sklearn_private import HasMethods, Interval, StrOptions
from imbtorch._fit.input_checks import InputMixin
from imbtorch._tasks import Balance, Task
from imbtorch.features import FeatureEncoder
from imbtorch.losses import BaseLoss
from imbtorch.samplers import get_sampler
from imbtorch.training.net import Net
from imbtorch.training.optimizers import LR_SCHEDULES, OPTIMIZERS
from imbtorch.training.run import Auxiliary
from imbtorch.training.schedules import SCHEDULE_CONSTRAINTS

__all__ = ["ARRAY_LIKE", "PATIENCE", "NetParameters", "check_settings", "set_parameters"]

Floats = NDArray[np.float64]

PATIENCE = 5  # the default
# for numbers in their order; "array-like" of scikit-learn allows sets and dicts, too
ARRAY_LIKE = (list, tuple, HasMethods("__array__"))


class NetParameters(InputMixin, BaseEstimator, ABC):
    """Parameters of the estimators that hold one net, as far as they have them in common.

    What a parameter means is said in the docstrings of the estimators. An estimator that lacks a
    parameter has the default below.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "features": [None, str, dict, FeatureEncoder],  # a dict is refused with a reason
        "module": [str, HasMethods("build"), nn.Module, callable],
        "loss": [str, BaseLoss, nn.Module, callable],
        "aux_loss": [None, str, dict, callable],
        "sampler": [None, str, HasMethods("fit_resample"), HasMethods("plan")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "param_groups": [None, dict],
        "lr_schedule": [StrOptions(set(LR_SCHEDULES)), callable],
        **SCHEDULE_CONSTRAINTS,
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "accumulate": [Interval(Integral, 1, None, closed="left")],
        "validation": [None, HasMethods("split")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "early_stopping": ["boolean"],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "scoring": [None, str, callable],
        "device": [str, torch.device],
        "data_parallel": ["boolean", Interval(Real, 1, 10**9, closed="both")],
        "dtype": [StrOptions({"float32", "float64"})],
        "precision": [None, StrOptions({"bfloat16", "float16"})],
        "n_threads": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), None],
        "num_workers": [Interval(Integral, 0, None, closed="left")],
        "collate_fn": [None, callable],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "callbacks": [None, list, tuple],
        "on_divergence": [StrOptions({"raise", "restore", "warn"})],
        "on_oom": [StrOptions({"raise", "split"})],
        "checkpoint": [None, str, PathLike],
        "checkpoint_interval": [Interval(Integral, 1, None, closed="left")],
        "on_interrupt": [StrOptions({"raise", "keep"})],
        "verbose": ["verbose"],
    }

    # Seeds that one fit draws, in this order.
    _seed_names: ClassVar[tuple[str, ...]]
    # Tasks that the estimator can have; a file must name one of them.
    _tasks: ClassVar[tuple[type[Task], ...]]

    module: object
    loss: object
    optimizer: str | Callable[..., torch.optim.Optimizer]
    lr: float
    weight_decay: float | str
    lr_schedule: str | Callable[[float], float]
    gradient_clipping: float | None
    sharpness: float
    averaging: str | float | None
    max_epochs: int | str
    batch_size: int | str
    accumulate: int
    validation: object = None
    validation_fraction: float | None
    early_stopping: bool
    patience: int
    scoring: str | Callable[..., float] | None
    device: str | torch.device
    data_parallel: bool | float
    dtype: str
    precision: str | None
    n_threads: int | str | None = "auto"
    random_state: int | np.random.RandomState | None
    warm_start: bool
    callbacks: Sequence[Any] | None
    on_divergence: str
    on_interrupt: str
    on_oom: str
    checkpoint: str | PathLike[str] | None
    checkpoint_interval: int
    verbose: int

    features: object = None
    aux_loss: Auxiliary | None = None
    loss_schedule: Mapping[str, Callable[[float], Any]] | None = None
    class_weight: object = None
    class_weight_schedule: float | str | Callable[[float], float] | None = None
    sampler: object = None
    sampler_schedule: float | None = None
    param_groups: Mapping[str, Mapping[str, Any]] | None = None

    net_: Net

    # -- what differs between classifier and regressor -------------------------------------------

    @staticmethod
    @abstractmethod
    def _encode(y: Any, given: Any, rows: NDArray[Any] | None) -> tuple[Task, Any]:
        """Find the task of checked targets, and encode the targets of these rows.

        ``given`` are the targets as the user gave them.
        """

    @abstractmethod
    def _balance(self, source: Any, counts: Floats, seen: Floats) -> Balance:
        """Weigh the rows of a source, and prepare the loss for the rows that it will see."""

    @abstractmethod
    def _check_fit(self, source: Any, balance: Any, net: Net) -> None:
        """Raise ValueError for what would fail at prediction, or in the middle of the training."""


def set_parameters(estimator: NetParameters, names: Sequence[str]) -> list[str]:
    """Return ``name=value`` for each of these parameters that differs from its default."""
    defaults = inspect.signature(type(estimator)).parameters
    return [
        f"{name}={getattr(estimator, name)!r}"
        for name in names
        if name in defaults and getattr(estimator, name) != defaults[name].default
    ]


def check_settings(estimator: NetParameters, *, has_validation: bool) -> None:
    """Check that ``fit`` will use the parameters that depend on others.

    Raises
    ------
    ValueError
        If a schedule has nothing to change.

    Warns
    -----
    UserWarning
        If ``patience`` or ``scoring`` is set, but no early stopping or no validation uses it.
    """
    _check_schedules(estimator)
    if estimator.early_stopping:
        return
    scored = has_validation or estimator.validation_fraction is not None
    unused = set_parameters(estimator, ["patience"] if scored else ["patience", "scoring"])
    if unused:
        warnings.warn(
            f"{', '.join(unused)} is not used: scoring needs validation rows (early_stopping=True "
            "or a validation_fraction), and patience needs early_stopping=True.",
            UserWarning,
            stacklevel=9,
        )


def _check_schedules(estimator: NetParameters) -> None:
    """Raise ValueError if a schedule has nothing to change."""
    if estimator.class_weight_schedule is not None and estimator.class_weight is None:
        raise ValueError(
            f"class_weight_schedule={estimator.class_weight_schedule!r} has no class_weight to "
            "change; set one, such as class_weight='balanced'."
        )
    if estimator.sampler_schedule is None:
        return
    sampler = estimator.sampler
    sampler = get_sampler(sampler) if isinstance(sampler, str) else sampler
    if not hasattr(sampler, "plan"):
        raise ValueError(
            f"sampler_schedule={estimator.sampler_schedule!r} needs a sampler that plans each "
            f"epoch, one of imbtorch.samplers; got sampler={sampler!r}."
        )
