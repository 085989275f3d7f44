"""Build a fitted estimator from a document and tensors."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from imbtorch._common.seed import private_torch_rng
from imbtorch._fit.fit import net_spec
from imbtorch._publish.model_file.save import LOCAL, Document
from imbtorch._publish.model_file.state import (
    assign,
    check_state,
    freeze,
    has,
    printable_lines,
    records_of,
    refusing,
    transpose,
)
from imbtorch._publish.model_file.values import MAX_MEMBERS, Budget, Reader
from imbtorch._safe_file import Layout, printable
from imbtorch._tasks import ClassificationTask, Task
from imbtorch.exceptions import FileFormatError
from imbtorch.losses import BaseLoss
from imbtorch.losses.regression import BaseRegressionLoss
from imbtorch.modules import build_module, get_module
from imbtorch.training.net import restored_net

__all__ = ["Restorer"]

_NET = {
    "attributes": dict,
    "input_shape": list,
    "task": str,
    "n_outputs": int,
    "dtype": str,
    "batch_size": int,
    "history": dict,
    "module": str | None,
    "loss": dict,
    "frozen": list,
    "by_feature": list,
}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_KINDS = {"module": ("module",), "sampler": ("sampler",)}
_MAX_SIZE = 2**40
_MAX_UNSEEN = 2**24  # features of a module whose size only building it shows


class Restorer:
    """Build the estimator that a document describes.

    Parameters
    ----------
    document : dict
        Document from a file, which :func:`describe` has made.
    layout : Layout
        Types and shapes of the tensors in the file.
    estimators : dict of str to type
        Classes of estimators that a file may name.
    module : object or None
        The module that the caller gives, if it is their own.
    device : torch.device
        Device of the restored nets.
    """

    def __init__(
        self,
        document: Document,
        layout: Layout,
        estimators: dict[str, type],
        module: Any,
        device: torch.device,
    ) -> None:
        self.document, self.layout, self.estimators = document, layout, estimators
        self.module, self.device = module, device
        sizes = [torch.Size(shape).numel() * dtype.itemsize for dtype, shape in layout.values()]
        self.budget = Budget(sum(sizes))
        self.parts = _parts(layout)
        with refusing():
            self.nets = self._check()
            names = {repr(net["module"][:200]) for net in self.nets.values() if net["module"]}
        if names and module is None:
            shown = ", ".join(sorted(names)[:3])
            raise ValueError(
                f"The file holds only the weights of your own module, {shown}. "
                "Give the module as you gave it to the estimator: "
                "imbtorch.load(path, module=...)."
            )
        if module is not None and not names:
            raise ValueError("The file describes the whole module: load it without module=.")
        self.built = {
            prefix: self._build_given(net, self._numbers(prefix))
            for prefix, net in self.nets.items()
            if net["module"] is not None
        }

    def _check(self) -> dict[str, Document]:
        """Check the form of the document, and return the descriptions of the nets by prefix."""
        members = self.document.get("members")
        if members is None:
            has(self.document, {"estimator": str, "params": dict, "net": dict})
            nets = {"": self.document["net"]}
        else:
            expected = {"estimator": str, "params": dict, "members": list, "interrupted": bool}
            has(self.document, expected)
            if len(members) > MAX_MEMBERS:
                raise FileFormatError(
                    f"the ensemble has {len(members)} members, more than {MAX_MEMBERS}."
                )
            for member in members:
                has(member, {"estimator": str, "params": dict, "net": dict})
            nets = {f"{i}.": member["net"] for i, member in enumerate(members)}
        if not nets:
            raise FileFormatError("the ensemble has no members.")
        described = [self.document] if members is None else members
        for net, model in zip(nets.values(), described, strict=True):
            has(net, _NET)
            module = model["params"].get("module")
            from_caller = isinstance(module, dict) and set(module) == {"$caller"}
            if from_caller != (net["module"] is not None):
                raise FileFormatError("params and net disagree about where the module comes from.")
            sizes = [*net["input_shape"], net["n_outputs"], net["batch_size"]]
            known = all(type(size) is int and 0 < size < _MAX_SIZE for size in sizes)
            if not known or net["dtype"] not in _DTYPES or not 0 < len(net["input_shape"]) <= 16:
                raise FileFormatError("the sizes or the dtype of a net are not valid.")
            if 128 * net["n_outputs"] > self.budget.left:  # outputs on which the loss is tried
                raise FileFormatError("the file is too small for so many outputs of its net.")
        return nets

    # -- modules ---------------------------------------------------------------------------

    def _numbers(self, prefix: str) -> int:
        """Count the numbers of the weights that the file holds for a net."""
        names = self.parts[f"{prefix}module."]
        return sum(torch.Size(self.layout[name][1]).numel() for name in names)

    def _build_given(self, net: Document, numbers: int) -> nn.Module:
        """Build the caller's own module, after checking that the file has so many weights."""
        shape, n_outputs = tuple(net["input_shape"]), net["n_outputs"]
        dtype = _DTYPES[net["dtype"]]
        with private_torch_rng(0, torch.device("cpu")):
            try:
                with torch.device("meta"):
                    needed = _count(_built(self.module, shape, n_outputs, dtype))
            except Exception:  # code that needs real numbers: a bound without building it
                needed = 0 if max(math.prod(shape), n_outputs) < _MAX_UNSEEN else numbers + 1
            if needed > numbers:
                raise FileFormatError(
                    f"module={printable(_name(self.module))} for rows of shape {shape} and "
                    f"{n_outputs} outputs does not fit the weights in the file, which has only "
                    f"{numbers} numbers. Give the module that the estimator was trained with; or "
                    "the file is damaged."
                )
            try:
                return _built(self.module, shape, n_outputs, dtype).to("cpu")
            except Exception as error:
                if not callable(self.module) and not hasattr(self.module, "build"):
                    raise  # it is no module, whatever the file holds
                raise FileFormatError(
                    f"module={printable(_name(self.module))} cannot be built for rows of shape "
                    f"{shape} and {n_outputs} outputs, as the file describes them: "
                    f"{printable_lines(error)}"
                ) from error

    def into(self) -> dict[str, Tensor]:
        """Return the tensors of the caller's modules, to read the weights into without a copy."""
        return {
            name: tensor
            for prefix, module in self.built.items()
            for key, tensor in module.state_dict().items()
            if isinstance(tensor, Tensor)
            and (name := f"{prefix}module.{key}") in self.layout
            and self.layout[name] == (tensor.dtype, tuple(tensor.shape))
            and tensor.is_contiguous()
        }

    def _fill_given(self, module: nn.Module, state: dict[str, Tensor]) -> nn.Module:
        """Load weights into the caller's module; most were read into its tensors already."""
        kinds = {key: value.dtype for key, value in module.state_dict().items()}
        try:
            for key, value in state.items():
                if kinds.get(key, value.dtype) != value.dtype:
                    raise ValueError(f"{key} is {kinds[key]}, in the file {value.dtype}")
            module.load_state_dict(state, strict=True)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"module={type(module).__name__} does not fit the weights in the file: "
                f"{printable_lines(error)}"
            ) from error
        return module

    def _build_ours(self, estimator: Any, net: Document, prefix: str) -> nn.Module:
        """Build an imbtorch module without memory, after checking that the file has its weights."""
        module = estimator.module
        module = get_module(module) if isinstance(module, str) else module
        module = module() if isinstance(module, type) else module
        n_tensors, n_numbers = module.smallest_size(net["n_outputs"])
        numbers = self._numbers(prefix)
        if (
            n_tensors > len(self.parts[f"{prefix}module."])
            or max(n_numbers, net["n_outputs"]) > numbers
        ):
            raise FileFormatError("the file holds fewer weights than its module has.")
        with torch.device("meta"):
            built = build_module(module, tuple(net["input_shape"]), net["n_outputs"])
        return built.to(_DTYPES[net["dtype"]])

    # -- estimators ------------------------------------------------------------------------

    def restore(self, tensors: dict[str, Tensor]) -> Any:
        """Build the estimator.

        Parameters
        ----------
        tensors : dict of str to Tensor
            All tensors of the file.

        Returns
        -------
        estimator
            The fitted estimator.

        Raises
        ------
        FileFormatError
            If the document and the tensors do not describe an estimator.
        ValueError
            If the caller's module does not fit the weights.
        """
        reader = Reader(tensors, self.budget)
        states = {prefix: self._taken(reader, f"{prefix}module.") for prefix in self.nets}
        for prefix, module in self.built.items():
            with refusing():
                transpose(states[prefix], self.nets[prefix]["by_feature"])
            self._fill_given(module, states[prefix])
        with refusing():
            members = self.document.get("members")
            if members is None:
                estimator = self._fitted(self.document, reader, "", states[""])
            else:
                fitted = [
                    self._fitted(member, reader, prefix, states[prefix])
                    for member, prefix in zip(members, self.nets, strict=True)
                ]
                estimator = self._ensemble(fitted, reader)
            if reader.tensors:
                raise FileFormatError(f"the file has {len(reader.tensors)} unexpected tensors.")
        return estimator

    def _unfitted(self, document: Document, reader: Reader) -> Any:
        cls = self.estimators.get(document["estimator"])
        if cls is None:
            raise FileFormatError(f"{document['estimator'][:80]!r} is not an imbtorch estimator.")
        params = {
            name: self._parameter(name, value, reader, cls)
            for name, value in document["params"].items()
        }
        estimator = cls(**params)
        estimator._validate_params()
        estimator.get_params(deep=True)
        return estimator

    def _parameter(self, name: str, value: Any, reader: Reader, cls: type) -> Any:
        if isinstance(value, dict) and "$caller" in value and name == "module" and self.built:
            return self.module
        if isinstance(value, dict) and "$estimator" in value and name == "estimator":
            has(value["$estimator"], {"estimator": str, "params": dict})
            return self._unfitted(value["$estimator"], reader)
        if name in LOCAL and value is not None or name == "callbacks" and value not in (None, []):
            raise FileFormatError(f"a file cannot hold {name}.")
        losses = ("loss", "regression_loss", "torch_loss")
        decoded = reader.decode(value, losses if name == "loss" else _KINDS.get(name, ()))
        components = getattr(cls, "_components", {})
        if name in components and isinstance(decoded, str):
            components[name](decoded)  # raises an error if the name is unknown
        return decoded

    def _ensemble(self, members: list[Any], reader: Reader) -> Any:
        ensemble = self._unfitted(self.document, reader)
        first = members[0]
        for member in members:
            same = type(member) is type(first) and len(member.classes_) == len(first.classes_)
            same = same and member._input_shape == first._input_shape
            if not same or (member.classes_ != first.classes_).any():
                raise FileFormatError("the members of the ensemble are for different data.")
        ensemble._publish(members)
        ensemble.interrupted_ = self.document["interrupted"]
        ensemble._links()  # raises an error now if target_prior cannot be described
        return ensemble

    def _fitted(
        self, document: Document, reader: Reader, prefix: str, state: dict[str, Tensor]
    ) -> Any:
        estimator = self._unfitted(document, reader)
        net, shape = document["net"], tuple(document["net"]["input_shape"])
        attributes = {name: reader.decode(v, ("plain",)) for name, v in net["attributes"].items()}
        tasks = {task.name: task for task in estimator._tasks}
        if net["task"] not in tasks:
            raise FileFormatError("the estimator and its net are for different tasks.")
        check_state(attributes, tasks[net["task"]], net["n_outputs"], shape)
        task: Task = tasks[net["task"]].restored(net["n_outputs"], attributes)
        module = self.built.get(prefix)
        if module is None:
            module = self._build_ours(estimator, net, prefix)
            assign(module, state, net["by_feature"])
        learned = self._taken(reader, f"{prefix}loss.")
        loss = _restored_loss(net, task, reader, learned, attributes)
        freeze({"module": module, "loss": loss}, net["frozen"])
        estimator.__dict__.update(attributes, _input_shape=shape)
        spec = net_spec(
            estimator, task, net["batch_size"], dtype=_DTYPES[net["dtype"]], device=self.device
        )
        estimator.net_ = restored_net(module, loss, spec, records_of(net["history"], reader))
        self._try_out(estimator, net)
        return estimator

    def _try_out(self, estimator: Any, net: Document) -> None:
        """Check that loss and link work on outputs of this width."""
        zeros = torch.zeros(
            2, net["n_outputs"], dtype=_DTYPES[net["dtype"]], device=estimator.net_.device
        )
        with torch.no_grad():
            estimator.net_.try_loss(zeros)
            is_classifier = isinstance(estimator.net_.task, ClassificationTask)
            if is_classifier and estimator._link()(zeros).shape != zeros.shape:
                raise FileFormatError("the loss is for another number of classes.")

    def _taken(self, reader: Reader, prefix: str) -> dict[str, Tensor]:
        """Take the tensors whose names begin with a prefix, and return them without the prefix."""
        return {name.removeprefix(prefix): reader.take(name) for name in self.parts[prefix]}


