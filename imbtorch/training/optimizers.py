"""Build optimizers and learning rate schedules by name; step with little overhead."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

__all__ = [
    "LR_SCHEDULES",
    "OPTIMIZERS",
    "LearningRate",
    "begin_momentum",
    "build_optimizer",
    "lean_step",
    "updates_in_place",
]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
_RISE = 0.3  # share of the training in which one_cycle raises the learning rate
_WARMUP = 0.05  # the same for warmup_cosine


def _constant(progress: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(progress: float) -> float:
    return _rise_and_fall(progress, _RISE)


def _warmup_cosine(progress: float) -> float:
    return _rise_and_fall(progress, _WARMUP)


def _rise_and_fall(progress: float, rise: float) -> float:
    if progress < rise:
        return 0.04 + 0.96 * progress / rise
    return _cosine((progress - rise) / (1 - rise))


def _step(progress: float) -> float:
    return 0.01 if progress >= 0.9 else 0.1 if progress >= 0.8 else 1.0


# share of the training done, in [0, 1) -> factor on the learning rate
LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "step": _step,
    "warmup_cosine": _warmup_cosine,
}


def build_optimizer(
    optimizer: str | Callable[..., Optimizer],
    params: list[Tensor],
    lr: float,
    weight_decay: float,
    *,
    groups: Sequence[dict[str, Any]] = (),
    named: Sequence[tuple[str, Tensor]] = (),
    module: nn.Module | None = None,
) -> Optimizer:
    """Build an optimizer by name, fused if torch supports it, or by the user's callable.

    Parameters
    ----------
    optimizer : {"adam", "adamw", "sgd"} or callable(params, lr=..., weight_decay=...)
        Name of the optimizer, or a function that returns it. A function that has a parameter
        ``named_params`` or ``module`` gets it by keyword; ``params`` comes first, unless the first
        parameter is one of these two.
    params : list of Tensor
        Parameters to train.
    lr : float
        Learning rate.
    weight_decay : float
        Weight decay.
    groups : sequence of dict, default=()
        The same parameters in groups with rates and decays of their own, to be given in their
        place.
    named : sequence of (str, Tensor), default=()
        The same parameters with their names, for ``named_params``.
    module : torch.nn.Module or None, default=None
        Module that is trained, for ``module``.

    Returns
    -------
    torch.optim.Optimizer
        A new optimizer.

    Raises
    ------
    ValueError
        If there is nothing to train, or the callable cannot take ``groups``.
    TypeError
        If the callable does not return an optimizer, or returns one that needs a closure.
    """
    if not params:
        raise ValueError(
            "The module has no parameters to train: requires_grad is False for all of them. Leave "
            "it True for some, such as those of the last layer: layer.requires_grad_(True)."
        )
    if isinstance(optimizer, str):
        fused = all(p.is_floating_point() and p.device.type in {"cpu", "cuda"} for p in params)
        options: dict[str, Any] = {"momentum": 0.9} if optimizer == "sgd" else {}
        return OPTIMIZERS[optimizer](
            list(groups) or params, lr=lr, weight_decay=weight_decay, fused=fused, **options
        )
    first, wanted = _wanted(optimizer, {"named_params": list(named), "module": module})
    if groups and (wanted or not _is_class_of_torch(optimizer)):
        raise ValueError(
            f"param_groups gives parameters rates or decays of their own, but optimizer="
            f"{optimizer!r} is a function, which may make groups itself. Use a name or a class of "
            "torch.optim, or functools.partial of one; or set all groups in the function, by its "
            "parameter named_params, and use param_groups only to freeze parameters."
        )
    given = () if first in wanted else (list(groups) or params,)
    built = optimizer(*given, **wanted, lr=lr, weight_decay=weight_decay)
    if not isinstance(built, Optimizer):
        raise TypeError(
            f"optimizer must build a torch.optim.Optimizer; {optimizer!r} returned "
            f"{type(built).__name__}."
        )
    closure = inspect.signature(type(built).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise TypeError(
            f"{type(built).__name__} needs a closure that evaluates the loss again, which this "
            "training does not offer; choose an optimizer whose step needs no closure, such as "
            "torch.optim.AdamW."
        )
    return built


def _is_class_of_torch(optimizer: Any) -> bool:
    """Return whether a callable is a class of optimizers, maybe with settings: they take groups."""
    cls = optimizer.func if isinstance(optimizer, partial) else optimizer
    return isinstance(cls, type) and issubclass(cls, Optimizer)


def _wanted(optimizer: Callable[..., Any], offered: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the first parameter of a callable, and what it asks for of what is offered."""
    try:
        names = list(inspect.signature(optimizer).parameters)
    except ValueError:  # some callables written in C do not show their parameters
        names = []
    wanted = {name: value for name, value in offered.items() if name in names}
    return next(iter(names), None), wanted


