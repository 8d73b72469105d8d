"""Scoring: runs the two graphs of a model in ONNX Runtime. A single row is scored on a faster path than many rows.

A served request scores one row, and a small model spends a third of the scoring time on passing arrays to the runtime.
So each thread binds its own input and output arrays once (`BoundRow`) and then only copies values in and out.

Both paths return the same bits, because the runtime uses one thread per session and so adds in the same order for any
number of rows.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.onnx_file import check_onnx_file

# Rows per call of explain.onnx. The call reads rows * units * features doubles from its tables (models/README.md
# explains units): 3 MB for 200 units and 30 features, which fits into the processor's cache.
BATCH_ROWS = 64

# The key in the metadata of explain.onnx that states a smaller number of rows per call, for a large model.
BATCH_ROWS_KEY = "batch_rows"

EXPLAIN_OUTPUTS = ("contributions", "margin")

FloatArray = NDArray[np.float64]


class Scorer:
    """Margins and contributions of one model. Safe to share between threads.

    Two requests in two threads already use two cores, so the runtime gets one thread per session.

    Raises:
        Exception: A graph does not open. ONNX Runtime raises many classes, none of which is public.
    """

    def __init__(self, score: bytes, explain: bytes, *, use_private_api: bool = True) -> None:
        """Open both graphs.

        Args:
            score: Bytes of score.onnx.
            explain: Bytes of explain.onnx.
            use_private_api: Whether single rows are scored through ONNX Runtime's private API; see `BoundRow`.
        """
        self._score_graph = open_session(score, ("margin",))
        self._explain_graph = open_session(explain, EXPLAIN_OUTPUTS, reuse_memory_plan=True)
        self._rows = _ThreadRows(self._score_graph, self._explain_graph, use_private_api=use_private_api)
        self._batch_rows = _batch_rows(self._explain_graph)
        self._one_row_shape = self._rows.score.shape

    def margins(self, rows: FloatArray) -> FloatArray:
        """Return the margins without explanations.

        Args:
            rows: Shape (n, n_features), NaN where missing, columns in the order of the schema.

        Returns:
            Shape (n,), log-odds before calibration.
        """
        if rows.shape == self._one_row_shape:
            margin: FloatArray = self._rows.score.run(rows)[0]
            return margin
        margins: FloatArray = self._score_graph.run(["margin"], {"rows": rows})[0][:, 0]
        return margins

    def explain(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return margins, shape (n,), and contributions, shape (n, n_features), both in log-odds before calibration."""
        if rows.shape == self._one_row_shape:
            outputs = self._rows.explain.run(rows)
            return outputs[0, -1:], outputs[:, :-1]
        # One array for all results: joining the small results of all batches would fragment the memory (a call with
        # 400,000 rows then needed 6 GB more than its results).
        margins, contributions = np.empty(len(rows)), np.empty(rows.shape)
        for start in range(0, len(rows), self._batch_rows):
            stop = start + self._batch_rows
            parts, margin = self._explain_graph.run(list(EXPLAIN_OUTPUTS), {"rows": rows[start:stop]})
            contributions[start:stop], margins[start:stop] = parts, margin[:, 0]
        return margins, contributions

    def explain_one(self, row: FloatArray) -> tuple[float, list[float]]:
        """Return margin and contributions of one row of shape (1, n_features), as Python floats; see `explain`."""
        contributions = self._rows.explain.run_to_list(row)
        # The margin is the last output, so removing it from the list leaves the contributions without a copy.
        return contributions.pop(), contributions

    def contributions(self, rows: FloatArray) -> FloatArray:
        """Return the contributions, shape (n, n_features)."""
        return self.explain(rows)[1]


class _ThreadRows(threading.local):
    """The bound rows of the current thread, one per graph. `threading.local` runs __init__ once in every thread."""

    def __init__(self, score_graph: Any, explain_graph: Any, *, use_private_api: bool) -> None:
        super().__init__()
        self.score = BoundRow(score_graph, ("margin",), use_private_api=use_private_api)
        self.explain = BoundRow(explain_graph, EXPLAIN_OUTPUTS, use_private_api=use_private_api)


