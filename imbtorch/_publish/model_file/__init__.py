"""Fitted estimators as a JSON document and tensors: what a file holds of them, and the way back."""

from __future__ import annotations

from imbtorch._publish.model_file.restore import Restorer, refusing
from imbtorch._publish.model_file.save import SaveMixin, describe

__all__ = ["Restorer", "SaveMixin", "describe", "refusing"]
