"""The device that a name stands for, such as ``"auto"``."""

from __future__ import annotations

import torch

__all__ = ["resolve_device"]


def _available() -> list[str]:
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve_device(name: str | torch.device, dtype: torch.dtype) -> torch.device:
    """Resolve the name of a device.

    Parameters
    ----------
    name : str or torch.device
        Name of the device; ``"auto"`` chooses the first available one of cuda, mps and cpu.
    dtype : torch.dtype
        Dtype to compute in; ``"auto"`` skips mps for float64, which mps does not support.

    Returns
    -------
    torch.device
        A device that is available.

    Raises
    ------
    ValueError
        If the device is not available (the message lists the available ones) or does not support
        the dtype.
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
