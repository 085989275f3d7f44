"""Describe a fitted estimator by a document and tensors, and write them to a file."""

from __future__ import annotations

import os
from inspect import signature
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from imbtorch._common.log import logger
from imbtorch._common.versions import versions
from imbtorch._fit.fit import fitted_state
from imbtorch._publish.model_file.blends import describe_blend
from imbtorch._publish.model_file.decisions import Decision, chain_of, refused
from imbtorch._publish.model_file.net_input import NetInput
from imbtorch._publish.model_file.out_of_fold import describe_out_of_fold
from imbtorch._publish.model_file.outside import encoded_extra, outside_buffers
from imbtorch._publish.model_file.several_inputs import describe_inputs
from imbtorch._publish.model_file.tables import TableWriter
from imbtorch._publish.model_file.values import (
    ALLOWANCE,
    MAX_MEMBERS,
    Writer,
    bytes_of_records,
)
from imbtorch._safe_file import write_file
from imbtorch.modules import ModuleClass, is_builder

__all__ = ["LOCAL", "SaveMixin", "write_model"]

Document = dict[str, Any]
# Parameters that name folders on this machine. They are not saved: a loaded estimator that is
# fitted again must not write to a folder that somebody else has chosen.
LOCAL = ("checkpoint",)
_OTHER_LOSS = (
    "A file can hold losses with a name, and common losses of torch. Give your own loss class a "
    "`name`, and define the class before the file is loaded; or use pickle."
)


class SaveMixin(BaseEstimator):
    """Add the method ``save`` to an estimator."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a file that is safe to load.

        The file has the safetensors format: it holds numbers and text, no code. An existing file
        at ``path`` is replaced when the new file is complete; after a failure it is unchanged.

        Parameters
        ----------
        path : str or os.PathLike
            Name of the file, with any extension; other programs recognise ``.safetensors``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If a parameter is code, such as a callable or a callback; the message says which
            parameter it is, and how to save without it. Also if ``get_extra_state`` of the module
            returns what a file cannot hold.
        OSError
            If the file cannot be written.

        See Also
        --------
        imbtorch.save : Also for meta-estimators around a fitted estimator.
        imbtorch.load : Read the file.

        Notes
        -----
        Your own ``module`` is code: the file holds its parameters, all its buffers and what its
        ``get_extra_state`` returns, and ``load`` asks for the module. Other attributes of the
        module are not in the file. What was learned of the columns of a table, such as scales and
        categories, is in the file.
        The state of the optimizer is not saved; further training begins with a new optimizer.
        ``checkpoint`` is a folder on this machine, and is None in the file.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import imbtorch
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = imbtorch.ImbalancedNetClassifier(random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "iris.safetensors"
        ...     clf.save(path)
        ...     again = imbtorch.load(path)
        >>> bool((again.predict_proba(X) == clf.predict_proba(X)).all())
        True
        """
        write_model(self, path, {})


def write_model(model: Any, path: str | os.PathLike[str], decisions: dict[type, Decision]) -> None:
    """Write a fitted estimator, and the meta-estimators around it, to a file.

    Parameters
    ----------
    model : object
        Fitted estimator of any class.
    path : str or os.PathLike
        Name of the file.
    decisions : dict of type to Decision
        Meta-estimators that a file can hold.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    ValueError
        If a value cannot be written.
    """
    chain = chain_of(model, decisions)
    for part in chain:
        decision = decisions.get(type(part))
        if decision is None and not isinstance(part, SaveMixin):
            raise refused(part)
        if decision is None or decision.required:
            check_is_fitted(part, None if decision is None else list(decision.required))
        if decision is None or not decision.is_frozen:
            part._validate_params()
    described = _ModelDescription(chain, decisions)
    document = {"kind": "model", "versions": versions(), **described.document()}
    write_file(path, document, described.writer.tensors)
    logger.info("%s written to %s", type(model).__name__, os.fspath(path))


