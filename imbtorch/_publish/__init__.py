"""Publish fitted estimators as model files, ONNX files and model cards."""
