"""Convert fitted estimators to a JSON document and tensors, and back."""

from __future__ import annotations

from imbtorch._publish.model_file.restore import Restorer
from imbtorch._publish.model_file.save import SaveMixin, describe
from imbtorch._publish.model_file.state import refusing

__all__ = ["Restorer", "SaveMixin", "describe", "refusing"]
