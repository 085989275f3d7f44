"""What follows the gradients of a batch: sharpness, clipping, the optimizer, the average.

Each piece wraps the next and is called with ``again``, which evaluates the gradients of the same
batch once more. What is switched off is not in the chain.
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
    """Take the weights into an average after each step."""

    def __init__(self, inner: Step, average: Ema) -> None:
        self.inner, self.average = inner, average

    def __call__(self, again: Again) -> None:
        self.inner(again)
        self.average.update()


class _Clipped:
    """Scale the gradients down to a norm, as ``torch.nn.utils.clip_grad_norm_`` does."""

    def __init__(self, inner: Step, params: list[Tensor], max_norm: float) -> None:
        self.inner, self.params, self.max_norm = inner, params, max_norm

    def __call__(self, again: Again) -> None:
        gradients = _gradients(self.params)
        if gradients:
            factor = self.max_norm / (_norm(gradients) + 1e-6)
            torch._foreach_mul_(gradients, factor.clamp_(max=1.0))  # no look at the number
        self.inner(again)


class _Sharp:
    """Replace the gradients by those at the worst place nearby, one radius uphill."""

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
                torch._foreach_copy_(self.params, self.before)  # to the bit
        self.inner(again)


@contextmanager
def _statistics_held(layers: list[Any]) -> Iterator[None]:
    """Keep the running statistics of batch normalisation as they are."""
    tracked = [layer for layer in layers if layer.track_running_stats]
    for layer in tracked:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracked:
            layer.track_running_stats = True


class Steps:
    """The step of one training run, and the weights that its epochs show.

    Parameters
    ----------
    module : torch.nn.Module
        Trained.
    optimizer : torch.optim.Optimizer
        Of its parameters, and of those of the loss.
    epochs : int
        How many are to come.
    clipping : float or None, default=None
        Largest norm of the gradient.
    sharpness : float, default=0.0
        Radius of sharpness-aware minimisation.
    averaging : {"ema", "swa"}, float or None, default=None
        Average of the weights; a number is the decay of an exponential one.
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
    ) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        plain = lean_step(optimizer)
        self.average = average_of(averaging, params, epochs)
        self.step: Step = lambda again: plain()
        if isinstance(self.average, Ema):
            self.step = _Averaged(self.step, self.average)
        if clipping is not None:
            self.step = _Clipped(self.step, params, clipping)
        if sharpness:
            self.step = _Sharp(self.step, params, sharpness, module)

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Train the weights within; show their average, where there is one, outside."""
        if self.average is None:
            yield
            return
        self.average.hide()
        try:
            yield
            self.average.end_epoch()
        finally:
            self.average.show()
