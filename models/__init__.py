"""The model: its bundle of files, its score and its explanation, computed by ONNX Runtime.

Import the modules: `models.bundle`, `models.model`, `models.onnx_scorer`, ... The package itself exports no name, because
`models.onnx_scorer` loads ONNX Runtime and most users of `models.schema` or `models.scorecard` do not need it.
"""

import os

__all__: list[str] = []

# Since 1.29 the official builds of ONNX Runtime report every session that is opened to their maker, with hashes of its
# model, and cache unsent reports in the user's home. The runtime reads this variable once, when it is loaded, and only
# this package loads it; so it is set here, before any import of `onnxruntime`.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
