"""Private random numbers and precision: neither passes between ``fit`` and the caller's torch.

The order of the rows, hold-outs, samplers and mixtures draw from generators of their own. Initial
weights and layers such as dropout draw from torch's default generator, because torch gives its own
layers no other one, and all threads of a process share it. Fits in several threads wait for each
other (:func:`private_torch_rng`). But a thread that calls ``torch.rand`` itself while another one
fits takes numbers of the fit, which then has other initial weights and dropout masks, and later
draws the same numbers again. Give such a thread a ``torch.Generator`` of its own
(``torch.rand(3, generator=generator)``), or fit in another process.

A block with its own numbers is also outside of the caller's ``torch.autocast``.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch

T = TypeVar("T")
States: TypeAlias = tuple[torch.Tensor, Any, Any]  # of the generators of torch, numpy and random

# All threads of a process share torch's default generators. Two seeded fits in two threads would
# take each other's random numbers, so a fit holds the lock from its seed to its last draw.
_LOCK = threading.RLock()


def _new_lock() -> None:
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):  # a lock that the parent holds would stay locked in the child
    os.register_at_fork(after_in_child=_new_lock)


def draw_seeds(random_state: int | np.random.RandomState | None, n: int) -> list[int]:
    """Draw ``n`` independent seeds from ``random_state``.

    Parameters
    ----------
    random_state : int, RandomState or None
        Source of the seeds; None takes entropy from the operating system and leaves numpy's global
        state unchanged.
    n : int
        Number of seeds.

    Returns
    -------
    list of int
        Seeds in ``[0, 2**31 - 1)``.
    """
    top = 2**31 - 1
    if isinstance(random_state, np.random.RandomState):
        return [int(seed) for seed in random_state.randint(top, size=n)]
    return [int(seed) for seed in np.random.default_rng(random_state).integers(top, size=n)]


def _accelerator(device: torch.device) -> Any:
    return {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)


def rng_states(device: torch.device) -> list[torch.Tensor]:
    """Return the states of torch's random generators of the CPU and of another device.

    Parameters
    ----------
    device : torch.device
        Device that a net is trained on.

    Returns
    -------
    list of Tensor of uint8
        State of the CPU generator, then of the device's generator unless the device is the CPU.
    """
    accelerator = _accelerator(device)
    place = (device,) if device.type == "cuda" else ()
    states = [torch.get_rng_state()]
    return [*states, accelerator.get_rng_state(*place)] if accelerator else states


def set_rng_states(states: list[torch.Tensor], device: torch.device) -> None:
    """Set the states of torch's random generators.

    Parameters
    ----------
    states : list of Tensor of uint8
        States that :func:`rng_states` returned. If they were taken for the CPU only, the generator
        of an accelerator stays unchanged.
    device : torch.device
        Device that a net is trained on.
    """
    accelerator = _accelerator(device)
    place = (device,) if device.type == "cuda" else ()
    torch.set_rng_state(states[0])
    if accelerator and len(states) > 1:
        accelerator.set_rng_state(states[1], *place)


@contextmanager
def private_torch_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with its own seed, then restore the states of torch's generators.

    An autocast of the caller has no effect on the block (:func:`outside_autocast`).
    Only one thread at a time is inside such a block. Threads that draw from torch's default
    generator outside of it are not kept away, because torch offers no generator per thread.
    """
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
            with outside_autocast(device):
                yield
        finally:
            set_rng_states(before, device)


def outside_autocast(device: str | torch.device) -> AbstractContextManager[Any]:
    """Return a context in which an autocast of the caller has no effect.

    The precision of a net is one of its parameters: ``torch.autocast`` around a fit or a prediction
    would round in silence. It would also keep what autocasts inside of it have cast until the
    caller leaves it, even if it is not enabled, and a module would compute with weights of
    former steps. Without an autocast of the caller this costs less than a microsecond.

    Parameters
    ----------
    device : str or torch.device
        Device of the net.

    Returns
    -------
    context manager
        Context for a fit or a prediction; a module may use autocast in it.

    Examples
    --------
    >>> import torch
    >>> from imbtorch._common.seed import outside_autocast
    >>> with torch.autocast("cpu", dtype=torch.bfloat16), outside_autocast("cpu"):
    ...     torch.nn.Linear(3, 2)(torch.zeros(1, 3)).dtype
    torch.float32
    """
    depth = torch.autocast_increment_nesting()  # the only way to look at it
    torch.autocast_decrement_nesting()
    if depth == 1:
        return nullcontext()
    return torch.autocast(torch.device(device).type, enabled=False, cache_enabled=False)


@contextmanager
def private_generators(seed: int | States) -> Iterator[None]:
    """Run code of a user with its own random numbers, then restore the states of the generators.

    These are the default generators of torch on the CPU, of numpy and of Python's ``random``: all
    that the items of a Dataset usually draw from.

    Parameters
    ----------
    seed : int or tuple
        Seed of the three generators, which gives the same numbers in every process; or their
        states.
    """
    with _LOCK:
        before = _states()
        try:
            if isinstance(seed, tuple):
                _set_states(seed)
            else:
                torch.default_generator.manual_seed(seed)
                np.random.seed(seed % 2**32)  # noqa: NPY002 - items draw from it
                random.seed(seed)
            yield
        finally:
            _set_states(before)


def drawn_apart(values: Iterable[T], seed: int) -> Iterator[T]:
    """Yield what an iterable yields, which draws from generators that nobody else draws from.

    Parameters
    ----------
    values : iterable
        Batches that are read as they are asked for.
    seed : int
        Seed of the generators, see :func:`private_generators`.
    """
    with private_generators(seed):
        iterator, now = iter(values), _states()
    while True:
        with private_generators(now):
            try:
                value = next(iterator)
            except StopIteration:
                return
            now = _states()
        yield value


def _states() -> States:
    of_numpy = np.random.get_state()  # noqa: NPY002 - items may draw from it
    return torch.get_rng_state(), of_numpy, random.getstate()


def _set_states(states: States) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002 - items may draw from it
    random.setstate(states[2])
