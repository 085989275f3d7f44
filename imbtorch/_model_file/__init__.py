"""Fitted estimators as a JSON document and tensors: what a file holds of them, and the way back."""

from __future__ import annotations

from imbtorch._model_file._document import SaveMixin, describe
from imbtorch._model_file._restore import Restorer, refusing

__all__ = ["Restorer", "SaveMixin", "describe", "refusing"]
