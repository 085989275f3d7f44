"""Update the weights of a net from the gradients of a batch.

A step includes sharpness-aware minimisation, clipping, the optimizer and a weight average, as far
as they are used. Each piece wraps the next and is called with ``again``, a function that
evaluates the gradients of the same batch once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from imbtorch.training.averaging import Ema, average_of
from imbtorch.training.half_precision import LossScaling
from imbtorch.training.optimizers import lean_step

__all__ = ["Again", "Step", "Steps"]

Again = Callable[[], Any]
Step = Callable[[Again], Any]


def _norm(tensors: list[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm


def _gradients(params: list[Tensor]) -> list[Tensor]:
    return [p.grad for p in params if p.grad is not None]


class _Averaged:
    """Update a weight average after each step."""

    def __init__(self, inner: Step, average: Ema) -> None:
        self.inner, self.average = inner, average

    def __call__(self, again: Again) -> None:
        self.inner(again)
        self.average.update()


class _Clipped:
    """Scale gradients to a largest norm, as ``torch.nn.utils.clip_grad_norm_`` does."""

    def __init__(self, inner: Step, params: list[Tensor], max_norm: float) -> None:
        self.inner, self.params, self.max_norm = inner, params, max_norm

    def __call__(self, again: Again) -> None:
        gradients = _gradients(self.params)
        if gradients:
            factor = self.max_norm / (_norm(gradients) + 1e-6)
            # clamped without reading the number, which would wait for the device
            torch._foreach_mul_(gradients, factor.clamp_(max=1.0))
        self.inner(again)


class _Sharp:
    """Replace the gradients by those of weights that are moved uphill by one radius."""

    def __init__(self, inner: Step, params: list[Tensor], radius: float, module: nn.Module) -> None:
        self.inner, self.params, self.radius = inner, params, radius
        self.before = [p.detach().clone() for p in params]
        self.norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]

    def __call__(self, again: Again) -> None:
        moved = [p for p in self.params if p.grad is not None]
        if moved:
            with torch.no_grad():
                torch._foreach_copy_(self.before, self.params)
                gradients = _gradients(moved)
                scale = self.radius / (_norm(gradients) + 1e-12)
                torch._foreach_add_(moved, torch._foreach_mul(gradients, scale))
            with _statistics_held(self.norms):
                again()
            with torch.no_grad():
                torch._foreach_copy_(self.params, self.before)  # exact, unlike a subtraction
        self.inner(again)


@contextmanager
def _statistics_held(layers: list[Any]) -> Iterator[None]:
    """Do not update the running statistics of batch normalisation inside the block."""
    tracked = [layer for layer in layers if layer.track_running_stats]
    for layer in tracked:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracked:
            layer.track_running_stats = True


class Steps:
    """The training steps of one net, and its weight average.

    Parameters
    ----------
    module : torch.nn.Module
        Module that is trained.
    optimizer : torch.optim.Optimizer
        Optimizer of the parameters of the module and the loss.
    epochs : int
        Number of epochs of the training.
    clipping : float or None, default=None
        Largest norm of the gradient; None for no limit.
    sharpness : float, default=0.0
        Radius of sharpness-aware minimisation; 0 switches it off.
    averaging : {"ema", "swa"}, float or None, default=None
        Kind of weight average; a number is the decay of an exponential moving average.
    scaling : LossScaling or None, default=None
        Scale of the loss, by which the gradients have been divided when a step is taken.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        epochs: int,
        *,
        clipping: float | None = None,
        sharpness: float = 0.0,
        averaging: str | float | None = None,
        scaling: LossScaling | None = None,
    ) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        plain = lean_step(optimizer) if scaling is None else scaling.step
        self.average = None if averaging is None else average_of(averaging, params, epochs)
        self.step: Step = lambda again: plain()
        if isinstance(self.average, Ema):
            self.step = _Averaged(self.step, self.average)
        if clipping is not None:
            self.step = _Clipped(self.step, params, clipping)
        if sharpness:
            self.step = _Sharp(self.step, params, sharpness, module)

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Put the trained weights into the module inside the block, and the average after it."""
        if self.average is None:
            yield
            return
        self.average.hide()
        try:
            yield
            self.average.end_epoch()
        finally:
            self.average.show()
