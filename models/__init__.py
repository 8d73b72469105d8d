"""What a model is: its schema, its files, its score and its explanation through ONNX Runtime."""

import os

# Since 1.29 the official builds of ONNX Runtime tell their maker of every session that is opened, with hashes of its model, and
# keep what they could not send in the user's cache folder. Nothing leaves here that nobody asked for: the runtime reads this
# once, when it is loaded, and nothing of ours loads it but this package.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
