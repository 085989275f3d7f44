"""Estimators in a file: their classes and parameters, and meta-estimators around a fitted one."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from imbtorch._publish.model_file.decisions import Decision
from imbtorch._publish.model_file.save import LOCAL, Document
from imbtorch._publish.model_file.state import has
from imbtorch._publish.model_file.values import Reader
from imbtorch.exceptions import FileFormatError

__all__ = ["EstimatorReader"]

_KINDS = {
    "loss": ("loss", "regression_loss", "torch_loss"),
    "module": ("module",),
    "sampler": ("sampler",),
    "features": ("features",),
    "recipes": ("loss", "regression_loss", "torch_loss", "module", "sampler", "features"),
}


class EstimatorReader:
    """Builder of estimators from the parameters in a file.

    Parameters
    ----------
    estimators : dict of str to type
        Classes of estimators that a file may name.
    decisions : dict of type to Decision
        Meta-estimators that a file may name.
    module : object or None
        The module that the caller gives, which stands for one that is not in the file.
    reader : Reader
        Reader of the values in the file.
    """

    def __init__(
        self,
        estimators: dict[str, type],
        decisions: dict[type, Decision],
        module: Any,
        reader: Reader,
    ) -> None:
        self.classes = {**estimators, **{cls.__name__: cls for cls in decisions}}
        self.decisions, self.module, self.reader = decisions, module, reader

    def unfitted(self, document: Document, inside: Sequence[Any] = ()) -> Any:
        """Build an estimator from its class and its parameters.

        Parameters
        ----------
        document : dict
            Description with ``estimator`` and ``params``.
        inside : sequence of estimators, default=()
            Fitted estimators that a meta-estimator may have as a parameter.

        Raises
        ------
        FileFormatError
            If a file may not name the class, or cannot hold a parameter, or names an unknown one.
        TypeError, ValueError
            If a parameter is out of range.
        """
        cls = self.classes.get(document["estimator"])
        if cls is None:
            raise FileFormatError(f"{document['estimator'][:80]!r} is not an imbtorch estimator.")
        known = signature(cls).parameters
        for name in document["params"]:
            if name not in known:
                raise FileFormatError(f"{cls.__name__} has no parameter {name[:80]!r}.")
        params = {
            name: self._parameter(name, value, cls, inside)
            for name, value in document["params"].items()
        }
        if "features" in known:
            params.setdefault("features", None)  # files of version 0.1.0 do not have it
        estimator: Any = cls(**params)
        if cls not in self.decisions or not self.decisions[cls].is_frozen:
            estimator._validate_params()
        estimator.get_params(deep=True)
        return estimator

    def _parameter(self, name: str, value: Any, cls: type, inside: Sequence[Any]) -> Any:
        tags = set(value) if isinstance(value, dict) else set()
        if "$caller" in tags and name == "module" and self.module is not None:
            return self.module
        if "$estimator" in tags and name == "estimator":
            has(value["$estimator"], {"estimator": str, "params": dict})
            return self.unfitted(value["$estimator"], inside)
        if "$fitted" in tags and name == "estimator":
            return _fitted_one(value, inside)
        if name in LOCAL and value is not None or name == "callbacks" and value not in (None, []):
            raise FileFormatError(f"a file cannot hold {name}.")
        decoded = self.reader.decode(value, _KINDS.get(name, ()))
        components = getattr(cls, "_components", {})
        if name in components and isinstance(decoded, str):
            components[name](decoded)  # raises an error if the name is unknown
        return decoded

    def around(self, estimator: Any, described: list[Document], *, is_multilabel: bool) -> Any:
        """Build the meta-estimators around a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            The fitted estimator.
        described : list of dict
            Descriptions of the meta-estimators, from the inside out.
        is_multilabel : bool
            Whether rows have several labels.

        Returns
        -------
        estimator
            The outermost meta-estimator; ``estimator`` itself if there is none.

        Raises
        ------
        FileFormatError
            If an attribute of a meta-estimator is missing, unknown or not valid.
        """
        inside = [estimator]
        for document in described:
            meta, inner = self.unfitted(document, inside), inside[-1]
            decision = self.decisions[type(meta)]
            attributes = {
                name: _fitted_one(v, inside) if name == "estimator_" else self.reader.decode(v)
                for name, v in document["attributes"].items()
            }
            required = set(decision.required)
            if not required <= attributes.keys() <= {*required, *decision.optional}:
                raise FileFormatError("attributes of a meta-estimator are missing or unknown.")
            meta.__dict__.update(attributes)
            if attributes.get("estimator_", meta.estimator) is not inner:
                raise FileFormatError("a meta-estimator is not around what is inside.")
            decision.check(meta, inner, is_multilabel)
            inside.append(meta)
        return inside[-1]


def _fitted_one(value: Any, inside: Sequence[Any]) -> Any:
    """Return the fitted estimator that stands for a value."""
    depth: int = has(value, {"$fitted": int})["$fitted"]
    if not 0 <= depth < len(inside):
        raise FileFormatError("a meta-estimator names a fitted estimator that is not inside.")
    return inside[depth]
