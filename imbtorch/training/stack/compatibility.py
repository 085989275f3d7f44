"""Which nets can be trained in one stack, and why a net cannot be in any."""

from __future__ import annotations

from typing import Any

import joblib
from torch import nn

from imbtorch.training.data.rows import ArrayRows
from imbtorch.training.data.several import InputFeatures
from imbtorch.training.optimizers import updates_in_place
from imbtorch.training.run import Run
from imbtorch.training.single.chain import has_hooks
from imbtorch.training.stack.attributes import IncomparableError, attributes_of
from imbtorch.training.stack.losses import numeric_parameters

__all__ = ["kind_of", "module_kind", "not_stackable_because", "rule_of"]


def not_stackable_because(run: Run) -> str | None:
    """Return why a net cannot be trained in a stack, or None if it can."""
    net, rows = run.net, run.rows
    module: nn.Module = net.module_
    if run.checkpoint is not None:
        return "a checkpoint belongs to a single net"
    if net.callbacks_:
        return "skorch callbacks look at a single net"
    for monitor in run.monitors:
        if monitor.single_net_because is not None:
            return monitor.single_net_because
    if net.half is not None:
        return f'precision="{net.half.precision}" is computed for one net at a time'
    if run.recipe.aux_loss is not None:
        return "aux_loss looks at everything that the module of a single net returns"
    if any(True for _ in net.criterion_.parameters()):
        return f"{type(net.criterion_).__name__} has parameters of its own"
    if rows.mixing is not None:
        return "mixtures of rows are made for one net at a time"
    if _has_several_inputs(rows.features):
        return "X has several inputs, or sequences of unequal length"
    if rows.can_stay_sparse:
        return "rows of X are sparse, and their zeros are skipped for one net at a time"
    if net.observing_layers():
        return f"layers of {type(module).__name__} look at the targets"
    hooked = any(p._backward_hooks or p._post_accumulate_grad_hooks for p in module.parameters())
    if hooked or any(map(has_hooks, module.modules())):
        return f"{type(module).__name__} has hooks"
    if not isinstance(rows, ArrayRows):
        return "rows of a stream come in an order of their own"
    if _norm_would_differ(run):
        return "the optimizer holds only some of the parameters, whose gradient has its own norm"
    if not updates_in_place(net.optimizer_):
        name = type(net.optimizer_).__name__
        return f"the step of {name} is not torch's own, and may give parameters new tensors"
    kinds = {p.dtype for p in module.parameters() if p.requires_grad}
    if kinds != {net.dtype}:
        return f"{type(module).__name__} has no trainable parameters, or some of another dtype"
    try:
        attributes_of(module)
    except IncomparableError as error:
        return str(error)
    return None


def _has_several_inputs(features: Any) -> bool:
    several = isinstance(features, InputFeatures)
    return several or isinstance(getattr(features, "dtype", None), dict)  # those of a Dataset


def _norm_would_differ(run: Run) -> bool:
    """Return whether clipping or sharpness need the norm of some parameters only."""
    if run.recipe.clipping is None and not run.recipe.sharpness:
        return False
    held = {id(p) for group in run.net.optimizer_.param_groups for p in group["params"]}
    return any(p.requires_grad and id(p) not in held for p in run.net.module_.parameters())


def kind_of(run: Run) -> tuple[Any, ...]:
    """Return a key that is equal for two runs that can be trained in one stack.

    The last part describes the attributes of the layers.
    """
    net, features = run.net, run.array_rows.features
    steps = (rule_of(run), run.recipe.clipping is None, run.recipe.sharpness > 0)
    data = (net.device, net.dtype, net.task.kind, net.batch_size, run.rows_per_step, run.epochs)
    inputs = (net.n_threads, type(features), features.row_bytes, run.array_rows.targets.n_labels)
    *module, attributes = module_kind(net.module_)
    return (*data, *inputs, *steps, *module, *_loss_kind(net.criterion_), attributes)


def rule_of(run: Run) -> str:
    """Return the name of an optimizer that a stack replaces; ``"own"`` if each net keeps its own.

    A stack has one rate and one decay for all parameters of a net.
    """
    net = run.net
    has_groups = len(net.optimizer_.param_groups) > 1
    return net.optimizer if isinstance(net.optimizer, str) and not has_groups else "own"


def module_kind(module: nn.Module) -> tuple[Any, ...]:
    """Return a key that is equal for two modules with the same layers, shapes and attributes.

    Raises
    ------
    IncomparableError
        If an attribute cannot be compared.
    """
    tensors = [*module.named_parameters(), *module.named_buffers()]
    shapes = [(name, tuple(t.shape), t.dtype, t.requires_grad) for name, t in tensors]
    return (type(module), repr(module), *shapes, attributes_of(module))


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
