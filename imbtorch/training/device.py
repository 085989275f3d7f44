"""From the name of a device to one that is there."""

from __future__ import annotations

import torch

__all__ = ["resolve_device"]


def _available() -> list[str]:
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve_device(name: str | torch.device, dtype: torch.dtype) -> torch.device:
    """Find the device of this name.

    Parameters
    ----------
    name : str or torch.device
        ``"auto"`` takes cuda, then mps, then cpu.
    dtype : torch.dtype
        Type to compute in; ``"auto"`` passes over mps for float64, which it lacks.

    Returns
    -------
    torch.device
        A device that exists.

    Raises
    ------
    ValueError
        If the device does not exist here (the message lists those that do) or lacks the dtype.
    """
    here = _available()
    if name == "auto":
        usable = [d for d in here if not (d == "mps" and dtype == torch.float64)]
        return torch.device(usable[0])
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device {name!r} is not a device. Available here: auto, {', '.join(here)}."
        ) from error
    if device.type == "mps" and dtype == torch.float64:
        raise ValueError('device "mps" cannot compute in float64; use dtype="float32" or another.')
    spelled = "cuda:0" if str(device) == "cuda" else str(device)
    if device.type == "cpu" or spelled in here:
        return device
    raise ValueError(
        f"device {name!r} is not available here. Available: {', '.join(here)}; "
        'device="auto" takes the best of them.'
    )