def begin_momentum(optimizer: Optimizer, parameters: set[Tensor]) -> None:
    """Give parameters a momentum of 0 where they are trained for the first time.

    A step from a momentum of 0 is the same as one without any. The fused kernel of torch's SGD
    takes the momentum of all parameters of a group, or of none of them.
    """
    for group in optimizer.param_groups if isinstance(optimizer, SGD) else []:
        for parameter in group["params"] if group["fused"] and group["momentum"] else []:
            if parameter in parameters and not optimizer.state.get(parameter):
                optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}


def updates_in_place(optimizer: Optimizer) -> bool:
    """Return whether a step is known to write into the tensors of parameters and keep gradients.

    The steps of torch's own optimizers do. Any other step may give a parameter a new tensor
    (``p.data = p.data - lr * p.grad``), replace its gradient or remove it.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Optimizer of any class.

    Returns
    -------
    bool
        True if the class is one of ``torch.optim`` and nothing is called around its step, apart
        from the counter of torch's learning rate schedulers.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.training.optimizers import updates_in_place
    >>> updates_in_place(torch.optim.SGD([torch.zeros(1, requires_grad=True)]))
    True
    """
    step = vars(optimizer).get("step")
    counts_only = (
        hasattr(step, "_wrapped_by_lr_sched")
        and getattr(step, "__wrapped__", None) is type(optimizer).step
    )
    is_of_torch = f"{type(optimizer).__module__}.".startswith("torch.optim.")
    return is_of_torch and (step is None or counts_only) and not _has_hooks(optimizer)


def _has_hooks(optimizer: Optimizer) -> bool:
    """Return whether hooks are called around a step, its own or those of every optimizer."""
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
    )


def lean_step(optimizer: Optimizer) -> Callable[[], Any]:
    """Return a function that steps ``optimizer`` with little overhead.

    ``Optimizer.step`` groups its parameters and enters a profiler scope every time, which for a
    small net on the CPU costs more than the update itself. For Adam and AdamW on the CPU the
    returned function collects the tensors once and calls the same fused kernel. In unusual cases
    (hooks, a learning rate scheduler that counts steps, several groups, parameters without a
    gradient) it calls ``Optimizer.step``.
    """
    group = optimizer.param_groups[0]
    plain = type(optimizer) in (Adam, AdamW) and len(optimizer.param_groups) == 1
    unusual = (
        not plain
        or "step" in vars(optimizer)
        or _has_hooks(optimizer)
        or not group["fused"]
        or group["amsgrad"]
        or group["maximize"]
        or any(p.device.type != "cpu" for p in group["params"])
    )
    if unusual:
        return optimizer.step
    return _FusedStep(optimizer)


class _FusedStep:
    """Call Adam's fused kernel on tensors that are collected only once."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.group = optimizer.param_groups[0]
        decoupled = self.group.get("decoupled_weight_decay", type(optimizer) is AdamW)
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        self.params: list[Tensor] = []
        self.without_graph = torch.no_grad()  # to make one takes longer than to enter it

    def __call__(self) -> None:
        if not self.params:
            self.optimizer.step()  # creates the state
            self._collect()
            return
        group = self.group
        grads = [grad for p in self.params if (grad := p.grad) is not None]
        if len(grads) < len(self.params):
            self.optimizer.step()
            return
        beta1, beta2 = group["betas"]
        self.counter.add_(self.one)
        with self.without_graph:
            self.kernel(
                self.params, grads, self.averages, self.squares, [], self.steps,
                lr=group["lr"], beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"],
                eps=group["eps"], amsgrad=False, maximize=False,
            )  # fmt: skip

    def _collect(self) -> None:
        state = self.optimizer.state
        params = self.group["params"]
        if all(p in state and state[p] for p in params):
            self.params = list(params)
            self.averages = [state[p]["exp_avg"] for p in params]
            self.squares = [state[p]["exp_avg_sq"] for p in params]
            # One vector behind all the step counts: one addition instead of one per parameter.
            self.counter = torch.stack([state[p]["step"] for p in params])
            self.steps = list(self.counter.unbind())
            self.one = torch.ones_like(self.counter)  # a number would be made a tensor each time
            for p, step in zip(params, self.steps, strict=True):
                state[p]["step"] = step


class LearningRate:
    """Set the learning rate before each batch, as a function of the progress of the training."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: str | Callable[[float], float],
        epochs: int,
    ) -> None:
        self.groups = [(group, group["lr"]) for group in optimizer.param_groups]
        self.schedule = LR_SCHEDULES[schedule] if isinstance(schedule, str) else schedule
        self.varies = schedule != "constant"
        self.epochs = epochs

    def begin_epoch(self, epoch: int, steps: int) -> None:
        """Start an epoch with this number, from 0, and this many batches."""
        self.epoch, self.steps, self.done = epoch, max(steps, 1), 0

    def __call__(self) -> None:
        """Set the learning rate of the next batch."""
        if not self.varies:
            return
        progress = (self.epoch + min(1.0, self.done / self.steps)) / self.epochs
        factor = self.schedule(progress)
        for group, lr in self.groups:
            group["lr"] = lr * factor
        self.done += 1

    def reset(self) -> None:
        """Reset the learning rates to their initial values, so that training can be continued."""
        if self.varies:
            for group, lr in self.groups:
                group["lr"] = lr
