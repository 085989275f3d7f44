"""The recipes of a portfolio: parameters of a net that were found on development data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CLASSIFIER_RECIPES", "REGRESSOR_RECIPES", "resolve_recipes"]

Recipes = Mapping[str, Mapping[str, Any]]

_PLAIN = {"max_epochs": "auto", "module": "mlp", "features__numeric_embedding": None}
_BINS = {**_PLAIN, "features__numeric_embedding": "piecewise_linear"}
_WAVES = {**_PLAIN, "features__numeric_embedding": "periodic"}
# Each recipe names module and embedding, so that they differ whatever net the estimator has. The
# first ones differ most from each other, for portfolios whose time ends early. TabM takes longest,
# and is the last one. Chosen on the development sets of the board: docs/board.md.
CLASSIFIER_RECIPES: Recipes = {
    "plain": _PLAIN,
    "bins, dropout": {**_BINS, "module__dropout": 0.3},
    "periodic": {**_WAVES, "module__normalization": "layer"},
    "linear": {**_PLAIN, "module__hidden_sizes": (), "lr": 0.01},
    "quantile": {**_PLAIN, "features__scaling": "quantile"},
    "bins": _BINS,
    "tabm": {**_WAVES, "module": "tabm"},
}
REGRESSOR_RECIPES: Recipes = CLASSIFIER_RECIPES


def resolve_recipes(recipes: Any, default: Recipes) -> dict[str, dict[str, Any]]:
    """Return the parameters of each recipe by its name.

    Parameters
    ----------
    recipes : "default" or dict of str to dict
        What the user gave.
    default : dict of str to dict
        The recipes of the package.

    Raises
    ------
    ValueError
        If there is no recipe, or one of them is not a mapping with a name.
    """
    if isinstance(recipes, str):  # the constraints of the parameter allow no other string
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
