"""Encoders of the tables among several inputs, as the parameter ``features`` names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import clone

from imbtorch._common.inputs import Inputs, Key, is_one_sequence
from imbtorch._common.sequences import Sequences
from imbtorch.features import FeatureEncoder, get_features
from imbtorch.modules._input_tables import InputTables

__all__ = [
    "features_by_input",
    "fitted_by_input",
    "nested_parameters",
    "with_nested_parameters",
]

_PREFIX = "features__"


def features_by_input(features: Mapping[Any, Any], X: Any) -> dict[Key, FeatureEncoder] | None:
    """Return the encoder of each table among several inputs; None if there is none.

    Parameters
    ----------
    features : dict
        Names, encoders or None by the name or the position of an input.
    X : Inputs, array-like or Dataset
        Features as the user gave them.

    Raises
    ------
    ValueError
        If ``X`` is one input, a name is unknown, or an input is no table.
    """
    if not isinstance(X, Inputs) or is_one_sequence(X.input_shape):
        raise ValueError(f"features={features!r} names encoders of single inputs, {_instead(X)}")
    unknown = [key for key in features if type(key) not in (str, int) or key not in X.parts]
    if unknown:
        raise ValueError(
            f"features names {unknown}, but the inputs in X are {list(X.parts)}. Name an input as "
            "the mapping does; inputs in a tuple are named by their positions."
        )
    chosen = {key: _encoder(key, value) for key, value in features.items() if value is not None}
    for key, encoder in chosen.items():
        _check_table(key, X.parts[key], features[key])
        encoder.validate()
    return chosen or None


def _instead(X: Any) -> str:
    """Say what ``X`` is in place of several arrays, and what to do."""
    if isinstance(X, Inputs):
        return (
            "but X holds sequences of unequal length alone. Use features=None, and scale the steps "
            "before."
        )
    if hasattr(X, "__getitem__") and hasattr(X, "input_shape"):
        return (
            "but X is a Dataset, whose items are encoded already. Use features=None, and encode "
            "the items in the Dataset; or give a mapping or a tuple of arrays and frames."
        )
    return (
        "but X is one array. Use features='table' or an encoder; or give a mapping or a tuple of "
        "inputs."
    )


def _encoder(key: Key, value: Any) -> FeatureEncoder:
    """Return the encoder that the user names for an input."""
    if isinstance(value, str):
        return get_features(value)
    if not isinstance(value, FeatureEncoder):
        raise ValueError(
            f"features[{key!r}] must be 'table', an object such as TableFeatures(), or None; got "
            f"{value!r}."
        )
    return value


def _check_table(key: Key, part: Any, features: Any) -> None:
    """Raise ValueError if an input has no columns that could be encoded."""
    what = ""
    if isinstance(part, Sequences):
        what = "holds sequences of unequal length"
    elif (n_dimensions := _n_dimensions(part)) > 2:
        what = f"has {n_dimensions} dimensions"
    if what:
        raise ValueError(
            f"features[{key!r}]={features!r} encodes the columns of a table, but X[{key!r}] {what}."
            f" Leave {key!r} out of features, and scale its values before."
        )


def _n_dimensions(part: Any) -> int:
    if hasattr(part, "shape"):
        return len(part.shape)
    try:
        return int(np.ndim(part))
    except ValueError:  # rows of unequal length, which reading them reports
        return 2


def fitted_by_input(
    features: Any, tables: InputTables, names: Mapping[Key, Any]
) -> dict[Key, FeatureEncoder]:
    """Return the fitted encoders of tables among several inputs.

    Parameters
    ----------
    features : dict
        Parameter ``features`` of the estimator.
    tables : InputTables
        What was learned.
    names : dict of str or int to ndarray
        Names of the columns, of those tables that have names.
    """
    fitted: dict[Key, FeatureEncoder] = {}
    for key, encoder in tables.encoders.items():
        known: Any = clone(_encoder(key, features[key]))
        known.encoder_, known.n_features_in_ = encoder, encoder.columns.n_columns
        if key in names:
            known.feature_names_in_ = names[key]
        fitted[key] = known
    return fitted


# -- parameters of the encoders, for searches ----------------------------------------------------


def nested_parameters(features: Any) -> dict[str, Any]:
    """Return the parameters of the encoders of tables by names such as ``features__table__fill``.

    Parameters
    ----------
    features : object
        Parameter ``features`` of an estimator; only a dict has such parameters.
    """
    if not isinstance(features, dict):
        return {}
    found: dict[str, Any] = {}
    for key, value in features.items():
        try:
            encoder = _encoder(key, value)
        except ValueError:
            continue  # a name that is not known is reported by fit, not while printing
        own = encoder.get_params(deep=True)
        found |= {f"{_PREFIX}{key}__{name}": setting for name, setting in own.items()}
    return found


def with_nested_parameters(features: dict[Any, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters to set, in which those of the encoders of tables became one dict.

    The encoders are copied before they are changed, because a copy of the estimator may share them.

    Parameters
    ----------
    features : dict
        Value of ``features``, the new one if it is set, too.
    params : dict
        Parameters to set, such as ``{"lr": 0.1, "features__table__fill": "median"}``.

    Raises
    ------
    ValueError
        If a table has no encoder, or the encoder has no parameter of this name.
    """
    others = {name: value for name, value in params.items() if not name.startswith(_PREFIX)}
    if len(others) == len(params):
        return params
    changed = dict(features)
    keys = {str(key): key for key in features}
    for name in (name for name in params if name not in others):
        named, _, setting = name.removeprefix(_PREFIX).rpartition("__")
        if named not in keys or changed[keys[named]] is None:
            raise ValueError(
                f"{name} is no parameter of an encoder: features names the inputs {list(features)},"
                f" whose parameters are called as in {_PREFIX}{next(iter(keys), 'table')}__scaling."
            )
        key = keys[named]
        encoder = clone(_encoder(key, changed[key]))
        changed[key] = encoder.set_params(**{setting: params[name]})
    return {**others, "features": changed}
