"""The common parts of score.onnx and explain.onnx: preprocessing, operator versions, and reproducible bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from training.export.tensors import bool_tensor, double_tensor
from training.export.trees import CODE_MAX, CODE_SHIFT, ZERO_THRESHOLD, Ensemble

ROWS = "rows"  # name of the only input: doubles of shape (n, features), NaN where missing
_IR_VERSION = 10
_OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The part of a graph that turns rows into the input of its trees.

    Attributes:
        output: Name of the tree input, doubles of shape (n, features); ROWS itself if the model needs no preprocessing.
        nodes: Operators in the order of execution.
        constants: Initializers of the operators.
    """

    output: str
    nodes: tuple[onnx.NodeProto, ...] = ()
    constants: tuple[onnx.TensorProto, ...] = ()


def preprocessing(ensemble: Ensemble) -> Preprocessing:
    """Return the preprocessing of a model's rows.

    Only zero_as_missing columns and categorical columns need preprocessing. LightGBM also treats tiny values as 0.0. The
    graph does not replace these values: `training.export.trees` moves thresholds near 0.0, so that tiny values go to the same
    side as 0.0.
    """
    prepared = Preprocessing(ROWS)
    steps: tuple[tuple[frozenset[int], Callable[[str, NDArray[np.bool_]], Preprocessing]], ...] = (
        (ensemble.zero_as_missing, _zeros_to_missing),
        (ensemble.categorical, _values_to_codes),
    )
    for columns, step in steps:
        if columns:
            mask = np.zeros(ensemble.feature_count, dtype=np.bool_)
            mask[sorted(columns)] = True
            more = step(prepared.output, mask)
            prepared = Preprocessing(more.output, prepared.nodes + more.nodes, prepared.constants + more.constants)
    return prepared


def build_model(
    name: str,
    ensemble: Ensemble,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    outputs: list[tuple[str, list[str | int]]],
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of an ONNX model that has passed the ONNX checker. The same arguments always produce the same bytes.

    Args:
        name: Name of the graph.
        ensemble: The model; its feature count is the number of input columns.
        nodes: Operators in the order of execution.
        constants: Initializers of the operators.
        outputs: Name and shape of each output; all outputs are doubles.
        metadata: Keys and values of the file's metadata.
    """
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(ROWS, TensorProto.DOUBLE, ["n", ensemble.feature_count])],
        [helper.make_tensor_value_info(output, TensorProto.DOUBLE, shape) for output, shape in outputs],
        initializer=constants,
    )
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=_IR_VERSION, producer_name="grounds")
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _zeros_to_missing(rows: str, mask: NDArray[np.bool_]) -> Preprocessing:
    """Return the preprocessing that replaces each value x with |x| <= ZERO_THRESHOLD by NaN, in the columns where mask is True."""
    nodes = (
        helper.make_node("Abs", [rows], ["magnitudes"]),
        helper.make_node("LessOrEqual", ["magnitudes", "zero_max"], ["zeros"]),
        helper.make_node("And", ["zeros", "zero_missing"], ["missing_zeros"]),
        helper.make_node("Where", ["missing_zeros", "missing", rows], ["rows_without_zeros"]),
    )
    constants = (
        double_tensor("zero_max", [ZERO_THRESHOLD]),
        double_tensor("missing", [np.nan]),
        bool_tensor("zero_missing", mask),
    )
    return Preprocessing("rows_without_zeros", nodes, constants)


def _values_to_codes(rows: str, mask: NDArray[np.bool_]) -> Preprocessing:
    """Return the preprocessing that replaces each category by its code plus CODE_SHIFT, in the columns where mask is True.

    A value that has no code (missing, negative or too large) is replaced by 0.
    """
    nodes = (
        # Both comparisons are false for NaN, so a missing value has no code.
        helper.make_node("Greater", [rows, "code_above"], ["not_negative"]),
        helper.make_node("LessOrEqual", [rows, "code_max"], ["not_too_large"]),
        helper.make_node("And", ["not_negative", "not_too_large"], ["has_code"]),
        # LightGBM truncates toward zero, but Floor alone would map values in (-1, 0) to -1. Max maps these values to 0 first.
        helper.make_node("Max", [rows, "code_zero"], ["magnitude_of_code"]),
        helper.make_node("Floor", ["magnitude_of_code"], ["code"]),
        helper.make_node("Add", ["code", "code_shift"], ["shifted_code"]),
        helper.make_node("Where", ["has_code", "shifted_code", "code_zero"], ["code_or_none"]),
        helper.make_node("Where", ["categories", "code_or_none", rows], ["rows_with_codes"]),
    )
    constants = (
        double_tensor("code_above", [-1.0]),
        double_tensor("code_max", [CODE_MAX]),
        double_tensor("code_zero", [0.0]),
        double_tensor("code_shift", [float(CODE_SHIFT)]),
        bool_tensor("categories", mask),
    )
    return Preprocessing("rows_with_codes", nodes, constants)
