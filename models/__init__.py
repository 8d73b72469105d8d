"""What a model is: its schema, its files, its score and its explanation through ONNX Runtime."""
