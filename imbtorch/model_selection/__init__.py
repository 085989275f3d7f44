"""Searches that train stacks of nets, and decisions from the probabilities of any classifier.

The meta-estimators for decisions learn from out-of-fold predictions, so that what the model has
memorised does not count.
"""

from __future__ import annotations

from imbtorch.model_selection._decision import TunedDecisionClassifierCV
from imbtorch.model_selection._scaling import ScaledClassifierCV
from imbtorch.model_selection._stacked_search import (
    StackedGridSearchCV,
    StackedHalvingGridSearchCV,
    StackedRandomizedSearchCV,
)

__all__ = [
    "ScaledClassifierCV",
    "StackedGridSearchCV",
    "StackedHalvingGridSearchCV",
    "StackedRandomizedSearchCV",
    "TunedDecisionClassifierCV",
]
