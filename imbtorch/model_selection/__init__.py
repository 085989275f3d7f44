"""Searches that train stacks of nets, and meta-estimators for any classifier with probabilities.

The meta-estimators calibrate probabilities or tune decisions. They learn from out-of-fold
predictions, that is, from predictions of rows on which the model was not trained.
"""

from __future__ import annotations

from imbtorch._common.conformal import conformal_sets
from imbtorch.model_selection._constraints import Constraint
from imbtorch.model_selection._cross_fitted import (
    CrossFittedClassifier,
    CrossFittedRegressor,
    cross_fit,
)
from imbtorch.model_selection._decision import TunedDecisionClassifierCV
from imbtorch.model_selection._scaling import ScaledClassifierCV
from imbtorch.model_selection._stacked_search import (
    StackedGridSearchCV,
    StackedHalvingGridSearchCV,
    StackedRandomizedSearchCV,
)

__all__ = [
    "Constraint",
    "CrossFittedClassifier",
    "CrossFittedRegressor",
    "ScaledClassifierCV",
    "StackedGridSearchCV",
    "StackedHalvingGridSearchCV",
    "StackedRandomizedSearchCV",
    "TunedDecisionClassifierCV",
    "conformal_sets",
    "cross_fit",
]
