"""Private random streams: ``fit`` neither reads nor moves the global generators."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

# torch's default generators belong to the whole process. Two seeded fits in two threads would
# consume each other's numbers, so one fit holds the lock from its seed to its last draw.
_LOCK = threading.RLock()


def _new_lock() -> None:
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):  # a lock held in the parent would stay held in the child
    os.register_at_fork(after_in_child=_new_lock)


def draw_seeds(random_state: int | np.random.RandomState | None, n: int) -> list[int]:
    """Draw ``n`` independent seeds from ``random_state``.

    Parameters
    ----------
    random_state : int, RandomState or None
        None takes entropy from the operating system and leaves numpy's global state alone.
    n : int
        How many seeds.

    Returns
    -------
    list of int
        Values in ``[0, 2**31 - 1)``.
    """
    top = 2**31 - 1
    if isinstance(random_state, np.random.RandomState):
        return [int(seed) for seed in random_state.randint(top, size=n)]
    return [int(seed) for seed in np.random.default_rng(random_state).integers(top, size=n)]


def _accelerator(device: torch.device) -> Any:
    return {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)


def rng_states(device: torch.device) -> list[torch.Tensor]:
    """States of torch's generators: of the CPU and, where it is another, of the device.

    Parameters
    ----------
    device : torch.device
        Where a net is trained.

    Returns
    -------
    list of Tensor of uint8
        As :func:`set_rng_states` takes them.
    """
    accelerator = _accelerator(device)
    place = (device,) if device.type == "cuda" else ()
    states = [torch.get_rng_state()]
    return [*states, accelerator.get_rng_state(*place)] if accelerator else states


def set_rng_states(states: list[torch.Tensor], device: torch.device) -> None:
    """Set torch's generators; a state of another kind of device is left out.

    Parameters
    ----------
    states : list of Tensor of uint8
        From :func:`rng_states`.
    device : torch.device
        Where a net is trained.
    """
    accelerator = _accelerator(device)
    place = (device,) if device.type == "cuda" else ()
    torch.set_rng_state(states[0])
    if accelerator and len(states) > 1:
        accelerator.set_rng_state(states[1], *place)


@contextmanager
def private_torch_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block under its own seed, then put torch's generators back as they were."""
    accelerator = _accelerator(device)
    with _LOCK:
        before = rng_states(device)
        try:
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            elif accelerator:
                accelerator.manual_seed(seed)
            yield
        finally:
            set_rng_states(before, device)
