"""Divide nets into stacks: which nets can share a stack, and how many fit into the memory."""

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
# Copies of a parameter in memory: value, gradient, two moments, their change, best value, last
# finite value.
_COPIES = 7
# Very large stacks are slower on a CPU: 130 nets of 64-64 units took 1.5 times as long in one
# stack as in three stacks, whose tensors fit into the cache. A few large nets gain from a stack
# even when they exceed the cache.
_CACHE_BYTES, _FEW = 2**26, 8
_PASSES = 3  # tensors of each activation's size: the activation, its gradient, a temporary one


def train_stacked(runs: Sequence[Run], max_memory: int | None) -> None:
    """Train all runs to their end, in as few stacks as possible.

    If one run fails, its ``error`` holds the exception and the others continue. If Ctrl-C ends the
    training, runs that have not begun are marked as ``interrupted`` and otherwise left unchanged.

    Parameters
    ----------
    runs : sequence of Run
        Runs of the nets to train; their nets may differ in architecture, loss and data.
    max_memory : int or None
        Largest number of bytes that the nets of a stack may take together; None for no limit.

    Raises
    ------
    ValueError
        If there are no runs, or ``max_memory`` is less than one net takes.

    Warns
    -----
    NotStackedWarning
        Once, if nets have to be trained one by one; the message says why.
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
    """Train one stack, or a single net; an error ends this training only."""
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
    # nets with the same rows, and so with the same batches, next to each other
    group = sorted(group, key=lambda run: (-run.n_rows, id(run.rows.features)))
    parts = [group[start : start + size] for start in range(0, len(group), size)]
    for part in parts:
        _keep_one_bar(part)
    return parts


def _keep_one_bar(runs: Sequence[Run]) -> None:
    """Show a single progress bar for the whole stack."""
    for run in runs[1:]:
        run.monitors = [m for m in run.monitors if not isinstance(m, ProgressBar)]


# -- trials -----------------------------------------------------------------------------------


def _few_rows(run: Run) -> Tensor:
    """Return the first rows of X, without mixing rows or showing targets to layers."""
    features = run.rows.features
    assert features is not None  # nets of a stream are trained by themselves
    return features.slice(0, min(_TRIAL_ROWS, len(run.rows)))


def _cannot_be_mapped(modules: Sequence[nn.Module], x: Tensor) -> str | None:
    """Return why torch cannot map these modules over their parameters, or None if it can."""
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
    except Exception as error:  # vmap raises many types of errors
        lines = str(error).strip().splitlines() or [""]
        return f"torch.func.vmap cannot follow {name} ({type(error).__name__}: {lines[0][:160]})"
    return None


# -- memory ------------------------------------------------------------------------------------


def _bytes(run: Run, x: Tensor) -> int:
    """Estimate the bytes of a net in a stack: parameters, optimizer, activations of a batch."""
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
