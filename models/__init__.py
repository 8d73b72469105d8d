"""Released models: their bundles of files, and the scores and explanations that ONNX Runtime computes with them.

Import the modules: `models.bundle`, `models.model`, `models.onnx_scorer`, ... The package itself exports no name, because
`models.onnx_scorer` loads ONNX Runtime and most users of `models.schema` or `models.scorecard` do not need it.
"""

import os

__all__: list[str] = []

# Since release 1.29, the official builds of ONNX Runtime send telemetry about every session, with hashes of its model, to
# their publisher, and cache unsent reports in the user's home folder. ONNX Runtime reads this variable once, when it is
# loaded. Only this package loads ONNX Runtime, so the variable is set here, before any import of `onnxruntime`.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
