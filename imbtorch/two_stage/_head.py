"""Find the last layer of a module by a trial, record its inputs and outputs, and change it."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.losses import BaseLoss
from imbtorch.modules._build import without_graph
from imbtorch.modules._member_layers import MemberHeads
from imbtorch.modules._several_inputs import zero_rows
from imbtorch.modules._structured import logits_in

__all__ = ["Tap", "check_rows", "copy_of", "find_head", "publish", "scale_rows"]

Head = nn.Linear | MemberHeads


class Tap:
    """Recorder of the inputs and the output of a layer in its last call; a context manager."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.args: tuple[Any, ...] = ()
        self.output: Any = None

    def __enter__(self) -> Tap:
        self._handles = [
            self.layer.register_forward_pre_hook(self._keep_input, prepend=True, with_kwargs=True),
            self.layer.register_forward_hook(self._keep_output),
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep_input(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [arg for arg in (*args, *kwargs.values()) if arg is not None]
        # copies, because the layer may write into its input
        self.args = tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in given)

    def _keep_output(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.output = logits_in(output)

    def ends(self, output: Tensor) -> bool:
        """Return whether the layer computes ``output`` from one input row for each output row."""
        return (
            len(self.args) == 1
            and isinstance(self.args[0], Tensor)
            and len(self.rows) == len(output)
            and isinstance(self.output, Tensor)
            and torch.equal(self.output, output)
        )

    @property
    def rows(self) -> Tensor:
        """What the layer got for each row, ``(n, ...)``; the heads of members get it by member."""
        given: Tensor = self.args[0]
        by_member = isinstance(self.layer, MemberHeads) and given.ndim == 3
        return given.transpose(0, 1) if by_member else given


def copy_of(estimator: Any) -> Any:
    """Copy a fitted classifier of one label per row; raise an error for anything else."""
    if not isinstance(estimator, ImbalancedNetClassifier):
        raise TypeError(
            f"estimator must be a fitted ImbalancedNetClassifier; got {estimator!r}. For a "
            "pipeline give the last step, and the X that the steps before it return."
        )
    check_is_fitted(estimator)
    if estimator._task.n_labels:
        raise ValueError(
            "Decoupled training needs one label per row; estimator was fitted on several."
        )
    return copy.deepcopy(estimator)


def find_head(estimator: Any, name: str | None) -> Any:
    """Find the last layer of the module, by a trial on rows of ones, or of identifiers of 0."""
    module = estimator.module_
    named = dict(module.named_modules())
    if name is not None and name not in named:
        known = [key for key, layer in named.items() if key and _has_parameters(layer)]
        raise ValueError(f"The module has no layer {name!r}; it has {known}.")
    # a scripted layer cannot have hooks
    candidates = [
        key
        for key in (named if name is None else [name])
        if not isinstance(named[key], torch.jit.ScriptModule)
    ]
    if isinstance(estimator.net_.input_dtype, dict):
        shape, tables = estimator._input_shape, estimator.net_.tables
        shape = shape if tables is None else tables.row_shape(shape)
        x = zero_rows(shape, estimator.net_.input_dtype)
    else:
        x = torch.zeros(2, *estimator._input_shape, dtype=torch.int64)
        dtype = torch.float64 if estimator.net_.encoder_ else estimator.net_.dtype_of(x)
        x = torch.ones(x.shape, dtype=dtype) if dtype.is_floating_point else x
    with ExitStack() as stack:
        taps = {key: stack.enter_context(Tap(named[key])) for key in candidates}
        output = without_graph(module.train(False), x.to(estimator.device_).clone)
    width = output.shape[-1]
    heads = [
        key
        for key, tap in taps.items()
        if tap.ends(output) and (name is not None or _has_row_per_output(named[key], width))
    ]
    if not heads:
        raise ValueError(
            f"Found no head in {type(module).__name__}: the head must be a layer with a weight of "
            f"{width} rows, not scripted and called with one tensor, whose output is the unchanged "
            "output of the module; "
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
    if isinstance(layer, MemberHeads):
        return layer.out_features == width
    weight = getattr(layer, "weight", None)
    is_leaf = not any(True for _ in layer.children())
    return is_leaf and isinstance(weight, Tensor) and weight.ndim > 1 and len(weight) == width


def check_rows(layer: Any, estimator: Any, what: str) -> None:
    """Raise ValueError if the head is not a linear layer with one row for each class."""
    if isinstance(layer, Head) and layer.out_features == len(estimator.classes_):
        return
    raise ValueError(
        f"{what}: the head must be a torch.nn.Linear with {len(estimator.classes_)} rows, or the "
        f"last layer of a TabM; got {layer}. Use finetune_head(method='crt')."
    )


def scale_rows(layer: Head, factors: Tensor) -> None:
    """Multiply the weights and the bias of each class by a factor.

    Parameters
    ----------
    layer : torch.nn.Linear or MemberHeads
        Head, which is changed.
    factors : Tensor of shape (n_classes,) or (n_members, n_classes)
        Factor of each class, or of each class of each member.
    """
    by_member = isinstance(layer, MemberHeads)  # whose weights of a class are a column
    with torch.no_grad():
        layer.weight.mul_(factors.unsqueeze(-2 if by_member else -1))
        if layer.bias is not None:
            layer.bias.mul_(factors)


def publish(estimator: Any, loss: BaseLoss) -> None:
    """Make the net interpret its outputs by this loss, and reset its optimizer."""
    estimator.net_.resume(loss, estimator.callbacks)
    estimator.net_.initialize_optimizer()
