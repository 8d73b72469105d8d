"""Runs a model's two graphs in ONNX Runtime."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

# Rows a call of the explanation: its table lines take rows * trees * features * 8 bytes.
BATCH_ROWS = 64


class Scorer:
    """Margins and contributions of one model.

    One thread each: with more, sums change in their last bits, and two requests in two threads already
    use two cores.
    """

    def __init__(self, score: bytes, explain: bytes) -> None:
        self.score_session = session(score)
        self.explain_session = session(explain)

    def margins(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give each row's margin.

        Args:
            rows: Shape (n, n_features), NaN where missing, columns as in the schema.

        Returns:
            Shape (n,), log-odds before calibration, equal to the bit for one row and for many.
        """
        margins: NDArray[np.float64] = run(self.score_session, rows)[:, 0]
        return margins

    def contributions(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give each row's contributions, log-odds before calibration: shape (n, n_features)."""
        parts = [
            run(self.explain_session, rows[first : first + BATCH_ROWS]) for first in range(0, len(rows), BATCH_ROWS)
        ]
        return np.concatenate(parts) if parts else np.zeros_like(rows)


def session(model: bytes) -> Any:
    """Open a graph, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(graph: Any, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Run a graph that has one input, the rows, and one output."""
    output: NDArray[np.float64] = graph.run(None, {"rows": rows})[0]
    return output
