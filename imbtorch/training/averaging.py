"""Average the weights over a training run: exponentially over steps, or evenly over epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

__all__ = ["Ema", "Swa", "WeightAverage", "average_of", "update_statistics"]

_TAIL = 0.75  # share of the epochs after which stochastic weight averaging begins


class WeightAverage:
    """Base class of weight averages, which can be swapped with the trained weights.

    Parameters
    ----------
    params : list of Tensor
        Parameters that are trained.
    """

    def __init__(self, params: list[Tensor]) -> None:
        self.params = params
        self.mean = [p.detach().clone() for p in params]
        self.trained = [p.detach().clone() for p in params]
        self.count = 0  # number of updates so far
        self.shown = False

    @torch.no_grad()
    def _add(self, share: float) -> None:
        self.count += 1
        torch._foreach_lerp_(self.mean, self.params, share)

    def end_epoch(self) -> None:
        """Update the average after an epoch, if it is an average over epochs."""

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint: everything but the parameters."""
        return {name: value for name, value in vars(self).items() if name != "params"}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state from a checkpoint, after the parameters have been restored."""
        vars(self).update(state)
        self.mean, self.trained = (
            [torch.empty_like(p).copy_(v) for p, v in zip(self.params, values, strict=True)]
            for values in (self.mean, self.trained)
        )

    @torch.no_grad()
    def show(self) -> None:
        """Write the average into the parameters, and keep the trained weights aside."""
        if self.count and not self.shown:
            torch._foreach_copy_(self.trained, self.params)
            torch._foreach_copy_(self.params, self.mean)
            self.shown = True

    @torch.no_grad()
    def hide(self) -> None:
        """Write the trained weights back into the parameters, to continue the training."""
        if self.shown:
            torch._foreach_copy_(self.params, self.trained)
            self.shown = False


class Ema(WeightAverage):
    """Exponential moving average, updated after each step.

    Parameters
    ----------
    params : list of Tensor
        Parameters that are trained.
    decay : float in (0, 1)
        Share of the average that an update keeps. After t steps it is at most
        ``(1 + t) / (10 + t)``, so that the initial weights are soon forgotten.
    """

    def __init__(self, params: list[Tensor], decay: float) -> None:
        super().__init__(params)
        self.decay = decay

    def update(self) -> None:
        """Update the average with the present weights."""
        self._add(1 - min(self.decay, (1 + self.count) / (10 + self.count)))


class Swa(WeightAverage):
    """Mean of the weights at the ends of the last quarter of the epochs, at least of one epoch.

    Parameters
    ----------
    params : list of Tensor
        Parameters that are trained.
    epochs : int
        Number of epochs of the training.
    """

    def __init__(self, params: list[Tensor], epochs: int) -> None:
        super().__init__(params)
        self.wait = min(math.ceil(_TAIL * epochs), epochs - 1)

    def end_epoch(self) -> None:
        """Update the average with the weights, if the last quarter has begun."""
        if self.wait:
            self.wait -= 1
        else:
            self._add(1 / (self.count + 1))


def average_of(
    averaging: str | float | None, params: list[Tensor], epochs: int
) -> WeightAverage | None:
    """Build the average that the estimator asks for.

    Parameters
    ----------
    averaging : {"ema", "swa"}, float or None
        Kind of average; a number is the decay of an exponential moving average.
    params : list of Tensor
        Parameters that are trained.
    epochs : int
        Number of epochs of the training.

    Returns
    -------
    WeightAverage or None
        The average; None if ``averaging`` is None.
    """
    if averaging is None:
        return None
    if averaging == "swa":
        return Swa(params, epochs)
    return Ema(params, 0.999 if averaging == "ema" else float(averaging))


class _Differentiable(nn.Module):
    """A module whose ``forward`` may differentiate, even where the caller builds no graph."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.training = module.training

    def forward(self, x: Tensor) -> None:
        """Compute the outputs, which nobody needs."""
        with torch.enable_grad():
            self.module(x)


def update_statistics(module: nn.Module, batches: Iterable[Any]) -> None:
    """Compute the statistics of batch normalisation anew, for averaged weights.

    Parameters
    ----------
    module : torch.nn.Module
        Module that holds the average of its weights.
    batches : iterable of (x, target, share)
        Batches of an epoch.
    """
    update_bn(batches, _Differentiable(module))
