"""Exports LightGBM models to ONNX: score.onnx computes the margin, explain.onnx the exact contributions to the margin."""
