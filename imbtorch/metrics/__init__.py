"""Metrics that scikit-learn and imbalanced-learn do not have."""

from imbtorch.metrics._calibration import adaptive_ece, classwise_ece
from imbtorch.metrics._ranking import (
    card_precision_at_k,
    mean_average_precision,
    precision_at_k,
)
from imbtorch.metrics._recall import min_class_recall, recall_by_frequency
from imbtorch.metrics._regression import error_by_density, sera

__all__ = [
    "adaptive_ece",
    "card_precision_at_k",
    "classwise_ece",
    "error_by_density",
    "mean_average_precision",
    "min_class_recall",
    "precision_at_k",
    "recall_by_frequency",
    "sera",
]
