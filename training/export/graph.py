"""What both files have in common: the same input nodes, opset and metadata, and the same bytes every time."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.export.tree_ensemble import doubles
from training.export.trees import CODE_MAX, CODE_SHIFT, ZERO_THRESHOLD, Ensemble

IR_VERSION = 10
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
ROWS = "rows"  # the one input: (n, feature_count) doubles, NaN where missing


def input_nodes(ensemble: Ensemble) -> tuple[str, list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Give the name of the rows as the trees take them, with the nodes and constants that make them so.

    Only columns that take zero as missing, and categories, need any: tiny values are sorted by the
    thresholds themselves (`trees.flushed`).
    """
    rows, nodes, constants = ROWS, [], []
    for columns, steps in ((ensemble.zero_as_missing, zero_steps), (ensemble.categorical, code_steps)):
        if columns:
            mask = np.zeros(ensemble.feature_count, dtype=np.bool_)
            mask[sorted(columns)] = True
            rows, more_nodes, more_constants = steps(rows, mask)
            nodes += more_nodes
            constants += more_constants
    return rows, nodes, constants


Steps = tuple[str, list[onnx.NodeProto], list[onnx.TensorProto]]


def zero_steps(rows: str, mask: NDArray[np.bool_]) -> Steps:
    """Make zeros missing in the columns of the mask."""
    nodes = [
        helper.make_node("Abs", [rows], ["magnitudes"]),
        helper.make_node("LessOrEqual", ["magnitudes", "zero_max"], ["zeros"]),
        helper.make_node("And", ["zeros", "zero_missing"], ["missing_zeros"]),
        helper.make_node("Where", ["missing_zeros", "missing", rows], ["rows_without_zeros"]),
    ]
    constants = [doubles("zero_max", [ZERO_THRESHOLD]), doubles("missing", [np.nan]), booleans("zero_missing", mask)]
    return "rows_without_zeros", nodes, constants


def code_steps(rows: str, mask: NDArray[np.bool_]) -> Steps:
    """Cut values to codes in the columns of the mask: shifted by one, and 0 where there is no code."""
    nodes = [
        helper.make_node("Greater", [rows, "code_above"], ["not_negative"]),
        helper.make_node("LessOrEqual", [rows, "code_max"], ["not_too_large"]),
        helper.make_node("And", ["not_negative", "not_too_large"], ["has_code"]),
        helper.make_node("Max", [rows, "code_zero"], ["magnitude_of_code"]),
        helper.make_node("Floor", ["magnitude_of_code"], ["code"]),
        helper.make_node("Add", ["code", "code_shift"], ["shifted_code"]),
        helper.make_node("Where", ["has_code", "shifted_code", "code_zero"], ["code_or_none"]),
        helper.make_node("Where", ["categories", "code_or_none", rows], ["rows_with_codes"]),
    ]
    constants = [
        doubles("code_above", [-1.0]),
        doubles("code_max", [CODE_MAX]),
        doubles("code_zero", [0.0]),
        doubles("code_shift", [float(CODE_SHIFT)]),
        booleans("categories", mask),
    ]
    return "rows_with_codes", nodes, constants


def booleans(name: str, mask: NDArray[np.bool_]) -> onnx.TensorProto:
    """Give a tensor of booleans."""
    return helper.make_tensor(name, TensorProto.BOOL, mask.shape, mask.tobytes(), raw=True)


def integers(name: str, values: NDArray[np.integer[Any]], kind: type[np.integer[Any]] = np.int64) -> onnx.TensorProto:
    """Give a tensor of whole numbers."""
    return numpy_helper.from_array(values.astype(kind), name)


def build_model(
    name: str,
    ensemble: Ensemble,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    outputs: list[tuple[str, list[str | int]]],
) -> bytes:
    """Give a checked ONNX file as bytes."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(ROWS, TensorProto.DOUBLE, ["n", ensemble.feature_count])],
        [helper.make_tensor_value_info(output, TensorProto.DOUBLE, shape) for output, shape in outputs],
        initializer=constants,
    )
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="grounds")
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
