"""The last layer of a module: found by trying it out, watched, and changed in a copy."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from imbtorch._fit.classification import ClassificationMixin
from imbtorch._fit.estimator import BaseNetEstimator
from imbtorch.losses import BaseLoss

__all__ = ["Tap", "check_rows", "copy_of", "find_head", "publish", "scale_rows"]


class Tap:
    """What goes into a layer and what comes out, as of its last call; used as a context."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.args: tuple[Any, ...] = ()
        self.output: Any = None

    def __enter__(self) -> Tap:
        self._handle = self.layer.register_forward_hook(self._keep)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def _keep(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.args, self.output = args, output

    def ends(self, output: Tensor) -> bool:
        """Tell whether the layer maps one row per row to ``output``, and nothing follows."""
        return (
            len(self.args) == 1
            and isinstance(self.args[0], Tensor)
            and len(self.args[0]) == len(output)
            and isinstance(self.output, Tensor)
            and torch.equal(self.output, output)
        )


def copy_of(estimator: Any) -> Any:
    """Copy a fitted classifier of one label per row; refuse anything else."""
    known = isinstance(estimator, BaseNetEstimator) and isinstance(estimator, ClassificationMixin)
    if not known:
        raise TypeError(
            f"estimator must be a fitted ImbalancedNetClassifier; got {estimator!r}. Of a pipeline "
            "give the last step, and X as the steps before it make it."
        )
    check_is_fitted(estimator)
    if estimator._is_multilabel:
        raise ValueError("Decoupling works on one label per row; estimator has several.")
    return copy.deepcopy(estimator)


def find_head(estimator: Any, name: str | None) -> Any:
    """Find the layer that the module ends with, by trying it out on rows of ones."""
    module = estimator.module_
    named = dict(module.named_modules())
    if name is not None and name not in named:
        known = [key for key, layer in named.items() if key and _has_parameters(layer)]
        raise ValueError(f"The module has no layer {name!r}; it has {known}.")
    candidates = list(named) if name is None else [name]
    x = torch.ones(2, *estimator._input_shape, dtype=estimator.net_.dtype)
    with ExitStack() as stack:
        taps = {key: stack.enter_context(Tap(named[key])) for key in candidates}
        stack.enter_context(torch.no_grad())
        output = module.train(False)(x.to(estimator.device_))
    width = output.shape[1]
    heads = [
        key
        for key, tap in taps.items()
        if tap.ends(output) and (name is not None or _has_row_per_output(named[key], width))
    ]
    if not heads:
        raise ValueError(
            f"Found no head in {type(module).__name__}: it must be the layer whose output is the "
            f"module's, unchanged, with a weight of {width} rows; "
            + ("name it with head=." if name is None else f"{name!r} is not.")
        )
    head = named[heads[-1]]
    others = set(module.modules()) - set(head.modules())
    shared = set(head.parameters()) & {
        p for layer in others for p in layer.parameters(recurse=False)
    }
    if shared:
        raise ValueError(f"The head {heads[-1]!r} shares weights with other layers.")
    return head


def _has_parameters(layer: nn.Module) -> bool:
    return any(True for _ in layer.parameters())


def _has_row_per_output(layer: nn.Module, width: int) -> bool:
    weight = getattr(layer, "weight", None)
    is_leaf = not any(True for _ in layer.children())
    return is_leaf and isinstance(weight, Tensor) and weight.ndim > 1 and len(weight) == width


def check_rows(layer: Any, estimator: Any, what: str) -> None:
    """Refuse a head other than a linear one with a row for each class."""
    if isinstance(layer, nn.Linear) and layer.out_features == len(estimator.classes_):
        return
    raise ValueError(
        f"{what}: the head must be a torch.nn.Linear with {len(estimator.classes_)} rows; got "
        f"{layer}. Use finetune_head(method='crt')."
    )


def scale_rows(layer: nn.Linear, factors: Tensor) -> None:
    """Multiply each row of weights, and its bias, by a factor."""
    with torch.no_grad():
        layer.weight.mul_(factors[:, None])
        if layer.bias is not None:
            layer.bias.mul_(factors)


def publish(estimator: Any, loss: BaseLoss) -> None:
    """Let the net read its outputs by this loss, and forget the optimizer's moments."""
    estimator.net_.resume(loss, estimator.callbacks)
    estimator.net_.initialize_optimizer()