def _parts(layout: Layout) -> dict[str, list[str]]:
    """Group the names of tensors by net and part, such as ``"3.module."``."""
    parts: dict[str, list[str]] = defaultdict(list)
    for name in layout:
        found = re.match(r"(\d+\.)?(module|loss)\.", name)
        if found:
            parts[found[0]].append(name)
    return parts


def _built(module: Any, shape: tuple[int, ...], n_outputs: int, dtype: torch.dtype) -> nn.Module:
    """Build a module on the default device; lazy layers see rows, from which they get a size."""
    built = build_module(module, shape, n_outputs, dtype)
    if any(is_lazy(tensor) for tensor in [*built.parameters(), *built.buffers()]):
        with torch.no_grad():
            built.train(False)(torch.zeros(2, *shape, dtype=dtype))
    return built


def _count(module: nn.Module) -> int:
    return sum(value.numel() for value in module.state_dict().values() if isinstance(value, Tensor))


def _name(module: Any) -> str:
    return str(getattr(module, "__name__", type(module).__name__))


def _restored_loss(
    net: Document, task: Task, reader: Reader, state: dict[str, Tensor], attributes: Document
) -> Any:
    """Build the loss, and restore the values that it had learned from the training data."""
    loss = reader.decode(net["loss"], (task.loss_kind,))
    is_classifier = isinstance(task, ClassificationTask)
    if not isinstance(loss, BaseLoss if is_classifier else BaseRegressionLoss):
        raise FileFormatError("the loss section is not a valid loss.")
    loss.to(_DTYPES[net["dtype"]])
    if is_classifier:
        loss.prepare(attributes["class_counts_"])
    for name, value in loss.state_dict().items():
        if name not in state or state[name].shape != value.shape:
            raise FileFormatError(f"{name} of the loss is missing or has the wrong shape.")
    for name, parameter in loss.named_parameters():
        if state[name].dtype != parameter.dtype or not state[name].isfinite().all():
            raise FileFormatError(f"{name} of the loss has the wrong dtype or is not finite.")
    loss.load_state_dict(state, strict=True)
    return loss.train(False)
