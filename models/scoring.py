"""Runs a model's two graphs in ONNX Runtime."""

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

# Rows a call of the explanation: its table lines take rows * units * features * 8 bytes, which is 3 MB with 200 units
# and 30 features.
BATCH_ROWS = 64

EXPLAIN_OUTPUTS = ("contributions", "margin")

FloatArray = NDArray[np.float64]


class Scorer:
    """Margins and contributions of one model; may be shared between threads.

    One thread each in the runtime: with more, sums change in their last bits, and two requests in two
    threads already use two cores. One row and many give the same bits.

    Raises:
        Exception: A graph does not open; ONNX Runtime raises many kinds, none of which is exported.
    """

    def __init__(self, score: bytes, explain: bytes) -> None:
        self._score_graph = open_session(score, ("margin",))
        self._explain_graph = open_session(explain, EXPLAIN_OUTPUTS, reuse_memory_plan=True)
        self._rows = _ThreadRows(self._score_graph, self._explain_graph)
        self._one_row_shape = self._rows.score.row.shape

    def margins(self, rows: FloatArray) -> FloatArray:
        """Give each row's margin alone, without its explanation.

        Args:
            rows: Shape (n, n_features), NaN where missing, columns as in the schema.

        Returns:
            Shape (n,), log-odds before calibration.
        """
        if rows.shape == self._one_row_shape:
            margin: FloatArray = self._rows.score.run(rows)[0]
            return margin
        margins: FloatArray = self._score_graph.run(["margin"], {"rows": rows})[0][:, 0]
        return margins

    def explain(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give each row's margin, shape (n,), and contributions, shape (n, n_features), both before calibration."""
        if rows.shape == self._one_row_shape:
            both = self._rows.explain.run(rows)
            return both[0, -1:], both[:, :-1]
        parts = [self._explain_graph.run(list(EXPLAIN_OUTPUTS), {"rows": batch}) for batch in row_batches(rows)]
        if not parts:
            return np.zeros(0), np.zeros_like(rows)
        return np.concatenate([margin for _, margin in parts])[:, 0], np.concatenate([found for found, _ in parts])

    def explain_one(self, row: FloatArray) -> tuple[float, list[float]]:
        """Give margin and contributions of one row of shape (1, n_features): those of `explain`, as lists without more ado."""
        contributions = self._rows.explain.run_to_list(row)
        return contributions.pop(), contributions

    def contributions(self, rows: FloatArray) -> FloatArray:
        """Give each row's contributions: the second half of `explain`."""
        return self.explain(rows)[1]


class _ThreadRows(threading.local):
    """Each thread's own arrays for one row of either graph."""

    def __init__(self, score_graph: Any, explain_graph: Any) -> None:
        super().__init__()
        self.score = BoundRow(score_graph, ("margin",))
        self.explain = BoundRow(explain_graph, EXPLAIN_OUTPUTS)


class BoundRow:
    """A graph bound to arrays of its own for one row: a third of a small model's time goes into passing arrays.

    Not to be shared between threads.
    """

    def __init__(self, graph: Any, outputs: tuple[str, ...]) -> None:
        shapes = {output.name: output.shape for output in graph.get_outputs()}
        ends = np.cumsum([0, *(shapes[name][1] for name in outputs)]).tolist()
        self.row = np.zeros((1, graph.get_inputs()[0].shape[1]))
        self.found = np.zeros((1, ends[-1]))  # the outputs side by side, so that one copy takes all
        self.flat = self.found[0]
        self.binding = graph.io_binding()
        self.binding.bind_input("rows", "cpu", 0, np.float64, self.row.shape, self.row.ctypes.data)
        for name, first, end in zip(outputs, ends, ends[1:], strict=False):
            place = self.found[:, first:end]
            self.binding.bind_output(name, "cpu", 0, np.float64, place.shape, place.ctypes.data)
        # graph.run_with_iobinding first looks after captures of a graphics card, and makes its options anew for every
        # call: a tenth of an explained score. What it calls then is called here; the lock file names the release.
        call, bound = graph._sess.run_with_iobinding, self.binding._iobinding  # noqa: SLF001
        self.run_bound = partial(call, bound, onnxruntime.RunOptions())

    def run(self, row: FloatArray) -> FloatArray:
        """Run the graph on a row of shape (1, n_features); give a copy of its outputs side by side: shape (1, their widths)."""
        self.row[:] = row
        self.run_bound()
        return self.found.copy()

    def run_to_list(self, row: FloatArray) -> list[float]:
        """Run the graph on a row of shape (1, n_features); give its outputs one after the other."""
        self.row[:] = row
        self.run_bound()
        numbers: list[float] = self.flat.tolist()
        return numbers


def row_batches(rows: FloatArray) -> Iterator[FloatArray]:
    """Cut rows into what one call of the explanation takes."""
    return (rows[first : first + BATCH_ROWS] for first in range(0, len(rows), BATCH_ROWS))


def open_session(model: bytes, outputs: tuple[str, ...], *, reuse_memory_plan: bool = False) -> Any:
    """Open a graph, on one thread.

    Args:
        model: The file.
        outputs: What it has to give.
        reuse_memory_plan: What the steps of a call need is laid out once for each number of rows, and taken in one piece: a
            twentieth less time for one row of the credit model, a tenth for churn. Each number of rows keeps its
            layout, so this is for graphs that see few of them.

    Raises:
        ValueError: It gives other outputs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = reuse_memory_plan
    options.enable_cpu_mem_arena = False  # its locks cost more than the C library's allocations
    options.log_severity_level = 3  # errors only
    graph = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = tuple(output.name for output in graph.get_outputs())
    if found != outputs:
        raise ValueError(f"the graph gives {', '.join(found)}, not {', '.join(outputs)}")
    return graph
