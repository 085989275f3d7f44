"""What leaves a fitted estimator: files, ONNX, model cards."""
