"""What a net is made of, besides its module and its loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from imbtorch._tasks.base import Task

__all__ = ["NetSpec"]


@dataclass(frozen=True)
class NetSpec:
    """What a net is made of, besides its module and its loss.

    Attributes
    ----------
    task : Task
        What the targets are, and so what the outputs are for.
    batch_size : int
        Number of rows of a batch.
    dtype : torch.dtype
        Dtype to compute in.
    device : torch.device
        Device to compute on.
    optimizer : {"adam", "adamw", "sgd"} or callable
        See :func:`imbtorch.training.optimizers.build_optimizer`.
    lr, weight_decay : float
        Learning rate and weight decay of the optimizer.
    max_epochs : int
        Number of epochs that skorch's callbacks are told.
    callbacks : list of skorch callbacks or None
        Callbacks of the user.
    param_groups : mapping of str to mapping, or None
        Settings of parameters by patterns of their names; see
        :mod:`imbtorch.training.parameter_groups`.
    precision : {"bfloat16", "float16"} or None
        Half precision in which the module computes; None for ``dtype``.
    n_threads : "auto", int or None
        Most threads of torch on the CPU; see :mod:`imbtorch.training.threads`.
    """

    task: Task
    batch_size: int
    dtype: torch.dtype
    device: torch.device
    optimizer: str | Callable[..., torch.optim.Optimizer]
    lr: float
    weight_decay: float
    max_epochs: int
    callbacks: Sequence[Any] | None = None
    param_groups: Mapping[str, Mapping[str, Any]] | None = None
    precision: str | None = None
    n_threads: int | str | None = "auto"
