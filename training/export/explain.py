"""explain.onnx: computes the exact contributions in doubles, and the margin to which they belong, in one run.

The leaves of the model are divided into groups (`leaf_groups`). Each group has a lookup table of contributions with one line
for each cell, which is a combination of classes (`bins`) that the group distinguishes. First, search trees determine the class
of each feature's value. Each class then adds a step to the line number of each group. Finally, the lines of all groups are
looked up and added.

    rows -> TreeEnsemble: (n, split features) classes -> Gather: (n, split features, groups) steps
         -> ReduceSum: (n, groups) line numbers -> Gather: lines -> sum: (n, features) contributions
    rows -> TreeEnsemble, as in score.onnx: (n, 1) margin

Time for one row in a warm loop, in microseconds, with 65 and with 300 trees of 8 leaves, of this design and of alternatives:

    LightGBM's pred_contrib: 104 and 303
    one tree for each group, whose leaves are line numbers: 17 and 50
    the same trees as a version 3 TreeEnsembleRegressor with high and low float32 weights: 14 and 40; the result is off by
        1e-13, and the operator cannot share a graph with the version 5 operator of the margin
    this design: 13 and 18
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models.onnx_scorer import BATCH_ROWS_KEY
from training.errors import ModelRejected
from training.export.baseline_patterns import add_patterns
from training.export.bins import FeatureBins, ensemble_bins, row_classes
from training.export.graph import ROWS, build_model, preprocessing
from training.export.graph_writer import GraphWriter
from training.export.layout import TableLayout, choose_layout
from training.export.leaf_forms import add_conditions, add_feature_sums
from training.export.leaf_groups import LeafGroup
from training.export.leaf_paths import leaf_paths
from training.export.leaf_tables import LEAF_TABLES_BYTES_MAX, add_leaf_tables, table_width
from training.export.quadrature import add_quadrature
from training.export.score import margin_trees
from training.export.shapley import contribution_table
from training.export.tensors import double_tensor, integer_tensor
from training.export.tree_ensemble import ChildRef, TreeEnsembleBuilder
from training.export.trees import Ensemble, NumericSplit

# Rows per call of a file that computes leaf by leaf. In measurements, its time per row was least for 4 to 8 rows.
LEAFWISE_BATCH_ROWS = 8
_PATH_FEATURES_MAX = 62  # the release checks store the features of a path as the bits of one integer of 64 bits
_LEAFWISE_BYTES_MAX = 220_000_000  # a reader accepts 256 MiB, and the trees of the margin take up to 25 MB


def explain_onnx(ensemble: Ensemble, baseline: NDArray[np.float64] | None, layout: TableLayout | None = None) -> bytes:
    """Return the bytes of explain.onnx.

    Its input is rows (n, features). Its outputs are contributions (n, features) and margin (n, 1), both before calibration, in
    the unit of the margin. The margin equals that of score.onnx bit for bit.

    Args:
        ensemble: The model.
        baseline: The rows that an interventional explanation compares an explained row with, shape
            (n_baseline, features), NaN where missing. None for a path-dependent explanation, which uses the covers of
            the splits.
        layout: Layout of the lookup tables; by default the fastest layout that fits. If none fits, the contributions
            are computed leaf by leaf.

    Raises:
        ModelRejected: The file would be larger than a reader accepts.
    """
    bins = ensemble_bins(ensemble)
    layout = layout or choose_layout(ensemble, bins)
    if layout is None:
        return leafwise_onnx(ensemble, bins, baseline)
    classes = None if baseline is None else row_classes(ensemble, bins, baseline)
    tables = [contribution_table(group, classes) for group in layout.groups]
    nodes = [
        helper.make_node("Gather", ["steps", "classes"], ["steps_of_classes"], axis=0),
        helper.make_node("ReduceSum", ["steps_of_classes", "middle"], ["line_numbers"], keepdims=0),
        helper.make_node("Gather", ["lines", "line_numbers"], ["unit_contributions"], axis=0),
        *(_sparse_sum() if layout.sparse else _dense_sum()),
    ]
    constants = [
        integer_tensor("steps", _steps_table(bins, layout.groups), np.int32),
        integer_tensor("middle", np.array([1])),
        *(_sparse_lines(layout, tables) if layout.sparse else _dense_lines(layout, tables)),
    ]
    return _explain_model(ensemble, bins, nodes, constants)


def leafwise_onnx(
    ensemble: Ensemble,
    bins: Mapping[int, FeatureBins],
    baseline: NDArray[np.float64] | None,
    tables_bytes_max: int = LEAF_TABLES_BYTES_MAX,
) -> bytes:
    """Return the bytes of explain.onnx whose contributions are computed leaf by leaf; see `explain_onnx`.

    Args:
        ensemble: The model; at least one tree has a split.
        bins: Its bins, from `ensemble_bins`.
        baseline: The baseline of `explain_onnx`.
        tables_bytes_max: Maximum size of the tables of single leaves in an interventional explanation.

    Raises:
        ModelRejected: A path tests more than _PATH_FEATURES_MAX features, or the file would be too large.
    """
    writer, paths = GraphWriter("leaf"), leaf_paths(ensemble.trees, bins)
    if paths.buckets and paths.buckets[-1].width > _PATH_FEATURES_MAX:
        raise ModelRejected(
            f"a path tests {paths.buckets[-1].width} different features; at most {_PATH_FEATURES_MAX} are supported: fit with "
            f"max_depth={_PATH_FEATURES_MAX}"
        )
    features, met, parts = paths.features, add_conditions(writer, paths, bins, "classes"), []
    if baseline is None:
        for leaves in paths.buckets:
            parts += add_quadrature(writer, met, features, leaves)
    else:
        satisfied = paths.row_conditions(bins, row_classes(ensemble, bins, baseline))
        largest_table = table_width(paths.buckets, tables_bytes_max)
        for leaves in paths.buckets:
            add = add_leaf_tables if leaves.width <= largest_table else add_patterns
            parts += add(writer, met, features, leaves, satisfied)
    add_feature_sums(writer, parts, ensemble.feature_count, "contributions")
    size = sum(len(constant.raw_data) for constant in writer.constants)
    if size > _LEAFWISE_BYTES_MAX:
        remedy = "use fewer trees or leaves" if baseline is None else "use a baseline of fewer rows, or none"
        raise ModelRejected(
            f"the explanation is too large: {size / 1e6:,.0f} MB, at most {_LEAFWISE_BYTES_MAX / 1e6:,.0f} MB are allowed; {remedy}"
        )
    return _explain_model(ensemble, bins, writer.nodes, writer.constants, {BATCH_ROWS_KEY: str(LEAFWISE_BATCH_ROWS)})


def _explain_model(
    ensemble: Ensemble,
    bins: Mapping[int, FeatureBins],
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of explain.onnx; `nodes` compute the contributions from the classes of the values."""
    prepared = preprocessing(ensemble)
    all_nodes = [
        *prepared.nodes,
        _class_trees(bins).build(prepared.output, "class_numbers", max(len(bins), 1)),
        # The trees return doubles, but Gather needs integers.
        helper.make_node("Cast", ["class_numbers"], ["classes"], to=TensorProto.INT32),
        *nodes,
        margin_trees(ensemble).build(prepared.output, "margin", 1),
    ]
    outputs: list[tuple[str, list[str | int]]] = [
        ("contributions", ["n", ensemble.feature_count]),
        ("margin", ["n", 1]),
    ]
    return build_model("explain", ensemble, all_nodes, [*prepared.constants, *constants], outputs, metadata)


