"""Meta-estimators that turn the probabilities of any classifier into decisions.

They learn from out-of-fold predictions, so that what the model has memorised does not count.
"""

from __future__ import annotations

from imbtorch.model_selection._decision import TunedDecisionClassifierCV
from imbtorch.model_selection._scaling import ScaledClassifierCV

__all__ = ["ScaledClassifierCV", "TunedDecisionClassifierCV"]
