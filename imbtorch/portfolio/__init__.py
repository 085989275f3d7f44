"""Portfolios of nets: recipes that are tried on the same folds, and blended."""

from __future__ import annotations

from imbtorch.portfolio._classifier import NetPortfolioClassifier
from imbtorch.portfolio._recipes import CLASSIFIER_RECIPES, REGRESSOR_RECIPES
from imbtorch.portfolio._regressor import NetPortfolioRegressor

__all__ = [
    "CLASSIFIER_RECIPES",
    "REGRESSOR_RECIPES",
    "NetPortfolioClassifier",
    "NetPortfolioRegressor",
]
