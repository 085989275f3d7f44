"""Ensembles of nets that are trained as one stack."""

from __future__ import annotations

from imbtorch.ensemble._classifier import NetEnsembleClassifier
from imbtorch.ensemble._regressor import NetEnsembleRegressor

__all__ = ["NetEnsembleClassifier", "NetEnsembleRegressor"]