class BoundRow:
    """A graph bound to its own arrays for one row. Not safe to share between threads.

    The public `run_with_iobinding` does additional work in every call, such as checks for graph capture on a GPU. This
    work takes a tenth of the time of an explained score. With `use_private_api`, the private function that the public
    one wraps is called directly if the installed release of ONNX Runtime has this function. The results are the same.

    Attributes:
        shape: Shape of the row, (1, n_features).
    """

    def __init__(self, graph: Any, outputs: tuple[str, ...], *, use_private_api: bool = True) -> None:
        widths = {output.name: output.shape[1] for output in graph.get_outputs()}
        ends = np.cumsum([0, *(widths[name] for name in outputs)]).tolist()
        self._row = np.zeros((1, graph.get_inputs()[0].shape[1]))
        self.shape = self._row.shape
        # All outputs are slices of one array, so that one copy reads them all.
        self._results = np.zeros((1, ends[-1]))
        self._flat_results = self._results[0]
        # The runtime stores only the addresses of the arrays, so the arrays must not move, and must live as long as the
        # binding.
        self._binding = graph.io_binding()
        self._binding.bind_input("rows", "cpu", 0, np.float64, self.shape, self._row.ctypes.data)
        for name, start, end in zip(outputs, ends, ends[1:], strict=False):
            part = self._results[:, start:end]
            self._binding.bind_output(name, "cpu", 0, np.float64, part.shape, part.ctypes.data)
        call = _private_run(graph, self._binding) if use_private_api else None
        self._run = call or partial(graph.run_with_iobinding, self._binding, onnxruntime.RunOptions())

    def run(self, row: FloatArray) -> FloatArray:
        """Run the graph on a row of shape (1, n_features); return all outputs in one row, shape (1, sum of widths)."""
        self._row[:] = row
        self._run()
        return self._results.copy()

    def run_to_list(self, row: FloatArray) -> list[float]:
        """Run the graph on a row of shape (1, n_features); return its outputs in one list."""
        self._row[:] = row
        self._run()
        numbers: list[float] = self._flat_results.tolist()
        return numbers


def _private_run(graph: Any, binding: Any) -> Callable[[], object] | None:
    """Return a call that runs a bound graph through private attributes of ONNX Runtime; None if they do not exist."""
    run = getattr(getattr(graph, "_sess", None), "run_with_iobinding", None)
    bound = getattr(binding, "_iobinding", None)
    return partial(run, bound, onnxruntime.RunOptions()) if callable(run) and bound is not None else None


def _batch_rows(graph: Any) -> int:
    """Return the number of rows per call of explain.onnx, from 1 to BATCH_ROWS.

    Raises:
        ValueError: The metadata of the graph state another number.
    """
    text = graph.get_modelmeta().custom_metadata_map.get(BATCH_ROWS_KEY, str(BATCH_ROWS))
    if not text.isdecimal() or not 1 <= int(text[:9]) <= BATCH_ROWS:
        raise ValueError(f"{BATCH_ROWS_KEY} of the graph must be a number from 1 to {BATCH_ROWS}, got {text[:20]!r}")
    return int(text)


def row_batches(rows: FloatArray) -> Iterator[FloatArray]:
    """Split rows into batches for explain.onnx."""
    return (rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS))


def open_session(model: bytes, outputs: tuple[str, ...], *, reuse_memory_plan: bool = False) -> Any:
    """Open a graph that runs on one thread.

    Args:
        model: Bytes of the ONNX file.
        outputs: Names of the outputs that the graph must have, in order.
        reuse_memory_plan: Reuse the memory layout of a call in later calls with the same number of rows. This saves a
            twentieth of the time for one row of the credit model, and a tenth for the churn model. One layout is stored
            for each number of rows, so use it only for graphs that are called with few different numbers of rows.

    Raises:
        BundleInvalid: The file uses what the exporter never writes; see `models.onnx_file`.
        ValueError: The outputs of the graph differ from `outputs`.
    """
    check_onnx_file(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more threads would change the order of sums, and so their last bits
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = reuse_memory_plan
    options.enable_cpu_mem_arena = False  # the arena's locks cost more than allocations of the C library
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.load_model_format", "ONNX")  # never the ORT format, which is not checked
    graph = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = tuple(output.name for output in graph.get_outputs())
    if names != outputs:
        raise ValueError(f"outputs of the graph must be {', '.join(outputs)}, got {', '.join(names)}")
    return graph
