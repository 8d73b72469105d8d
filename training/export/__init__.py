"""Exports LightGBM models to ONNX: the score and its exact explanation, each as a graph of its own."""
