"""Half precision: the module computes in 16 bits, everything else in 32.

The weights, the loss, the gradients of the weights and the optimizer stay in float32; inside
``torch.autocast`` the module casts what its operations gain from. float16 has few exponents, so
that small gradients become 0: the loss is multiplied by a large number before the backward pass,
and the gradients are divided by it afterwards (``torch.amp.GradScaler``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["HalfPrecision", "LossScaling", "half_precision"]


class HalfPrecision:
    """The half precision in which a module computes.

    Parameters
    ----------
    precision : {"bfloat16", "float16"}
        Dtype of the operations that gain from it.
    device : torch.device
        Device to train on.

    Attributes
    ----------
    scaler : torch.amp.GradScaler or None
        Scale of the loss for float16, which is found while the net is trained.
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        self.precision, self.device_type = precision, device.type
        self.scaler: torch.amp.GradScaler | None = None
        if precision == "float16":
            self.scaler = torch.amp.GradScaler(device.type)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle or a copy holds, also after a step that was interrupted."""
        return {**self.__dict__, "scaler": self._between_steps()}

    def begin(self) -> torch.amp.GradScaler | None:
        """Return the scaler for a training; it knows nothing of a step that was interrupted."""
        self.scaler = self._between_steps()
        return self.scaler

    def _between_steps(self) -> torch.amp.GradScaler | None:
        if self.scaler is None:
            return None
        scaler = torch.amp.GradScaler(self.device_type)
        scaler.load_state_dict(self.scaler.state_dict())
        return scaler

    def autocast(self, device: str | torch.device) -> torch.autocast:
        """Return a new context for a module on this device, which may have changed in a pickle."""
        return torch.autocast(torch.device(device).type, getattr(torch, self.precision))


def half_precision(precision: str, dtype: torch.dtype, device: torch.device) -> HalfPrecision:
    """Return a half precision, after a check that the device can compute in it.

    Parameters
    ----------
    precision : {"bfloat16", "float16"}
        Parameter ``precision`` of the estimator.
    dtype : torch.dtype
        Dtype of the weights.
    device : torch.device
        Device to compute on.

    Returns
    -------
    HalfPrecision
        The half precision, whose scale has not been adapted.

    Raises
    ------
    ValueError
        If the weights are not in float32, or the device cannot compute in this precision.

    Warns
    -----
    UserWarning
        If the device is the CPU and the precision float16, which is slow.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.training.half_precision import half_precision
    >>> half = half_precision("bfloat16", torch.float32, torch.device("cpu"))
    >>> with half.autocast("cpu"):
    ...     torch.nn.Linear(3, 2)(torch.zeros(1, 3)).dtype
    torch.bfloat16
    """
    if dtype != torch.float32:
        raise ValueError(
            f'precision="{precision}" keeps the weights in float32, but dtype="float64" asks for '
            'weights in float64. Use dtype="float32", or precision=None.'
        )
    half = HalfPrecision(precision, device)
    try:
        known = torch.amp.is_autocast_available(device.type)
        with half.autocast(device):
            pass
    except RuntimeError as error:
        raise ValueError(_unable(precision, device, str(error))) from error
    if not known:
        raise ValueError(_unable(precision, device, "torch.autocast does not know it"))
    if precision == "float16" and device.type == "cpu":
        warnings.warn(
            'precision="float16" gives correct results on the CPU, but is many times slower than '
            'float32 there. Use precision="bfloat16" or precision=None, or a GPU.',
            UserWarning,
            stacklevel=2,
        )
    return half


def _unable(precision: str, device: torch.device, reason: str) -> str:
    return (
        f'The device "{device}" cannot compute with precision="{precision}": {reason}. Use '
        "precision=None, or another device."
    )


class LossScaling:
    """The scale of the loss in the training steps of one net.

    Parameters
    ----------
    scaler : torch.amp.GradScaler
        Present scale. A step whose gradients are not finite is left out and halves it; 2,000 good
        steps double it. With sharpness each of the two gradients of a step counts.
    optimizer : torch.optim.Optimizer
        Optimizer of the net.
    """

    def __init__(self, scaler: torch.amp.GradScaler, optimizer: Optimizer) -> None:
        self.scaler, self.optimizer = scaler, optimizer
        device = optimizer.param_groups[0]["params"][0].device
        self.scaler.scale(torch.zeros((), device=device))  # makes the scale, also without rows
        self._is_unscaled = False

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the scaled loss."""
        self.scaler.scale(loss).backward()

    def unscale(self) -> None:
        """Divide the gradients by the scale."""
        self.scaler.unscale_(self.optimizer)
        self._is_unscaled = True

    def unscaled(self, gradients: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Return a function that computes the gradients of a step, and divides them by the scale.

        Parameters
        ----------
        gradients : callable() -> Tensor
            Function that writes gradients of the scaled loss into the parameters.
        """

        def computed() -> Tensor:
            if self._is_unscaled:  # sharpness asks for second gradients in the same step
                self.scaler.update()
            value = gradients()
            self.unscale()
            return value

        return computed

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the scale."""
        known = self.scaler.state_dict()
        return {"scale": known["scale"], "good_steps": known["_growth_tracker"]}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state from a checkpoint."""
        if state["scale"] <= 0:
            raise ValueError(f"the scale of the loss is {state['scale']}, not a positive number.")
        own = {"scale": float(state["scale"]), "_growth_tracker": state["good_steps"]}
        self.scaler.load_state_dict({**self.scaler.state_dict(), **own})

    def step(self) -> None:
        """Update the weights, unless a gradient is not finite, and adapt the scale."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._is_unscaled = False
