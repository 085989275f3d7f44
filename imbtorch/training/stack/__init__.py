"""Train many nets as one stack: one tensor holds their parameters, and a step updates all nets."""

from __future__ import annotations

from imbtorch.training.stack.groups import pausable_stacks, train_stacked
from imbtorch.training.stack.prediction import Siblings, predict_chunks_stacked

__all__ = ["Siblings", "pausable_stacks", "predict_chunks_stacked", "train_stacked"]