def _class_trees(bins: Mapping[int, FeatureBins]) -> TreeEnsembleBuilder:
    """Return one search tree per feature; the classes of all features have consecutive numbers."""
    builder, first_class = TreeEnsembleBuilder(), 0
    for target, feature_bins in enumerate(bins.values()):
        builder.add_root(_ClassTree(builder, feature_bins, target, first_class).add())
        first_class += len(feature_bins.goes_left)
    if not bins:  # a model without splits has no contributions, but the operator requires a tree
        builder.add_root(builder.add_leaf(0, 0.0))
    return builder


class _ClassTree:
    """The search tree of one feature: a balanced binary search among the edges of its bins."""

    def __init__(self, builder: TreeEnsembleBuilder, bins: FeatureBins, target: int, first_class: int) -> None:
        self._builder = builder
        self._bins = bins
        self._target = target
        self._first_class = first_class
        # If some interval has the class of missing values, the search leads missing values to this interval.
        found = np.flatnonzero(bins.classes == bins.missing_class)
        self._own_missing_class = not len(found)  # no interval belongs to this class
        self._missing_interval = len(bins.edges) if self._own_missing_class else int(found[0])

    def add(self) -> ChildRef:
        """Append the tree and return its root."""
        root = self._add_search(0, len(self._bins.edges))
        if not self._own_missing_class:
            return root
        # Every present value is at most infinity, so this split only separates missing values.
        node = self._builder.add_split(NumericSplit(self._bins.feature, np.inf, missing_left=False))
        self._builder.set_children(node, root, self._add_class(self._bins.missing_class))
        return node

    def _add_search(self, low: int, high: int) -> ChildRef:
        """Append the search among the intervals `low` to `high`, including both, and return its root."""
        if low == high:
            return self._add_class(int(self._bins.classes[low]))
        half = (low + high) // 2
        missing_left = self._missing_interval <= half
        node = self._builder.add_split(
            NumericSplit(self._bins.feature, float(self._bins.edges[half]), missing_left=missing_left)
        )
        left = self._add_search(low, half)
        self._builder.set_children(node, left, self._add_search(half + 1, high))
        return node

    def _add_class(self, number: int) -> ChildRef:
        """Append the leaf of a class and return it."""
        return self._builder.add_leaf(self._target, float(self._first_class + number))


