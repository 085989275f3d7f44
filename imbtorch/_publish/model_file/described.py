"""What a document describes: its form and its sizes, compared with the header of the file."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import torch

from imbtorch._publish.model_file.decisions import MAX_DEPTH
from imbtorch._publish.model_file.net_input import NetInput
from imbtorch._publish.model_file.several_inputs import inputs_of, tables_in
from imbtorch._publish.model_file.state import has
from imbtorch._publish.model_file.tables import SavedTable
from imbtorch._publish.model_file.values import MAX_MEMBERS, Budget
from imbtorch._safe_file import Layout
from imbtorch.exceptions import FileFormatError

__all__ = ["DTYPES", "Described"]

Document = dict[str, Any]

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
# of nets that have them
_OPTIONAL = {
    "buffers": dict,
    "extra_state": dict,
    "table": int,
    "inputs": dict,
    "precision": str,
}
_META = {"estimator": str, "params": dict, "attributes": dict, "fitted": dict}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
_MAX_SIZE = 2**40


class Described:
    """A model that a document describes, of which only the sizes are known at first.

    Parameters
    ----------
    document : dict
        Document from a file, which :func:`write_model` has made.
    layout : Layout
        Dtypes and shapes of the tensors in the file.

    Attributes
    ----------
    model : dict
        Description of the fitted estimator.
    around : list of dict
        Descriptions of the meta-estimators around it, from the outside in.
    members : list of dict or None
        Descriptions of the members, if it is an ensemble.
    nets : dict of str to dict
        Descriptions of the nets, by the prefix of the names of their tensors.
    tables : list of SavedTable
        Encoders of tables.
    inputs : dict of str to NetInput
        What the rows are that each net gets, by prefix.
    parts : dict of str to list of str
        Names of tensors by net and part, such as ``"3.module."``.
    budget : Budget
        Memory that the content of the file may take.

    Raises
    ------
    FileFormatError
        If the document is not valid, or does not fit the tensors of the file.
    """

    def __init__(self, document: Document, layout: Layout) -> None:
        self.layout = layout
        sizes = [torch.Size(shape).numel() * dtype.itemsize for dtype, shape in layout.values()]
        self.budget = Budget(sum(sizes))
        self.parts = _parts(layout)
        self.tables = self._tables(document)
        self.model, self.around = _taken_apart(document)
        self.members: list[Document] | None = self.model.get("members")
        self.nets = self._nets()
        self.inputs = self._inputs()

    def numbers(self, prefix: str) -> int:
        """Count the numbers of the weights that the file holds for a net."""
        names = self.parts[f"{prefix}module."]
        return sum(torch.Size(self.layout[name][1]).numel() for name in names)

    def _nets(self) -> dict[str, Document]:
        """Check the form of the document, and return the descriptions of the nets by prefix."""
        members = self.members
        if members is None:
            has(self.model, {"estimator": str, "params": dict, "net": dict})
            nets = {"": self.model["net"]}
        else:
            expected = {"estimator": str, "params": dict, "members": list, "interrupted": bool}
            parts = [part for part in ("out_of_fold", "blend") if part in self.model]
            has(self.model, expected | dict.fromkeys(parts, dict))
            if len(members) > MAX_MEMBERS:
                raise FileFormatError(
                    f"the ensemble has {len(members)} members, more than {MAX_MEMBERS}."
                )
            for member in members:
                has(member, {"estimator": str, "params": dict, "net": dict})
            nets = {f"{i}.": member["net"] for i, member in enumerate(members)}
        if not nets:
            raise FileFormatError("the ensemble has no members.")
        described = [self.model] if members is None else members
        for net, model in zip(nets.values(), described, strict=True):
            has(net, _NET | {key: _OPTIONAL[key] for key in _OPTIONAL.keys() & net.keys()})
            module = model["params"].get("module")
            from_caller = isinstance(module, dict) and set(module) == {"$caller"}
            if from_caller != (net["module"] is not None):
                raise FileFormatError("params and net disagree about where the module comes from.")
            sizes = [*net["input_shape"], net["n_outputs"], net["batch_size"]]
            known = all(type(size) is int and 0 < size < _MAX_SIZE for size in sizes)
            if not known or net["dtype"] not in DTYPES or not 0 < len(net["input_shape"]) <= 16:
                raise FileFormatError("the sizes or the dtype of a net are not valid.")
            if net.get("precision") not in (None, "bfloat16", "float16"):
                raise FileFormatError("the precision of a net is not valid.")
            if 128 * net["n_outputs"] > self.budget.left:  # outputs on which the loss is tried
                raise FileFormatError("the file is too small for so many outputs of its net.")
        return nets

    def _tables(self, document: Document) -> list[SavedTable]:
        """Check the sizes of the encoders of tables."""
        described = document.pop("tables", [])
        if not isinstance(described, list) or len(described) > MAX_MEMBERS:
            raise FileFormatError("the list of the encoders of tables is not valid.")
        return [
            SavedTable(table, f"table.{i}.", self.layout, self.budget)
            for i, table in enumerate(described)
        ]

    def _inputs(self) -> dict[str, NetInput]:
        """Return what the rows are that each net gets, by prefix."""
        used = {net["table"] for net in self.nets.values() if "table" in net}
        for net in self.nets.values():
            used |= set(tables_in(net.get("inputs", {})).values())
        if used != set(range(len(self.tables))):
            raise FileFormatError("the encoders of tables are not those that the nets name.")
        return {prefix: self._input(net, prefix) for prefix, net in self.nets.items()}

    def _input(self, net: Document, prefix: str) -> NetInput:
        if "inputs" in net:
            rows = inputs_of(net["inputs"], self.tables, self.layout, f"{prefix}module.")
            is_several = net["input_shape"] == [len(rows.shape)] and "table" not in net
            of_one_dtype = all(
                self.tables[place].dtype == net["dtype"]
                for place in tables_in(net["inputs"]).values()
            )
            if not is_several or net["module"] is None or not of_one_dtype:
                raise FileFormatError("the inputs of a net do not fit its description.")
            return rows
        if "table" not in net:
            return NetInput(tuple(net["input_shape"]))
        table = self.tables[net["table"]]
        if net["input_shape"] != [table.n_columns] or net["dtype"] != table.dtype:
            raise FileFormatError("a net and the encoder of its table do not fit together.")
        return NetInput.of_file(table, self.layout, f"{prefix}module.")


def _taken_apart(document: Document) -> tuple[Document, list[Document]]:
    """Return the description of the fitted estimator, and of the meta-estimators around it."""
    around: list[Document] = []
    while "fitted" in document:
        around.append(has(document, _META))
        document = document["fitted"]
        if len(around) >= MAX_DEPTH:
            raise FileFormatError("there are too many meta-estimators around each other.")
    return document, around


def _parts(layout: Layout) -> dict[str, list[str]]:
    """Group the names of tensors by net and part, such as ``"3.module."``."""
    parts: dict[str, list[str]] = defaultdict(list)
    for name in layout:
        found = re.match(r"(\d+\.)?(module|loss)\.", name)
        if found:
            parts[found[0]].append(name)
    return parts
