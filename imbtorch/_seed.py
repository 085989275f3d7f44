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


@contextmanager
def private_torch_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block under its own seed, then put torch's generators back as they were."""
    accelerator = _accelerator(device)
    place = (device,) if device.type == "cuda" else ()
    with _LOCK:
        cpu_state = torch.get_rng_state()
        device_state = accelerator.get_rng_state(*place) if accelerator else None
        try:
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            elif accelerator:
                accelerator.manual_seed(seed)
            yield
        finally:
            torch.set_rng_state(cpu_state)
            if device_state is not None:
                accelerator.set_rng_state(device_state, *place)
