"""ONNX files of models that hold an estimator of this package: pipelines, tuned decisions."""

from __future__ import annotations

from imbtorch._export.model import to_onnx

__all__ = ["to_onnx"]
