"""From a fitted estimator to a document and tensors."""

from __future__ import annotations

import os
from inspect import signature
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from imbtorch._common.versions import versions
from imbtorch._publish.model_file.state import SAVED
from imbtorch._publish.model_file.values import Writer
from imbtorch._safe_file import write_file
from imbtorch.modules import MLP, build_module

__all__ = ["LOCAL", "SaveMixin", "describe", "is_ours"]

Document = dict[str, Any]
# Parameters that name places on this machine: whoever refits a loaded estimator must not write to
# a folder of somebody else's choice.
LOCAL = ("checkpoint",)
_OTHER_LOSS = (
    "Files hold losses that have a name, and torch's common ones. Give a class of your own a "
    "`name`, and define it before the file is loaded; or use pickle."
)


class SaveMixin:
    """Give a fitted estimator ``save``."""

    _validate_params: Any  # of the estimator

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a file that is safe to load.

        It is one safetensors file: numbers and text, no code. Whatever stood at ``path`` is
        replaced when the new file is complete; a failure leaves it as it was.

        Parameters
        ----------
        path : str or os.PathLike
            Name of the file. Any ending will do; ``.safetensors`` tells other programs what it is.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If a parameter is code, such as a callable or a callback; the message says which one,
            and how to save without it.
        OSError
            If the file cannot be written.

        See Also
        --------
        imbtorch.load : Read it.

        Notes
        -----
        A ``module`` of your own is code: the file holds its weights, and ``load`` asks for the
        module. What the optimizer remembers is not saved; more training begins with a new one.
        ``checkpoint`` is a place on this machine, and None in the file.

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
        check_is_fitted(self)
        self._validate_params()
        writer = Writer()
        document = {"kind": "model", "versions": versions(), **describe(self, writer)}
        write_file(path, document, writer.tensors)


def describe(estimator: Any, writer: Writer, prefix: str = "") -> Document:
    """Describe a fitted estimator, and its members where it has some.

    Parameters
    ----------
    estimator : SaveMixin
        Fitted.
    writer : Writer
        Takes the tensors.
    prefix : str, default=""
        Of the names of the tensors of module and loss.

    Returns
    -------
    dict
        Of ``estimator``, ``params``, and ``net`` or ``members`` and ``interrupted``.

    Raises
    ------
    ValueError
        If something cannot be written.
    """
    members = getattr(estimator, "estimators_", None)
    described = _unfitted(estimator, writer)
    if members is None:
        return {**described, "net": _NetDescription(estimator, writer, prefix).describe()}
    return {
        **described,
        "members": [describe(m, writer, f"{i}.") for i, m in enumerate(members)],
        "interrupted": bool(estimator.interrupted_),
    }


def is_ours(module: Any) -> bool:
    """Tell a module that a file can describe from one of the user's making."""
    return isinstance(module, str) or module is MLP or type(module) is MLP


def _unfitted(estimator: Any, writer: Writer) -> Document:
    cls = type(estimator)
    if not cls.__module__.startswith("imbtorch."):
        raise ValueError(
            f"{cls.__name__} is not one of imbtorch's own classes, the only ones that a file may "
            "name. Use pickle, or an estimator of the class that it derives from."
        )
    params = estimator.get_params(deep=False)
    encoded = {name: _parameter(cls, name, value, writer) for name, value in params.items()}
    return {"estimator": cls.__name__, "params": encoded}


def _parameter(cls: type, name: str, value: Any, writer: Writer) -> Any:
    if isinstance(value, SaveMixin):
        return {"$estimator": _unfitted(value, writer)}
    if name == "module" and not is_ours(value):
        return {"$caller": name_of(value)}
    if name in LOCAL:
        return None
    if name == "callbacks" and value is not None and not len(value):
        return []
    default = signature(cls).parameters[name].default
    advice = (
        "Predictions do not depend on it: save after "
        f"set_params({name}={default!r}), and set it again on the estimator that load returns."
    )
    if name == "target_prior":
        advice = "Give it as a dict, a list or an array."
    return writer.encode(value, name, advice)


