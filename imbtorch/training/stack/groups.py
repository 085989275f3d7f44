"""Divide nets into stacks: which nets can share a stack, and how many fit into the memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from imbtorch._common.log import logger
from imbtorch._common.seed import private_torch_rng
from imbtorch.exceptions import NotStackedWarning
from imbtorch.modules import PeriodicEmbeddings
from imbtorch.modules._build import copied_module, without_graph
from imbtorch.training.callbacks import ProgressBar
from imbtorch.training.loop import PausableTraining, train
from imbtorch.training.run import Run
from imbtorch.training.single.chain import plain_layers
from imbtorch.training.stack.attributes import changed_by_forward
from imbtorch.training.stack.compatibility import kind_of, not_stackable_because
from imbtorch.training.stack.engine import StackedEngine
from imbtorch.training.stack.modules import network_of
from imbtorch.training.stack.storage import Storage

__all__ = ["pausable_stacks", "train_stacked"]

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
    for stack in _stacks(runs, max_memory):
        if any(run.interrupted for run in runs):
            for run in stack:
                run.interrupted = run.done = True
        else:
            _train(stack)


def pausable_stacks(runs: Sequence[Run], max_memory: int | None) -> list[PausableTraining]:
    """Divide runs into stacks whose training may be paused, so that others go on.

    Parameters
    ----------
    runs, max_memory
        As for :func:`train_stacked`, which raises the same errors and gives the same warning.

    Returns
    -------
    list of PausableTraining
        One training for each stack; none has begun.
    """
    return [
        PausableTraining(stack, StackedEngine if len(stack) > 1 else None)
        for stack in _stacks(runs, max_memory)
    ]


def _stacks(runs: Sequence[Run], max_memory: int | None) -> list[list[Run]]:
    """Divide runs into as few stacks as possible."""
    if not runs:
        raise ValueError("There is no net to train: got an empty list of runs.")
    groups: dict[Any, list[Run]] = {}
    reasons: dict[str, None] = {}
    for run in runs:
        reason = not_stackable_because(run)
        if reason is not None:
            reasons[reason] = None
        groups.setdefault(run if reason else kind_of(run), []).append(run)
    reasons |= _left_alone_by_attributes(groups)
    stacks = [part for group in groups.values() for part in _parts(group, max_memory, reasons)]
    logger.debug("%d net(s) are divided into stacks of %s", len(runs), [*map(len, stacks)])
    if reasons and len(runs) > 1:
        logger.info("Nets are trained one by one: %s", "; ".join(reasons))
        warnings.warn(
            f"Nets are trained one by one, not as a stack: {'; '.join(reasons)}. The results are "
            "the same; it takes longer.",
            NotStackedWarning,
            stacklevel=3,
        )
    return stacks


def _left_alone_by_attributes(groups: dict[Any, list[Run]]) -> dict[str, None]:
    """Return why nets are alone that only differ from others in attributes of their modules."""
    kinds = [key[:-1] for key in groups if isinstance(key, tuple)]
    alone = [
        group[0].net.module_
        for key, group in groups.items()
        if isinstance(key, tuple) and len(group) == 1 and kinds.count(key[:-1]) > 1
    ]
    return dict.fromkeys(map(_more_differs, alone))


def _more_differs(module: nn.Module) -> str:
    return f"modules of class {type(module).__name__} differ in more than their parameters"


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
    # Nets with the same rows, and so with the same batches, are next to each other. Their order
    # must not depend on addresses in memory, because it decides which dropout masks a net gets.
    places = {id(run.rows.features): place for place, run in reversed([*enumerate(group)])}
    group = sorted(group, key=lambda run: (-run.n_rows, places[id(run.rows.features)]))
    parts = [group[start : start + size] for start in range(0, len(group), size)]
    for part in parts:
        _keep_one_bar(part)
    return parts


def _keep_one_bar(runs: Sequence[Run]) -> None:
    """Show a single progress bar for the whole stack."""
    for run in runs[1:]:
        run.monitors = [m for m in run.monitors if not isinstance(m, ProgressBar)]


# -- trials -----------------------------------------------------------------------------------


def _few_rows(run: Run) -> Any:
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
    try:
        return (
            changed_by_forward(copied_module(first), x)
            or _differs_from_first(modules, x)
            or _changed_by_vmap(modules[:2], x)
        )
    except Exception as error:  # vmap raises many types of errors
        lines = str(error).strip().splitlines() or [""]
        return f"torch.func.vmap cannot follow {name} ({type(error).__name__}: {lines[0][:160]})"


@torch.no_grad()
def _differs_from_first(modules: Sequence[nn.Module], x: Tensor) -> str | None:
    """Return a reason if a module computes something else than the first one with its tensors."""
    skeleton = copied_module(modules[0])
    for module in modules[1:]:
        for mode in (False, True):
            twin = copied_module(module).train(mode)
            own = {**dict(twin.named_parameters()), **dict(twin.named_buffers())}
            own = {name: tensor.detach().clone() for name, tensor in own.items()}
            torch.manual_seed(0)  # both draw the same numbers
            expected = twin(x.clone())
            torch.manual_seed(0)
            found = functional_call(skeleton.train(mode), own, (x.clone(),))
            if not torch.allclose(found, expected, equal_nan=True):
                return _more_differs(module)
    return None


def _changed_by_vmap(modules: Sequence[nn.Module], x: Tensor) -> str | None:
    """Return a reason if two modules compute something else when they are mapped."""
    for mode in (False, True):
        copies = [copied_module(module).train(mode) for module in modules]
        alone = [copied_module(module) for module in copies]
        with torch.no_grad():
            torch.manual_seed(0)
            expected = torch.stack([module(x.clone()) for module in alone])
            torch.manual_seed(1)
            again = copied_module(copies[0])(x.clone())
        is_random = not torch.equal(again, expected[0])
        storage = Storage(copies)
        network = network_of(storage)(slice(0, 2))
        found = network.forward(torch.stack([x, x]))
        network.backward(torch.ones_like(found))
        if is_random:
            continue
        pairs = [(found, expected)]
        for one, other in zip(copies, alone, strict=True):
            pairs += zip(one.buffers(), other.buffers(), strict=True)
        if not all(torch.allclose(*pair, rtol=1e-4, atol=1e-5, equal_nan=True) for pair in pairs):
            return f"torch.func.vmap changes the outputs or buffers of {type(modules[0]).__name__}"
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
        if isinstance(layer, PeriodicEmbeddings):  # its waves are many more numbers
            elements.append(len(output) * layer.frequency.numel())

    copied = copied_module(module)
    hooks = [layer.register_forward_hook(count) for layer in copied.modules()]
    try:
        without_graph(copied, x.clone)
    finally:
        for hook in hooks:
            hook.remove()
    per_row = sum(elements) / len(x) * x.element_size()
    return int(_COPIES * parameters + _PASSES * net.batch_size * per_row)
