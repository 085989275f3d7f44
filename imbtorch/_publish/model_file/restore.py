"""Build a fitted estimator from a document and tensors."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from imbtorch._fit.fit import net_spec
from imbtorch._publish.model_file.given import GivenModule
from imbtorch._publish.model_file.outside import Outside, fill, outside_of
from imbtorch._publish.model_file.save import LOCAL, Document
from imbtorch._publish.model_file.state import (
    check_state,
    check_weights,
    freeze,
    has,
    records_of,
    refusing,
    transpose,
)
from imbtorch._publish.model_file.values import MAX_MEMBERS, Budget, Reader
from imbtorch._safe_file import Layout
from imbtorch._tasks import ClassificationTask, Task
from imbtorch.exceptions import FileFormatError
from imbtorch.losses import BaseLoss
from imbtorch.losses.regression import BaseRegressionLoss
from imbtorch.modules import build_module, get_module
from imbtorch.modules._state import is_extra
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
_OUTSIDE = {"buffers": dict, "extra_state": dict}  # of modules that have them
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_KINDS = {"module": ("module",), "sampler": ("sampler",)}
_MAX_SIZE = 2**40


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

    Attributes
    ----------
    lacking : list of str
        Buffers of the restored nets that the file lacks, because an earlier version wrote it.
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
        self.lacking: list[str] = []
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
            prefix: self._build_given(net, prefix)
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
            has(net, _NET | {key: _OUTSIDE[key] for key in _OUTSIDE.keys() & net.keys()})
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

    def _build_given(self, net: Document, prefix: str) -> GivenModule:
        """Build the caller's own module, after checking that the file has so many weights."""
        shape, dtype = tuple(net["input_shape"]), _DTYPES[net["dtype"]]
        budget = self.budget if "buffers" in net else None
        return GivenModule(
            self.module, shape, net["n_outputs"], dtype, self._numbers(prefix), budget
        )

    def into(self) -> dict[str, Tensor]:
        """Return the tensors of the caller's modules, to read the weights into without a copy."""
        merged: dict[str, Tensor] = {}
        for prefix, given in self.built.items():
            by_feature = self.nets[prefix]["by_feature"]
            merged |= given.into(f"{prefix}module.", by_feature, self.layout)
        return merged

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
        outside = {}
        with refusing():
            for prefix, net in self.nets.items():
                transpose(states[prefix], net["by_feature"])
                outside[prefix] = outside_of(net, "module", states[prefix], reader)
        for prefix, given in self.built.items():
            self._note("module", given.fill(states[prefix], outside[prefix]))
        with refusing():
            members = self.document.get("members")
            if members is None:
                estimator = self._fitted(self.document, reader, "", states[""], outside[""])
            else:
                fitted = [
                    self._fitted(member, reader, prefix, states[prefix], outside[prefix])
                    for member, prefix in zip(members, self.nets, strict=True)
                ]
                estimator = self._ensemble(fitted, reader)
            if reader.tensors:
                raise FileFormatError(f"the file has {len(reader.tensors)} unexpected tensors.")
        return estimator

    def _note(self, part: str, lacking: list[str]) -> None:
        self.lacking += [f"{part}.{name}" for name in lacking]

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
        self,
        document: Document,
        reader: Reader,
        prefix: str,
        state: dict[str, Tensor],
        outside: Outside,
    ) -> Any:
        estimator = self._unfitted(document, reader)
        net, shape = document["net"], tuple(document["net"]["input_shape"])
        attributes = {name: reader.decode(v, ("plain",)) for name, v in net["attributes"].items()}
        tasks = {task.name: task for task in estimator._tasks}
        if net["task"] not in tasks:
            raise FileFormatError("the estimator and its net are for different tasks.")
        check_state(attributes, tasks[net["task"]], net["n_outputs"], shape)
        task: Task = tasks[net["task"]].restored(net["n_outputs"], attributes)
        if prefix in self.built:
            module = self.built[prefix].module
        else:
            module = self._build_ours(estimator, net, prefix)
            check_weights(module, state, outside.extra)
            if fill(module, state, outside, assign=True):
                raise FileFormatError("the file lacks buffers of the module.")
        loss = _prepared_loss(net, task, reader, attributes)
        learned = self._taken(reader, f"{prefix}loss.")
        self._note("loss", _fill_loss(loss, learned, outside_of(net, "loss", learned, reader)))
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


def _prepared_loss(net: Document, task: Task, reader: Reader, attributes: Document) -> Any:
    """Build the loss, and prepare it for the classes."""
    loss = reader.decode(net["loss"], (task.loss_kind,))
    is_classifier = isinstance(task, ClassificationTask)
    if not isinstance(loss, BaseLoss if is_classifier else BaseRegressionLoss):
        raise FileFormatError("the loss section is not a valid loss.")
    loss.to(_DTYPES[net["dtype"]])
    if is_classifier:
        loss.prepare(attributes["class_counts_"])
    return loss


def _fill_loss(loss: Any, state: dict[str, Tensor], outside: Outside) -> list[str]:
    """Restore what the loss had learned; return the names of buffers that the file lacks."""
    for name, value in loss.state_dict().items():
        if is_extra(name):
            continue
        if name not in state or state[name].shape != value.shape:
            raise FileFormatError(f"{name} of the loss is missing or has the wrong shape.")
    for name, parameter in loss.named_parameters():
        if state[name].dtype != parameter.dtype or not state[name].isfinite().all():
            raise FileFormatError(f"{name} of the loss has the wrong dtype or is not finite.")
    lacking = fill(loss, state, outside)
    loss.train(False)
    return lacking
