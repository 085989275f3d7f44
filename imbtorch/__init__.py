"""imbtorch: scikit-learn-compatible neural networks for imbalanced data."""

from __future__ import annotations

from imbtorch._common.inputs import Inputs
from imbtorch._common.sequences import Sequences
from imbtorch._data.dataset_rows import DatasetRows
from imbtorch._export import to_onnx
from imbtorch._version import __version__
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.compare import compare_strategies
from imbtorch.ensemble import NetEnsembleClassifier, NetEnsembleRegressor
from imbtorch.exceptions import (
    DivergenceError,
    DoubleCorrectionWarning,
    FileFormatError,
    NotStackedWarning,
)
from imbtorch.modules import MLP, CosineLinear
from imbtorch.persistence import load, save
from imbtorch.portfolio import NetPortfolioClassifier, NetPortfolioRegressor
from imbtorch.regressor import ImbalancedNetRegressor
from imbtorch.two_stage import embed, finetune_head, tau_normalize

__all__ = [
    "MLP",
    "NetEnsembleClassifier",
    "NetEnsembleRegressor",
    "NetPortfolioClassifier",
    "NetPortfolioRegressor",
    "CosineLinear",
    "DatasetRows",
    "DivergenceError",
    "DoubleCorrectionWarning",
    "FileFormatError",
    "Inputs",
    "ImbalancedNetClassifier",
    "ImbalancedNetRegressor",
    "NotStackedWarning",
    "Sequences",
    "__version__",
    "compare_strategies",
    "embed",
    "finetune_head",
    "load",
    "save",
    "tau_normalize",
    "to_onnx",
]
