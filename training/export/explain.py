"""explain.onnx: the contributions, exact in doubles, and the margin they belong to, in one run.

Each feature's value is sought once among all thresholds of the model; that adds a step to the line number
of every unit; each unit's line holds its contributions in the row's cell; the lines of all units are added.

    rows -> TreeEnsemble: (n, features asked) classes -> Gather: (n, features asked, units) steps
         -> ReduceSum: (n, units) line numbers -> Gather: lines -> sum: (n, features) contributions
    rows -> TreeEnsemble, as in score.onnx: (n, 1) margin

What it replaced, at 65 and 300 trees of 8 leaves, microseconds for one row in a
warm loop (pred_contrib 104 and 303 in the same runs): a tree per unit that ends in the line number 17 and 50; the same trees as a version 3
TreeEnsembleRegressor with high and low float32 weights 14 and 40 (1e-13 off, and it cannot share a graph
with the version 5 margin); this form 13 and 18.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from training.export.bins import FeatureBins, ensemble_bins, row_classes
from training.export.graph import ROWS, build_model, input_nodes, integers
from training.export.layout import TableLayout, choose_layout
from training.export.leaf_groups import LeafGroup
from training.export.score import margin_trees
from training.export.shapley import contribution_table
from training.export.tree_ensemble import TreeEnsembleBuilder, doubles
from training.export.trees import Ensemble, NumericSplit


def explain_onnx(ensemble: Ensemble, baseline: NDArray[np.float64] | None, layout: TableLayout | None = None) -> bytes:
    """Write the explanation graph: rows (n, features) in; contributions (n, features) and margin (n, 1) out.

    Both are log-odds before calibration; the margin is that of score.onnx to the bit.

    Args:
        ensemble: The model.
        baseline: Shape (n_baseline, features), NaN where missing: the population to compare with
            (interventional). None means path-dependent: the training rows, by the covers of the splits.
        layout: Its form; by default, the fastest that fits.

    Raises:
        ModelRejected: No form fits into `limits.EXPLAIN_BYTES_MAX`.
    """
    bins = ensemble_bins(ensemble)
    layout = layout or choose_layout(ensemble, bins)
    classes = None if baseline is None else row_classes(ensemble, bins, baseline)
    rows, steps, constants = input_nodes(ensemble)
    nodes = [
        *steps,
        class_forest(bins).build(rows, "class_numbers", max(len(bins), 1)),
        helper.make_node("Cast", ["class_numbers"], ["classes"], to=TensorProto.INT32),
        helper.make_node("Gather", ["steps", "classes"], ["steps_of_classes"], axis=0),
        helper.make_node("ReduceSum", ["steps_of_classes", "middle"], ["line_numbers"], keepdims=0),
        helper.make_node("Gather", ["lines", "line_numbers"], ["unit_contributions"], axis=0),
        *(narrow_sum() if layout.sparse else dense_sum()),
        margin_trees(ensemble).build(rows, "margin", 1),
    ]
    parts = [contribution_table(unit, classes) for unit in layout.groups]
    constants += [integers("steps", steps_table(bins, layout.groups), np.int32), integers("middle", np.array([1]))]
    constants += narrow_lines(layout, parts) if layout.sparse else dense_lines(layout, parts, ensemble.feature_count)
    outputs: list[tuple[str, list[str | int]]] = [
        ("contributions", ["n", ensemble.feature_count]),
        ("margin", ["n", 1]),
    ]
    return build_model("explain", ensemble, nodes, constants, outputs)


def class_forest(bins: dict[int, FeatureBins]) -> TreeEnsembleBuilder:
    """Give one search tree per feature, whose leaves number the classes through all features."""
    forest, first = TreeEnsembleBuilder(), 0
    for target, found in enumerate(bins.values()):
        alone = found.missing_class not in found.classes  # a class of its own, which no interval leads to
        place = len(found.edges) if alone else int(np.argmax(found.classes == found.missing_class))
        child = add_search(forest, found, (target, first), (0, len(found.edges)), place)
        if alone:
            index = forest.add_split(NumericSplit(found.feature, np.inf, missing_left=False))
            forest.true_child[index] = child
            forest.false_child[index] = forest.add_leaf(target, float(first + found.missing_class))
            child = index, 0
        forest.add_root(child)
        first += len(found.goes_left)
    if not bins:  # a model of constants: nothing contributes, yet the graph needs a tree
        forest.add_root(forest.add_leaf(0, 0.0))
    return forest


def add_search(
    forest: TreeEnsembleBuilder, bins: FeatureBins, place: tuple[int, int], between: tuple[int, int], missing_at: int
) -> tuple[int, int]:
    """Add the balanced search among intervals `between[0]` to `between[1]`; a missing value ends in `missing_at`."""
    (target, first), (low, high) = place, between
    if low == high:
        return forest.add_leaf(target, float(first + bins.classes[low]))
    half = (low + high) // 2
    index = forest.add_split(NumericSplit(bins.feature, float(bins.edges[half]), missing_left=missing_at <= half))
    forest.true_child[index] = add_search(forest, bins, place, (low, half), missing_at)
    forest.false_child[index] = add_search(forest, bins, place, (half + 1, high), missing_at)
    return index, 0


def steps_table(bins: dict[int, FeatureBins], units: tuple[LeafGroup, ...]) -> NDArray[np.int32]:
    """Give what each class adds to the line number of each unit: shape (classes of all features, units)."""
    first_class = dict(zip(bins, np.cumsum([0, *(len(found.goes_left) for found in bins.values())]), strict=False))
    table = np.zeros((max(sum(len(found.goes_left) for found in bins.values()), 1), len(units)), dtype=np.int32)
    first_line = 0
    for column, unit in enumerate(units):
        stride, offset = 1, first_line
        for feature, digits in unit.digits.items():
            row = first_class[feature]
            table[row : row + len(digits), column] = digits * stride + offset
            stride, offset = stride * unit.radices[feature], 0
        first_line += unit.cell_count
    return table


def dense_lines(plan: TableLayout, parts: list[NDArray[np.float64]], feature_count: int) -> list[onnx.TensorProto]:
    """Give lines with a column for every feature of the model."""
    lines = np.zeros((sum(len(part) for part in parts), feature_count))
    first = 0
    for unit, part in zip(plan.groups, parts, strict=True):
        lines[first : first + len(part), list(unit.digits)] = part
        first += len(part)
    return [doubles("lines", lines)]


def dense_sum() -> list[onnx.NodeProto]:
    """Add whole lines."""
    return [helper.make_node("ReduceSum", ["unit_contributions", "middle"], ["contributions"], keepdims=0)]


def narrow_lines(plan: TableLayout, parts: list[NDArray[np.float64]]) -> list[onnx.TensorProto]:
    """Give lines with a column for each feature of their own unit, and the feature of each column of each unit."""
    lines = np.zeros((sum(len(part) for part in parts), plan.width))
    owners = np.zeros((len(plan.groups), plan.width), dtype=np.int64)  # an unused column adds 0 to feature 0
    first = 0
    for number, (unit, part) in enumerate(zip(plan.groups, parts, strict=True)):
        lines[first : first + len(part), : part.shape[1]] = part
        owners[number, : part.shape[1]] = list(unit.digits)
        first += len(part)
    flat = integers("flat", np.array([0, owners.size]))
    return [doubles("lines", lines), integers("owners", owners.reshape(1, -1)), flat, doubles("zero", np.zeros((1, 1)))]


def narrow_sum() -> list[onnx.NodeProto]:
    """Add each column of each line to the feature that it belongs to."""
    return [
        helper.make_node("Reshape", ["unit_contributions", "flat"], ["parts"]),
        helper.make_node("Shape", ["parts"], ["parts_shape"]),
        helper.make_node("Expand", ["owners", "parts_shape"], ["owners_of_rows"]),
        helper.make_node("Shape", [ROWS], ["rows_shape"]),
        helper.make_node("Expand", ["zero", "rows_shape"], ["nothing"]),
        helper.make_node(
            "ScatterElements", ["nothing", "owners_of_rows", "parts"], ["contributions"], axis=1, reduction="add"
        ),
    ]
