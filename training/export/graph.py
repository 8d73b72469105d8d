"""What both files have in common: the same input nodes, opset and metadata, and the same bytes every time."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from training.export.forest import doubles
from training.export.trees import ZERO_MAX, Ensemble

IR_VERSION = 10
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
ROWS = "rows"  # the one input: (n, feature_count) doubles, NaN where missing


def input_nodes(ensemble: Ensemble) -> tuple[str, list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Give the name of the rows as the trees take them, with the nodes and constants that make them so.

    Only columns that take zero as missing need any: tiny values are sorted by the thresholds
    themselves (`trees.flushed`).
    """
    if not ensemble.zero_missing:
        return ROWS, [], []
    masked = np.zeros(ensemble.feature_count, dtype=np.bool_)
    masked[sorted(ensemble.zero_missing)] = True
    constants = [
        doubles("zero_max", [ZERO_MAX]),
        doubles("missing", [np.nan]),
        helper.make_tensor("zero_missing", TensorProto.BOOL, [ensemble.feature_count], masked.tobytes(), raw=True),
    ]
    nodes = [
        helper.make_node("Abs", [ROWS], ["magnitudes"]),
        helper.make_node("LessOrEqual", ["magnitudes", "zero_max"], ["zeros"]),
        helper.make_node("And", ["zeros", "zero_missing"], ["missing_zeros"]),
        helper.make_node("Where", ["missing_zeros", "missing", ROWS], ["present_rows"]),
    ]
    return "present_rows", nodes, constants


def model_of(
    name: str,
    ensemble: Ensemble,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    output: tuple[str, list[str | int]],
) -> bytes:
    """Give a checked ONNX file as bytes."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(ROWS, TensorProto.DOUBLE, ["n", ensemble.feature_count])],
        [helper.make_tensor_value_info(output[0], TensorProto.DOUBLE, output[1])],
        initializer=constants,
    )
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="grounds")
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
