"""The classes that a file may name: registered classes, and a fixed list of torch's losses."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch import nn

from imbtorch._common.sklearn_private import validate_parameter_constraints
from imbtorch._data.target_scaling import TargetScale
from imbtorch.exceptions import FileFormatError
from imbtorch.features._base import FEATURES
from imbtorch.losses import TorchLoss, all_losses
from imbtorch.losses._scores import TauNormalizedScores
from imbtorch.losses.regression import TorchRegressionLoss, all_regression_losses
from imbtorch.modules._build import MODULES
from imbtorch.samplers import all_samplers

__all__ = ["PLAIN", "build", "classes_of", "key_of", "params_of"]

PLAIN = "plain"  # kind of objects with attributes for parameters
_TORCH_LOSSES = (
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.CrossEntropyLoss,
    nn.HuberLoss,
    nn.KLDivLoss,
    nn.L1Loss,
    nn.MSELoss,
    nn.MultiMarginLoss,
    nn.NLLLoss,
    nn.PoissonNLLLoss,
    nn.SmoothL1Loss,
    nn.SoftMarginLoss,
)
_DEPRECATED = {"size_average", "reduce"}  # of torch's losses
_FIXED: dict[str, dict[str, type]] = {
    "torch_loss": {cls.__name__: cls for cls in _TORCH_LOSSES},
    PLAIN: {"target_scale": TargetScale},
}


def classes_of(kind: str) -> dict[str, type]:
    """List the classes of a kind that files may name, also those that the user has registered.

    Parameters
    ----------
    kind : str
        ``"loss"``, ``"regression_loss"``, ``"torch_loss"``, ``"sampler"``, ``"module"``,
        ``"features"`` or ``"plain"``.

    Returns
    -------
    dict of str to type
        By key. Empty if there is no such kind.
    """
    if kind == "loss":
        return {**all_losses(), "torch": TorchLoss, "tau_normalized_scores": TauNormalizedScores}
    if kind == "regression_loss":
        return {**all_regression_losses(), "torch": TorchRegressionLoss}
    if kind == "sampler":
        return dict(all_samplers())
    if kind == "module":
        return dict(MODULES)
    if kind == "features":
        return dict(FEATURES)
    return _FIXED.get(kind, {})


def key_of(cls: type) -> tuple[str, str] | None:
    """Return kind and key of a class; None if files cannot name it."""
    for kind in ("loss", "regression_loss", "sampler", "module", "features", *_FIXED):
        for key, known in classes_of(kind).items():
            if known is cls:  # a subclass may hold more than its parameters
                return kind, key
    return None


def params_of(kind: str, value: Any) -> dict[str, Any]:
    """Return the parameters from which an object of this kind is built again."""
    if kind == "torch_loss":
        names = set(signature(type(value)).parameters) - _DEPRECATED
        return {name: getattr(value, name) for name in sorted(names)}
    if kind == PLAIN:
        return dict(vars(value))
    params: dict[str, Any] = value.get_params(deep=False)
    return params


def build(kind: str, key: str, params: dict[str, Any]) -> Any:
    """Build an object of a registered class, its parameters checked.

    Raises
    ------
    FileFormatError
        If there is no such class.
    TypeError, ValueError
        If a parameter is unknown or out of range.
    """
    classes = classes_of(kind)
    if key not in classes:
        raise FileFormatError(
            f"there is no {kind} {key[:80]!r} here. Upgrade imbtorch; or, if it is your own "
            "class, define it before you load the file."
        )
    built = classes[key](**params)
    constraints = {
        **getattr(built, "_base_constraints", {}),
        **getattr(built, "_parameter_constraints", {}),
    }
    if constraints:
        validate_parameter_constraints(constraints, built.get_params(deep=False), key)
    elif kind == "torch_loss":
        _check_plain(params)
    return built


def _check_plain(params: dict[str, Any]) -> None:
    for name, value in params.items():
        if not isinstance(value, bool | int | float | str | torch.Tensor | None):
            raise FileFormatError(f"{name} of a torch loss must be a number, text or a tensor.")