def _steps_table(bins: Mapping[int, FeatureBins], groups: Sequence[LeafGroup]) -> NDArray[np.int32]:
    """Return what each class adds to the line number of each group: shape (classes of all features, groups).

    A line number is the number of a cell plus the number of the first line of the group's table. The number of the cell
    is a mixed-radix number whose digits the classes determine. The steps of a row's classes in a group add up to the
    row's line number in the group.
    """
    class_counts = [len(feature_bins.goes_left) for feature_bins in bins.values()]
    first_class = dict(zip(bins, np.cumsum([0, *class_counts]), strict=False))
    table = np.zeros((max(sum(class_counts), 1), len(groups)), dtype=np.int32)
    first_line = 0
    for column, group in enumerate(groups):
        # The steps of the first feature include the first line of the table, because a row has exactly one class per feature.
        stride, offset = 1, first_line
        for feature, digits in group.digits.items():
            row = first_class[feature]
            table[row : row + len(digits), column] = digits * stride + offset
            stride, offset = stride * group.radices[feature], 0
        first_line += group.cell_count
    return table


def _dense_lines(layout: TableLayout, tables: list[NDArray[np.float64]]) -> list[onnx.TensorProto]:
    """Return lines with a column for every feature of the model: shape (lines, features)."""
    lines = np.zeros((sum(len(table) for table in tables), layout.feature_count))
    first = 0
    for group, table in zip(layout.groups, tables, strict=True):
        lines[first : first + len(table), list(group.digits)] = table
        first += len(table)
    return [double_tensor("lines", lines)]


def _dense_sum() -> list[onnx.NodeProto]:
    """Return the node that adds dense lines."""
    return [helper.make_node("ReduceSum", ["unit_contributions", "middle"], ["contributions"], keepdims=0)]


def _sparse_lines(layout: TableLayout, tables: list[NDArray[np.float64]]) -> list[onnx.TensorProto]:
    """Return the sparse lines, and the feature of each column of each group.

    A line has one column for each feature of its group. The lines have shape (lines, width), and the features have shape
    (1, groups * width).
    """
    lines = np.zeros((sum(len(table) for table in tables), layout.width))
    owners = np.zeros((len(layout.groups), layout.width), dtype=np.int64)  # an unused column adds 0.0 to feature 0
    first = 0
    for number, (group, table) in enumerate(zip(layout.groups, tables, strict=True)):
        lines[first : first + len(table), : table.shape[1]] = table
        owners[number, : table.shape[1]] = list(group.digits)
        first += len(table)
    return [
        double_tensor("lines", lines),
        integer_tensor("owners", owners.reshape(1, -1)),
        integer_tensor("flat", np.array([0, owners.size])),
        double_tensor("zero", np.zeros((1, 1))),
    ]


def _sparse_sum() -> list[onnx.NodeProto]:
    """Return the nodes that add each column of sparse lines to the feature that it belongs to."""
    return [
        # ScatterElements needs indices and initial values of full shape, so both are expanded to the number of rows.
        helper.make_node("Reshape", ["unit_contributions", "flat"], ["parts"]),
        helper.make_node("Shape", ["parts"], ["parts_shape"]),
        helper.make_node("Expand", ["owners", "parts_shape"], ["owners_of_rows"]),
        helper.make_node("Shape", [ROWS], ["rows_shape"]),
        helper.make_node("Expand", ["zero", "rows_shape"], ["nothing"]),
        helper.make_node(
            "ScatterElements", ["nothing", "owners_of_rows", "parts"], ["contributions"], axis=1, reduction="add"
        ),
    ]