class _ModelDescription:
    """Description of a fitted model as a document and tensors.

    Parameters
    ----------
    chain : list of object
        The fitted estimator, and the meta-estimators around it from the inside out.
    decisions : dict of type to Decision
        What a file holds of meta-estimators.

    Attributes
    ----------
    writer : Writer
        Writer that has collected the tensors.
    """

    def __init__(self, chain: list[Any], decisions: dict[type, Decision]) -> None:
        self.chain, self.decisions = chain, decisions
        self.writer = Writer()
        self.tables = TableWriter(self.writer)

    def document(self) -> Document:
        """Return the document: that of each meta-estimator holds the one of what is inside."""
        owner = "".join("estimator_." for _ in self.chain[1:])
        document = self._fitted(self.chain[0], "", owner)
        for depth, meta in enumerate(self.chain[1:], start=1):
            owner = owner.removeprefix("estimator_.")
            document = {
                **self._unfitted(meta, owner),
                "attributes": self._decision(meta, depth),
                "fitted": document,
            }
        if self.tables.described:
            document["tables"] = self.tables.described
            self.tables.try_out()
        return document

    def _fitted(self, estimator: Any, prefix: str, owner: str) -> Document:
        """Describe a fitted estimator, and its members if it is an ensemble."""
        members = getattr(estimator, "estimators_", None)
        described = self._unfitted(estimator, owner)
        if members is not None and len(members) > MAX_MEMBERS:
            raise ValueError(
                f"The ensemble has {len(members)} members; a file holds at most {MAX_MEMBERS}. Use "
                "pickle, or save the members in estimators_ one by one."
            )
        if members is None:
            several = describe_inputs(estimator, self.tables)
            net = _NetDescription(estimator, self.writer, prefix).describe(several)
            encoder = estimator.net_.encoder_
            table = {} if encoder is None else {"table": self.tables.position(encoder)}
            return {**described, "net": net | table}
        left = describe_out_of_fold(estimator, self.writer)
        blend = describe_blend(estimator, self.writer)
        return {
            **described,
            **({"out_of_fold": left} if left else {}),
            **({"blend": blend} if blend else {}),
            "members": [
                self._fitted(member, f"{i}.", f"{owner}estimators_[{i}].")
                for i, member in enumerate(members)
            ],
            "interrupted": bool(estimator.interrupted_),
        }

    def _decision(self, meta: Any, depth: int) -> Document:
        """Encode the fitted attributes of a meta-estimator."""
        known = self.decisions[type(meta)]
        names = [n for n in (*known.required, *known.optional) if n in vars(meta)]
        unknown = set(fitted_state(meta)) - set(names)
        if unknown:
            raise ValueError(
                f"{type(meta).__name__} has attributes that a file cannot hold: {sorted(unknown)}."
            )
        inside = self.chain[:depth]
        advice = "Use labels that are numbers, booleans or strings; or use pickle."
        return {
            name: _place(value, inside) or self.writer.encode(value, name, advice)
            for name, value in ((name, vars(meta)[name]) for name in names)
        }

    def _unfitted(self, estimator: Any, owner: str) -> Document:
        """Describe the class and the parameters of an estimator, which ``owner`` leads to."""
        cls = type(estimator)
        if cls not in self.decisions and not cls.__module__.startswith("imbtorch."):
            raise ValueError(
                f"{cls.__name__} is not one of imbtorch's own classes, and a file may name no "
                "others. Use pickle, or an estimator of the imbtorch class that it derives from."
            )
        params = estimator.get_params(deep=False)
        encoded = {
            name: self._parameter(estimator, name, value, owner) for name, value in params.items()
        }
        return {"estimator": cls.__name__, "params": encoded}

    def _parameter(self, estimator: Any, name: str, value: Any, owner: str) -> Any:
        if name == "estimator":
            found = _place(value, self.chain) if type(estimator) in self.decisions else None
            if found or value is None:
                return found
            known = self.decisions.get(type(value))
            if not isinstance(value, SaveMixin) and (known is None or known.is_frozen):
                raise refused(value)
            return {"$estimator": self._unfitted(value, f"{owner}estimator.")}
        if name == "module" and not is_builder(value):
            return {"$caller": name_of(value)}
        if name in LOCAL:
            return None
        if name == "callbacks" and value is not None and not len(value):
            return []
        default = signature(type(estimator)).parameters[name].default
        advice = (
            "Predictions do not depend on it: save after "
            f"{owner}set_params({name}={default!r}), and set it again on the estimator that load "
            "returns."
        )
        if name == "target_prior":
            advice = "Give it as a dict, a list or an array."
        return self.writer.encode(value, f"{owner}{name}", advice)


def _place(value: Any, chain: list[Any]) -> Document | None:
    """Return what stands for a fitted estimator of the file; None for any other value."""
    for depth, known in enumerate(chain):
        if value is known:
            return {"$fitted": depth}
    return None


def name_of(module: Any) -> str:
    """Return the qualified name of the user's module, for messages."""
    if isinstance(module, ModuleClass):
        module = module.module_class
    named = module if hasattr(module, "__qualname__") else type(module)
    return f"{named.__module__}.{named.__qualname__}"[:200]


