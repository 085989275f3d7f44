"""What nets of a stack have in common, and what keeps a net from being in one."""

from __future__ import annotations

from typing import Any

import joblib
from torch import nn

from imbtorch.training.callbacks import EpochCallbacks
from imbtorch.training.data.observers import observing_layers
from imbtorch.training.run import Run
from imbtorch.training.single.chain import has_hooks
from imbtorch.training.stack.losses import numeric_parameters

__all__ = ["not_stackable_because", "kind_of", "module_kind"]


def not_stackable_because(run: Run) -> str | None:
    """Say what keeps a net from being trained with others; None where nothing does."""
    net, rows = run.net, run.rows
    module: nn.Module = net.module_
    if run.checkpoint is not None:
        return "a checkpoint is of a single net"
    if net.callbacks_:
        return "skorch callbacks look at a single net"
    if any(isinstance(monitor, EpochCallbacks) for monitor in run.monitors):
        return "scikit-learn callbacks look at a single fit"
    if any(True for _ in net.criterion_.parameters()):
        return f"{type(net.criterion_).__name__} has parameters of its own"
    if rows.mixing is not None:
        return "mixtures of rows are made for one net at a time"
    if rows.can_stay_sparse:
        return "rows of X are sparse, and their zeros are skipped for one net at a time"
    if observing_layers(module):
        return f"layers of {type(module).__name__} look at the targets"
    if any(map(has_hooks, module.modules())):
        return f"{type(module).__name__} has hooks"
    kinds = {p.dtype for p in module.parameters() if p.requires_grad}
    if kinds != {net.dtype}:
        return f"{type(module).__name__} has no parameters to train, or of several types"
    return None


def kind_of(run: Run) -> tuple[Any, ...]:
    """Name what nets of a stack have in common."""
    net, features = run.net, run.rows.features
    optimizer = net.optimizer if isinstance(net.optimizer, str) else "own"
    steps = (optimizer, run.clipping is None, run.sharpness > 0)
    data = (net.device, net.dtype, net.task, net.n_outputs, net.batch_size, run.epochs)
    inputs = (type(features), features.row_bytes, run.rows.targets.n_labels)
    return (*data, *inputs, *steps, module_kind(net.module_), _loss_kind(net.criterion_))


def module_kind(module: nn.Module) -> tuple[Any, ...]:
    """Name the architecture of a module: equal names, equal layers and shapes."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    shapes = [(name, tuple(t.shape), t.dtype, t.requires_grad) for name, t in tensors]
    return (type(module), repr(module), *shapes)


def _loss_kind(loss: Any) -> tuple[Any, ...]:
    numbers = {*numeric_parameters(loss), "weight"}  # class weights act through the rows
    params = loss.get_params(deep=False)
    shapes = [
        (name, None if tensor is None else tuple(tensor.shape))
        for name, tensor in loss._buffers.items()
        if name != "weight"
    ]
    fixed = {name: value for name, value in params.items() if name not in numbers}
    return (type(loss), joblib.hash(fixed), *shapes)
