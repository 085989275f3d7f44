"""Many nets trained as one: their parameters lie in one tensor, and a step moves all of them."""

from __future__ import annotations

from imbtorch.training.stack.groups import train_stacked
from imbtorch.training.stack.prediction import Siblings, predict_chunks_stacked

__all__ = ["Siblings", "predict_chunks_stacked", "train_stacked"]
