"""Averages of the weights over a training run: exponential over steps, or even over epochs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["Ema", "Swa", "WeightAverage", "average_of"]

_TAIL = 0.75  # share of the epochs after which stochastic weight averaging begins


class WeightAverage:
    """An average beside the trained weights, which changes places with them.

    Parameters
    ----------
    params : list of Tensor
        What is trained.
    """

    def __init__(self, params: list[Tensor]) -> None:
        self.params = params
        self.mean = [p.detach().clone() for p in params]
        self.trained = [p.detach().clone() for p in params]
        self.count = 0  # weights averaged so far
        self.shown = False

    @torch.no_grad()
    def _add(self, share: float) -> None:
        self.count += 1
        torch._foreach_lerp_(self.mean, self.params, share)

    def end_epoch(self) -> None:
        """See that the epoch has been trained."""

    def state(self) -> dict[str, Any]:
        """Return everything but the parameters."""
        return {name: value for name, value in vars(self).items() if name != "params"}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there; the parameters have been put back as they were shown."""
        vars(self).update(state)
        self.mean, self.trained = (
            [torch.empty_like(p).copy_(v) for p, v in zip(self.params, values, strict=True)]
            for values in (self.mean, self.trained)
        )

    @torch.no_grad()
    def show(self) -> None:
        """Put the average into the parameters."""
        if self.count and not self.shown:
            torch._foreach_copy_(self.trained, self.params)
            torch._foreach_copy_(self.params, self.mean)
            self.shown = True

    @torch.no_grad()
    def hide(self) -> None:
        """Put the trained weights back, to train on."""
        if self.shown:
            torch._foreach_copy_(self.params, self.trained)
            self.shown = False


class Ema(WeightAverage):
    """Exponential moving average, updated after each step.

    Parameters
    ----------
    params : list of Tensor
        What is trained.
    decay : float in (0, 1)
        What an update keeps, in the long run; ``(1 + t) / (10 + t)`` bounds it after t steps, so
        that the initial weights are forgotten.
    """

    def __init__(self, params: list[Tensor], decay: float) -> None:
        super().__init__(params)
        self.decay = decay

    def update(self) -> None:
        """Take the weights in."""
        self._add(1 - min(self.decay, (1 + self.count) / (10 + self.count)))


class Swa(WeightAverage):
    """Even average over the ends of the last quarter of the epochs, of one at least.

    Parameters
    ----------
    params : list of Tensor
        What is trained.
    epochs : int
        How many there are to be.
    """

    def __init__(self, params: list[Tensor], epochs: int) -> None:
        super().__init__(params)
        self.wait = min(math.ceil(_TAIL * epochs), epochs - 1)

    def end_epoch(self) -> None:
        """Take the weights in, where it is time."""
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
        A number is the decay of an exponential one.
    params : list of Tensor
        What is trained.
    epochs : int
        How many there are to be.

    Returns
    -------
    WeightAverage or None
        None where there is to be none.
    """
    if averaging is None:
        return None
    if averaging == "swa":
        return Swa(params, epochs)
    return Ema(params, 0.999 if averaging == "ema" else float(averaging))
