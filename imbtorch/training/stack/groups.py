"""Which nets can be trained as one, how many of them at a time, and what keeps the others apart."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from imbtorch._common.seed import private_torch_rng
from imbtorch.exceptions import NotStackedWarning
from imbtorch.training.callbacks import ProgressBar
from imbtorch.training.loop import train
from imbtorch.training.run import Run
from imbtorch.training.single.chain import plain_layers
from imbtorch.training.stack.compatibility import kind_of, not_stackable_because
from imbtorch.training.stack.engine import StackedEngine
from imbtorch.training.stack.modules import network_of
from imbtorch.training.stack.storage import Storage

__all__ = ["train_stacked"]

_TRIAL_ROWS = 4
_COPIES = 7  # of a parameter: value, gradient, two moments, their change, best and last finite one
# Larger stacks are slower on a CPU: of 130 nets of 64-64 units one took 1.5 times as long in one
# stack as in three, whose tensors stay in the cache. Few large nets are worth a stack all the same.
_CACHE_BYTES, _FEW = 2**26, 8
_PASSES = 3  # tensors of each activation's size: itself, its gradient, and one on the way


def train_stacked(runs: Sequence[Run], max_memory: int | None) -> None:
    """Train runs to their end, as few stacks as there can be.

    What goes wrong with one of them is kept in its ``error``; the others go on. Where Ctrl-C ends
    the training, runs that were not begun are left as they are, ``interrupted``.

    Parameters
    ----------
    runs : sequence of Run
        Any.
    max_memory : int or None
        Bytes that the nets of a stack may take together; None for as many as there are.

    Raises
    ------
    ValueError
        If there are no runs, or ``max_memory`` is less than one net takes.

    Warns
    -----
    NotStackedWarning
        Once, if nets have to be trained one by one; it says why.
    """
    if not runs:
        raise ValueError("There is no net to train: got an empty list of runs.")
    groups: dict[Any, list[Run]] = {}
    reasons: dict[str, None] = {}
    for run in runs:
        reason = not_stackable_because(run)
        if reason is not None:
            reasons[reason] = None
        groups.setdefault(run if reason else kind_of(run), []).append(run)
    for group in groups.values():
        for part in _parts(group, max_memory, reasons):
            if any(run.interrupted for run in runs):
                for run in part:
                    run.interrupted = run.done = True
            else:
                _train(part)
    if reasons and len(runs) > 1:
        warnings.warn(
            f"Nets are trained one by one, not as a stack: {'; '.join(reasons)}. The results are "
            "the same; it takes longer.",
            NotStackedWarning,
            stacklevel=2,
        )


def _train(runs: list[Run]) -> None:
    """Train a stack, or a single net; what stops it stops no other."""
    try:
        with private_torch_rng(runs[0].seed, runs[0].device):
            train(runs, StackedEngine) if len(runs) > 1 else train(runs)
    except Exception as error:
        for run in runs:
            run.error, run.done = run.error or error, True


def _parts(group: list[Run], max_memory: int | None, reasons: dict[str, None]) -> list[list[Run]]:
    """Cut runs of one kind into stacks that fit into the memory."""
    first = group[0]
    with private_torch_rng(first.seed, first.device):
        x = _few_rows(first)
        reason = _cannot_be_mapped([run.net.module_ for run in group], x)
        need = _bytes(first, x)
    if max_memory is not None and max_memory < need:
        raise ValueError(
            f"max_memory={max_memory} is less than one net takes, about {need} bytes (parameters, "
            "optimizer and activations of a batch). Raise it, or use a smaller batch_size."
        )
    if reason is not None:
        reasons[reason] = None
        return [[run] for run in group]
    size = len(group) if max_memory is None else max_memory // need
    if first.device.type == "cpu":
        size = min(size, max(_FEW, _CACHE_BYTES // need))
    n_parts = -(-len(group) // size)
    size = -(-len(group) // n_parts)  # stacks of about the same size
    # those that stay in step beside each other
    group = sorted(group, key=lambda run: (-run.n_rows, id(run.rows.features)))
    parts = [group[start : start + size] for start in range(0, len(group), size)]
    for part in parts:
        _keep_one_bar(part)
    return parts


def _keep_one_bar(runs: Sequence[Run]) -> None:
    """Show the progress of a stack once."""
    for run in runs[1:]:
        run.monitors = [m for m in run.monitors if not isinstance(m, ProgressBar)]


# -- trials -----------------------------------------------------------------------------------


def _few_rows(run: Run) -> Tensor:
    """First rows of X; batches of mixtures, or that layers look at, are for the training."""
    return run.rows.features.slice(0, min(_TRIAL_ROWS, len(run.rows)))


def _cannot_be_mapped(modules: Sequence[nn.Module], x: Tensor) -> str | None:
    """Say why torch cannot map these modules over their parameters; None where it can."""
    first = modules[0]
    if len(modules) == 1 or plain_layers(first) is not None:
        return None
    name = type(first).__name__
    copies = [copy.deepcopy(module).train(False) for module in modules[:2]]
    stacked = torch.stack([x, x])
    try:
        with torch.no_grad():
            for module in modules[1:]:
                own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
                if not torch.allclose(functional_call(first, own, (x,)), module(x), equal_nan=True):
                    return f"modules of class {name} differ in more than their parameters"
            expected = torch.stack([module(x) for module in copies])
        storage = Storage(copies)
        found = network_of(storage)(slice(0, 2)).forward(stacked)
        if not torch.allclose(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True):
            return f"torch.func.vmap changes the outputs of {name}"
        for module in copies:
            module.train(True)
        network = network_of(storage)(slice(0, 2))
        network.backward(torch.ones_like(network.forward(stacked)))
    except Exception as error:  # whatever a module does that vmap cannot follow
        lines = str(error).strip().splitlines() or [""]
        return f"torch.func.vmap cannot follow {name} ({type(error).__name__}: {lines[0][:160]})"
    return None


# -- memory ------------------------------------------------------------------------------------


def _bytes(run: Run, x: Tensor) -> int:
    """Estimate what a net takes in a stack: parameters, optimizer, and a batch on its way."""
    module, net = run.net.module_, run.net
    parameters = sum(p.numel() * p.element_size() for p in module.parameters())
    elements = [x.numel()]

    def count(layer: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor) and not any(True for _ in layer.children()):
            elements.append(output.numel())

    hooks = [layer.register_forward_hook(count) for layer in module.modules()]
    try:
        with torch.no_grad():
            module(x)
    finally:
        for hook in hooks:
            hook.remove()
    per_row = sum(elements) / len(x) * x.element_size()
    return int(_COPIES * parameters + _PASSES * net.batch_size * per_row)