class _NetDescription:
    """Description of a fitted net as a document and tensors."""

    def __init__(self, estimator: Any, writer: Writer, prefix: str) -> None:
        self.estimator, self.net = estimator, estimator.net_
        self.writer, self.prefix = writer, prefix
        self.buffers: dict[str, bool] = {}  # those with persistent=False; whether they have a value
        self.extra: Document = {}

    def describe(self, several: Document | None) -> Document:
        """Return the document; ``several`` describes several inputs."""
        net, estimator = self.net, self.estimator
        n_inputs = int(estimator.n_features_in_)
        described = {
            "attributes": self._attributes(),
            "input_shape": list(estimator._input_shape) if several is None else [n_inputs],
            "task": net.task.name,
            "n_outputs": int(net.n_outputs),
            "dtype": str(net.dtype).removeprefix("torch."),
            "batch_size": int(net.batch_size),
            "history": self._history(list(net.history_)),
            "module": None if is_builder(estimator.module) else name_of(net.module_),
            "loss": self.writer.encode(net.criterion_, "loss_", _OTHER_LOSS),
            "frozen": self._frozen(),
            "by_feature": [],
        }
        if is_builder(estimator.module):
            self._check_unchanged()
        described["by_feature"] = self._add_state("module", net.module_)
        self._add_state("loss", net.criterion_)
        optional = {
            "buffers": self.buffers,
            "extra_state": self.extra,
            "inputs": several,
            "precision": None if net.half is None else net.half.precision,
        }
        return described | {name: value for name, value in optional.items() if value}

    def _attributes(self) -> Document:
        names = self.net.task.saved
        fitted = fitted_state(self.estimator)
        unknown = set(fitted) - set(names) - {"net_", "_input_shape", "_columns", "_part_names"}
        if unknown:
            raise ValueError(
                f"The estimator has attributes that a file cannot hold: {sorted(unknown)}."
            )
        advice = "Use labels that are numbers, booleans or strings; or use pickle."
        return {
            name: self.writer.encode(fitted[name], name, advice) for name in names if name in fitted
        }

    def _history(self, records: list[Document]) -> Document:
        """Encode the history column by column, so that a long history takes little space."""
        advice = (
            "A file can hold only numbers and text in the history; leave out the callback that "
            "recorded this value, or use pickle."
        )
        names = list(records[0]) if records else []
        free = ALLOWANCE * 3 // 4 + 24 * len(names) * len(records)
        if bytes_of_records(len(records), len(names)) > free:
            raise ValueError(
                f"history_ has {len(records)} records, more than a file can hold. Keep the last "
                "ones: del estimator.history_[:-50_000]; predictions do not depend on them."
            )
        if any(list(record) != names for record in records):
            rows = [self.writer.encode(record, "history_", advice) for record in records]
            return {"rows": rows}
        columns = {name: [record[name] for record in records] for name in names}
        return {
            "columns": {
                name: self.writer.encode(_packed(column), f"history_[{name!r}]", advice)
                for name, column in columns.items()
            }
        }

    def _frozen(self) -> list[str]:
        parts = {"module": self.net.module_, "loss": self.net.criterion_}
        return [
            f"{part}.{name}"
            for part, module in parts.items()
            for name, parameter in module.named_parameters()
            if not parameter.requires_grad
        ]

    def _check_unchanged(self) -> None:
        """Raise ValueError if ``module`` was changed after the net was built from it."""
        estimator, net = self.estimator, self.net
        rows = NetInput.of_net(net, estimator._input_shape)
        with torch.device("meta"):
            built = rows.build(estimator.module, net.n_outputs, net.dtype)
        if repr(built) != repr(net.module_):
            raise ValueError(
                f"module={estimator.module!r} has been changed since the fit, and no longer builds "
                "the net that was trained. Set module to its former value, or fit again."
            )

    def _add_state(self, part: str, module: nn.Module) -> list[str]:
        """Add the state of module or loss; return the names of matrices stored by column."""
        by_feature = []
        parameters = dict(module.named_parameters(remove_duplicate=False))
        extra = encoded_extra(part, module, self.writer)
        state = {n: v for n, v in module.state_dict().items() if f"{part}.{n}" not in extra}
        buffers = outside_buffers(module, state)
        self.extra |= extra
        self.buffers |= {f"{part}.{name}": value is not None for name, value in buffers.items()}
        for name, value in {**state, **buffers}.items():
            if value is None:
                continue
            _check_tensor(value, f"{part}_.{name}", type(module).__name__)
            if name in parameters and not _is_finite(value):
                raise ValueError(
                    f"{part}_.{name} has values that are not finite; fit again with a lower lr, "
                    "or see on_divergence."
                )
            if value.ndim == 2 and value.t().is_contiguous() and not value.is_contiguous():
                by_feature.append(name)
                value = value.t()
            self.writer.tensors[f"{self.prefix}{part}.{name}"] = value
        return by_feature


def _check_tensor(value: Any, where: str, name: str) -> None:
    """Raise ValueError if a part of the state of a module is not a tensor that a file can hold."""
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name} has the state {where}, which is not a tensor but a {type(value).__name__}. "
            "Return it from get_extra_state; or use pickle."
        )
    if value.layout != torch.strided:
        raise ValueError(
            f"{where} has the layout {value.layout}; a file can hold only dense tensors. Use "
            "to_dense(), or pickle."
        )


def _packed(column: list[Any]) -> Any:
    """Convert a list of numbers of one type to an array; return any other list unchanged."""
    kinds = {type(value) for value in column}
    if kinds in ({float}, {bool}) or (kinds == {int} and max(map(abs, column)) < 2**63):
        return np.array(column)
    return column


def _is_finite(value: Tensor) -> bool:
    if not value.is_floating_point() or not value.numel():
        return True
    return all(bool(bound.isfinite()) for bound in value.aminmax())
