"""The recipes of a portfolio: parameters of a net that were found on development data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CLASSIFIER_RECIPES", "REGRESSOR_RECIPES", "resolve_recipes"]

Recipes = Mapping[str, Mapping[str, Any]]

_PLAIN = {"features__numeric_embedding": None}
_BINS = {"features__numeric_embedding": "piecewise_linear"}
_WAVES = {"features__numeric_embedding": "periodic", "module__normalization": "layer"}


def _mlp(**params: Any) -> dict[str, Any]:
    return {"module": "mlp", "max_epochs": "auto", **params}


# The first ones differ most from each other, for portfolios whose time ends early. TabM takes
# longest, and is the last one. Chosen on the development sets of the board: docs/board.md.
CLASSIFIER_RECIPES: Recipes = {
    "plain": _mlp(**_PLAIN),
    "bins, dropout": _mlp(**_BINS, module__dropout=0.3),
    "periodic": _mlp(**_WAVES),
    "linear": _mlp(**_PLAIN, module__hidden_sizes=(), lr=0.01),
    "quantile": _mlp(**_PLAIN, features__scaling="quantile"),
    "bins": _mlp(**_BINS),
    "tabm": {"module": "tabm", "max_epochs": "auto", "features__numeric_embedding": "auto"},
}
REGRESSOR_RECIPES: Recipes = CLASSIFIER_RECIPES


def resolve_recipes(
    recipes: Any, default: Recipes, module: Any, features: Any
) -> dict[str, dict[str, Any]]:
    """Return the parameters of each recipe by its name.

    Parameters
    ----------
    recipes : "default" or dict of str to dict
        What the user gave.
    default : dict of str to dict
        The recipes of the package.
    module, features : object
        Parameters of the estimator from which the recipes start.

    Raises
    ------
    ValueError
        If there is no recipe, one of them is not a mapping with a name, or the recipes of the
        package would replace a module that the user has stated, or get no table.
    """
    if isinstance(recipes, str):  # the constraints of the parameter allow no other string
        if not (isinstance(module, str) and module == "tabm"):  # not the default of the estimator
            raise ValueError(
                "recipes='default' choose the module themselves, and would ignore "
                f"module={module!r} of the estimator. Leave the module out, or give recipes of "
                "your own, such as {'short': {'max_epochs': 10}, 'long': {'max_epochs': 40}}."
            )
        if features is None:
            raise ValueError(
                "recipes='default' are for tables, whose columns they encode; features=None of the "
                "estimator leaves rows as they are. Leave features out, with one row of numbers "
                "per sample, or give recipes of your own, such as {'short': {'max_epochs': 10}}."
            )
        recipes = default
    if not recipes:
        raise ValueError(
            "recipes is empty; give at least one recipe, such as {'plain': {}}, or 'default'."
        )
    for name, params in recipes.items():
        if not isinstance(name, str) or not isinstance(params, Mapping):
            raise ValueError(
                "recipes must map names to parameters of the estimator, such as "
                f"{{'wide': {{'module__hidden_sizes': (512, 256)}}}}; got {name!r}: {params!r}."
            )
    return {name: dict(params) for name, params in recipes.items()}
