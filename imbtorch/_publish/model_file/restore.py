"""Build a fitted estimator from a document and tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from imbtorch._fit.fit import net_spec
from imbtorch._publish.model_file.blends import restore_blend
from imbtorch._publish.model_file.decisions import Decision
from imbtorch._publish.model_file.described import DTYPES, Described
from imbtorch._publish.model_file.estimators import EstimatorReader
from imbtorch._publish.model_file.given import GivenModule
from imbtorch._publish.model_file.out_of_fold import restore_out_of_fold
from imbtorch._publish.model_file.outside import Outside, fill, outside_of
from imbtorch._publish.model_file.save import Document
from imbtorch._publish.model_file.several_inputs import tables_in
from imbtorch._publish.model_file.state import (
    check_state,
    check_weights,
    freeze,
    records_of,
    refusing,
    transpose,
)
from imbtorch._publish.model_file.values import Reader
from imbtorch._safe_file import Layout
from imbtorch._tasks import ClassificationTask, Labels, Task
from imbtorch.exceptions import FileFormatError
from imbtorch.features import TableEncoder
from imbtorch.losses import BaseLoss
from imbtorch.losses.regression import BaseRegressionLoss
from imbtorch.modules import get_module
from imbtorch.modules._input_tables import InputTables
from imbtorch.modules._state import is_extra
from imbtorch.training.restored import restored_net

__all__ = ["Restorer"]


class Restorer:
    """Build the estimator that a document describes.

    Parameters
    ----------
    document : dict
        Document from a file, which :func:`write_model` has made.
    layout : Layout
        Types and shapes of the tensors in the file.
    estimators : dict of str to type
        Classes of estimators that a file may name.
    decisions : dict of type to Decision
        Meta-estimators that a file may name.
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
        decisions: dict[type, Decision],
        module: Any,
        device: torch.device,
    ) -> None:
        self.layout, self.decisions, self.estimators = layout, decisions, estimators
        self.module, self.device = module, device
        self.lacking: list[str] = []
        with refusing():
            self.described = Described(document, layout)
            self.nets = self.described.nets
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

    # -- modules ---------------------------------------------------------------------------

    def _build_given(self, net: Document, prefix: str) -> GivenModule:
        """Build the caller's own module, after checking that the file has so many weights."""
        rows, numbers = self.described.inputs[prefix], self.described.numbers(prefix)
        budget = self.described.budget if "buffers" in net else None
        return GivenModule(
            self.module, rows, net["n_outputs"], DTYPES[net["dtype"]], numbers, budget
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
        numbers = self.described.numbers(prefix)
        if (
            n_tensors > len(self.described.parts[f"{prefix}module."])
            or max(n_numbers, net["n_outputs"]) > numbers
        ):
            raise FileFormatError("the file holds fewer weights than its module has.")
        with torch.device("meta"):
            return self.described.inputs[prefix].build(
                module, net["n_outputs"], DTYPES[net["dtype"]]
            )

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
        described = self.described
        reader = Reader(tensors, described.budget)
        module = self.module if self.built else None
        self.reader = EstimatorReader(self.estimators, self.decisions, module, reader)
        states = {prefix: self._taken(reader, f"{prefix}module.") for prefix in self.nets}
        outside = {}
        with refusing():
            self.encoders = [table.restore(reader) for table in described.tables]
            for prefix, net in self.nets.items():
                transpose(states[prefix], net["by_feature"])
                outside[prefix] = outside_of(net, "module", states[prefix], reader)
        for prefix, given in self.built.items():
            self._note("module", given.fill(states[prefix], outside[prefix]))
        with refusing():
            if described.members is None:
                estimator = self._fitted(described.model, reader, "", states[""], outside[""])
            else:
                fitted = [
                    self._fitted(member, reader, prefix, states[prefix], outside[prefix])
                    for member, prefix in zip(described.members, self.nets, strict=True)
                ]
                estimator = self._ensemble(fitted, reader)
            is_multilabel = any(net["task"] == Labels.name for net in self.nets.values())
            estimator = self.reader.around(
                estimator, described.around[::-1], is_multilabel=is_multilabel
            )
            if reader.tensors:
                raise FileFormatError(f"the file has {len(reader.tensors)} unexpected tensors.")
        return estimator

    def _note(self, part: str, lacking: list[str]) -> None:
        self.lacking += [f"{part}.{name}" for name in lacking]

    def _ensemble(self, members: list[Any], reader: Reader) -> Any:
        described = self.described.model
        ensemble = self.reader.unfitted(described)
        first, task = members[0], members[0].net_.task
        if not all(isinstance(member, type(ensemble._base)) for member in members):
            raise FileFormatError("the members of the ensemble are of another type.")
        if not all(_same_data(member, first) for member in members):
            raise FileFormatError("the members of the ensemble are for different data.")
        if ensemble._blends != ("blend" in described):
            raise FileFormatError(
                "a portfolio has shares of its members, other ensembles have none."
            )
        if ensemble._blends:
            ensemble.__dict__.update(restore_blend(described["blend"], len(members), reader))
        ensemble._publish(members)
        ensemble.interrupted_ = described["interrupted"]
        if isinstance(task, ClassificationTask):
            ensemble._links()  # raises an error now if target_prior cannot be described
        if "out_of_fold" in described:
            is_vector = getattr(first, "_is_vector_", False)
            ensemble.__dict__.update(
                restore_out_of_fold(
                    described["out_of_fold"],
                    task,
                    len(ensemble._fold_models()),
                    is_vector=is_vector,
                    reader=reader,
                )
            )
        return ensemble

    def _fitted(
        self,
        document: Document,
        reader: Reader,
        prefix: str,
        state: dict[str, Tensor],
        outside: Outside,
    ) -> Any:
        estimator = self.reader.unfitted(document)
        net, shape = document["net"], tuple(document["net"]["input_shape"])
        attributes = {name: reader.decode(v, ("plain",)) for name, v in net["attributes"].items()}
        tasks = {task.name: task for task in estimator._tasks}
        if net["task"] not in tasks:
            raise FileFormatError("the estimator and its net are for different tasks.")
        check_state(attributes, tasks[net["task"]], net["n_outputs"], shape)
        encoder = self.encoders[net["table"]] if "table" in net else None
        _check_names(encoder, attributes.get("feature_names_in_"))
        task: Task = tasks[net["task"]].restored(net["n_outputs"], attributes)
        if prefix in self.built:
            module = self.built[prefix].module
        else:
            module = self._build_ours(estimator, net, prefix)
            check_weights(module, state, outside.extra)
            if fill(module, state, outside, assign=True):
                raise FileFormatError("the file lacks buffers of the module.")
        self.described.inputs[prefix].check(module)
        loss = _prepared_loss(net, task, reader, attributes)
        learned = self._taken(reader, f"{prefix}loss.")
        self._note("loss", _fill_loss(loss, learned, outside_of(net, "loss", learned, reader)))
        freeze({"module": module, "loss": loss}, net["frozen"])
        rows = self.described.inputs[prefix]
        given = shape if rows.dtypes is None else rows.given_shape
        estimator.__dict__.update(attributes, _input_shape=given, _part_names=rows.names)
        spec = net_spec(
            estimator, task, net["batch_size"], dtype=DTYPES[net["dtype"]], device=self.device
        )
        spec = replace(spec, precision=net.get("precision"))  # it may have been set after the fit
        estimator.net_ = restored_net(module, loss, spec, records_of(net["history"], reader))
        estimator.net_.input_dtype = rows.dtypes
        if encoder is not None:
            estimator._columns = encoder.columns
            estimator.net_.__dict__["encoder_"] = encoder  # skorch would take it for a module
        if rows.tables:
            places = tables_in(net["inputs"])
            encoders = {key: self.encoders[place] for key, place in places.items()}
            for key, table in encoders.items():
                _check_names(table, (rows.names or {}).get(key))
            estimator._columns = {key: encoder.columns for key, encoder in encoders.items()}
            estimator.net_.tables = InputTables(encoders, {})
        self._try_out(estimator, net)
        return estimator

    def _try_out(self, estimator: Any, net: Document) -> None:
        """Check that loss and link work on outputs of this width."""
        zeros = torch.zeros(
            2, net["n_outputs"], dtype=DTYPES[net["dtype"]], device=estimator.net_.device
        )
        with torch.no_grad():
            estimator.net_.try_loss(zeros)
            is_classifier = isinstance(estimator.net_.task, ClassificationTask)
            if is_classifier and estimator._link()(zeros).shape != zeros.shape:
                raise FileFormatError("the loss is for another number of classes.")

    def _taken(self, reader: Reader, prefix: str) -> dict[str, Tensor]:
        """Take the tensors whose names begin with a prefix, and return them without the prefix."""
        return {
            name.removeprefix(prefix): reader.take(name) for name in self.described.parts[prefix]
        }


def _columns_of(member: Any) -> Any:
    """Return what was encoded: None, True for a table, or the names of tables among the inputs."""
    columns = member._columns
    return list(columns) if isinstance(columns, dict) else columns is not None


def _same_data(member: Any, first: Any) -> bool:
    """Return whether two members of an ensemble were fitted on rows and targets of one form."""
    for one, other in (
        (member.net_.task.kind, first.net_.task.kind),
        (member._input_shape, first._input_shape),
        (_columns_of(member), _columns_of(first)),
        (member.net_.input_dtype, first.net_.input_dtype),
        (getattr(member, "_is_vector_", None), getattr(first, "_is_vector_", None)),
    ):
        if one != other:
            return False
    classes = getattr(member, "classes_", None)
    return classes is None or not (classes != first.classes_).any()


def _check_names(encoder: TableEncoder | None, names: Any) -> None:
    """Raise FileFormatError if an encoder and its estimator have other names of columns."""
    if encoder is None or names is None:
        return
    if encoder.columns.names != tuple(names):
        raise FileFormatError("the encoder of the columns has other names than the estimator.")


def _prepared_loss(net: Document, task: Task, reader: Reader, attributes: Document) -> Any:
    """Build the loss, and prepare it for the classes."""
    loss = reader.decode(net["loss"], (task.loss_kind,))
    is_classifier = isinstance(task, ClassificationTask)
    if not isinstance(loss, BaseLoss if is_classifier else BaseRegressionLoss):
        raise FileFormatError("the loss section is not a valid loss.")
    loss.to(DTYPES[net["dtype"]])
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
