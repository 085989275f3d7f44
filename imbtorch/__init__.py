"""imbtorch: scikit-learn-compatible neural networks for imbalanced data."""

from __future__ import annotations

from imbtorch._version import __version__
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.exceptions import DivergenceError, DoubleCorrectionWarning
from imbtorch.modules import MLP, CosineLinear
from imbtorch.regressor import ImbalancedNetRegressor
from imbtorch.two_stage import finetune_head, tau_normalize

__all__ = [
    "MLP",
    "CosineLinear",
    "DivergenceError",
    "DoubleCorrectionWarning",
    "ImbalancedNetClassifier",
    "ImbalancedNetRegressor",
    "__version__",
    "finetune_head",
    "tau_normalize",
]