def name_of(module: Any) -> str:
    """Qualified name of what the user gave for a module, for people to read."""
    named = module if hasattr(module, "__qualname__") else type(module)
    return f"{named.__module__}.{named.__qualname__}"[:200]


class _NetDescription:
    """The description of a fitted net."""

    def __init__(self, estimator: Any, writer: Writer, prefix: str) -> None:
        self.estimator, self.net = estimator, estimator.net_
        self.writer, self.prefix = writer, prefix

    def describe(self) -> Document:
        net, estimator = self.net, self.estimator
        described = {
            "attributes": self._attributes(),
            "input_shape": list(estimator._input_shape),
            "task": net.task,
            "n_outputs": int(net.n_outputs),
            "dtype": str(net.dtype).removeprefix("torch."),
            "batch_size": int(net.batch_size),
            "history": self._history(list(net.history_)),
            "module": None if is_ours(estimator.module) else name_of(net.module_),
            "loss": self.writer.encode(net.criterion_, "loss_", _OTHER_LOSS),
            "frozen": self._frozen(),
            "by_feature": [],
        }
        if is_ours(estimator.module):
            self._check_unchanged()
        described["by_feature"] = self._add_state("module", net.module_)
        self._add_state("loss", net.criterion_)
        return described

    def _attributes(self) -> Document:
        names = SAVED[self.net.task]
        fitted = self.estimator._fitted_state()
        unknown = set(fitted) - set(names) - {"net_", "_input_shape"}
        if unknown:
            raise ValueError(f"Files do not know the attributes {sorted(unknown)}.")
        advice = "Use labels that are numbers, booleans or strings; or pickle."
        return {
            name: self.writer.encode(fitted[name], name, advice) for name in names if name in fitted
        }

    def _history(self, records: list[Document]) -> Document:
        """Column by column, so that long trainings take little room."""
        advice = "Files hold numbers and text in the history; do without that callback, or pickle."
        names = list(records[0]) if records else []
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
        """Complain if ``module`` is no longer what the net was built from."""
        estimator, net = self.estimator, self.net
        with torch.device("meta"):
            built = build_module(estimator.module, estimator._input_shape, net.n_outputs)
        if repr(built) != repr(net.module_):
            raise ValueError(
                f"module={estimator.module!r} has been changed since the fit, and no longer builds "
                "the net that was trained. Set it back, or fit again."
            )

    def _add_state(self, part: str, module: nn.Module) -> list[str]:
        """Keep the tensors of module or loss; name the matrices that are laid out by column."""
        by_feature = []
        parameters = dict(module.named_parameters(remove_duplicate=False))
        for name, value in module.state_dict().items():
            if not isinstance(value, Tensor):
                raise ValueError(
                    f"{type(module).__name__} has a state that is no tensor, {name}: "
                    f"{type(value).__name__}. Use pickle."
                )
            if name in parameters and not _is_finite(value):
                raise ValueError(
                    f"{part}_.{name} has values that are not finite; fit again, see on_divergence."
                )
            if value.ndim == 2 and value.t().is_contiguous() and not value.is_contiguous():
                by_feature.append(name)
                value = value.t()
            self.writer.tensors[f"{self.prefix}{part}.{name}"] = value
        return by_feature


def _packed(column: list[Any]) -> Any:
    """Make an array of numbers of one type; leave anything else a list."""
    kinds = {type(value) for value in column}
    if kinds in ({float}, {bool}) or (kinds == {int} and max(map(abs, column)) < 2**63):
        return np.array(column)
    return column


def _is_finite(value: Tensor) -> bool:
    if not value.is_floating_point() or not value.numel():
        return True
    return all(bool(bound.isfinite()) for bound in value.aminmax())
