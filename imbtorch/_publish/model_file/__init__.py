"""Convert fitted estimators to a JSON document and tensors, and back."""

from __future__ import annotations

from imbtorch._publish.model_file.decisions import FROZEN, SCALED, THRESHOLD, TUNED, Decision
from imbtorch._publish.model_file.restore import Restorer
from imbtorch._publish.model_file.save import SaveMixin, write_model
from imbtorch._publish.model_file.state import refusing

__all__ = [
    "FROZEN",
    "SCALED",
    "THRESHOLD",
    "TUNED",
    "Decision",
    "Restorer",
    "SaveMixin",
    "refusing",
    "write_model",
]
