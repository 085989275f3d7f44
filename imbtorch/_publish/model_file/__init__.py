"""Convert fitted estimators to a JSON document and tensors, and back."""

from __future__ import annotations

from imbtorch._publish.model_file.restore import Restorer, refusing
from imbtorch._publish.model_file.save import SaveMixin, describe

__all__ = ["Restorer", "SaveMixin", "describe", "refusing"]
