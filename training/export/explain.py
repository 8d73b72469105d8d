"""explain.onnx: the contributions, exact in doubles, from an ordinary tree ensemble.

For each unit, a tree over the unit's own questions ends in the number of a line; the line holds the
unit's contributions at that pattern of answers; the lines of all units are added.

    rows -> TreeEnsemble: (n, units) line numbers -> Gather: (n, units, features) -> ReduceSum: (n, features)
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from training.export.forest import Forest, doubles
from training.export.graph import input_nodes, model_of
from training.export.patterns import Ask, Known, pattern_tree
from training.export.shapley import contributions
from training.export.trees import ZERO_MAX, Ensemble
from training.export.units import Unit, answers, cut


def explain_onnx(ensemble: Ensemble, baseline: NDArray[np.float64] | None) -> bytes:
    """Write the explanation graph: rows (n, features) in, contributions (n, features) out, log-odds before calibration.

    Args:
        ensemble: The model.
        baseline: Shape (n_baseline, features), NaN where missing: the population to compare with
            (interventional). None means path-dependent: the training rows, by the covers of the splits.
    """
    units = [unit for tree in ensemble.trees for unit in cut(tree) if unit.questions]
    if not units:  # a model of constants: nothing contributes, yet the graph needs a tree
        units = [Unit((), ())]
    rows = None if baseline is None else with_missing_zeros(ensemble, baseline)
    forest = Forest()
    lines: list[NDArray[np.float64]] = []
    for target, unit in enumerate(units):
        patterns: list[tuple[bool, ...]] = []
        first_line = sum(len(part) for part in lines)
        forest.add_root(add_patterns(forest, pattern_tree(unit.questions), (target, first_line), patterns))
        lines.append(lines_of(unit, np.array(patterns, dtype=np.bool_), rows, ensemble.feature_count))
    return assemble(ensemble, forest, np.concatenate(lines), len(units))


def with_missing_zeros(ensemble: Ensemble, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the rows as the trees take them: what `graph.input_nodes` does, in numpy."""
    columns = sorted(ensemble.zero_missing)
    taken = rows.astype(np.float64, copy=True)
    taken[:, columns] = np.where(np.abs(taken[:, columns]) <= ZERO_MAX, np.nan, taken[:, columns])
    return taken


def lines_of(
    unit: Unit, patterns: NDArray[np.bool_], baseline: NDArray[np.float64] | None, feature_count: int
) -> NDArray[np.float64]:
    """Give one line per pattern: the contributions of all features of the model."""
    lines = np.zeros((len(patterns), feature_count))
    lines[:, list(unit.features())] = contributions(
        unit, patterns, None if baseline is None else answers(unit.questions, baseline)
    )
    return lines


def add_patterns(
    forest: Forest, tree: Ask | Known, place: tuple[int, int], patterns: list[tuple[bool, ...]]
) -> tuple[int, int]:
    """Add one unit's tree, whose leaves number the unit's lines.

    Args:
        forest: Takes the tree.
        tree: The part of the unit's tree to add.
        place: The unit's number and the number of its first line.
        patterns: Takes the pattern of each line, in the order of the lines.
    """
    target, first_line = place
    if isinstance(tree, Known):
        patterns.append(tree.pattern)
        return forest.add_leaf(target, float(first_line + len(patterns) - 1))
    index = forest.reserve_node(tree.question)
    forest.true_child[index] = add_patterns(forest, tree.left, place, patterns)
    forest.false_child[index] = add_patterns(forest, tree.right, place, patterns)
    return index, 0


def assemble(ensemble: Ensemble, forest: Forest, lines: NDArray[np.float64], unit_count: int) -> bytes:
    """Put the graph together."""
    rows, input_steps, constants = input_nodes(ensemble)
    steps: list[onnx.NodeProto] = [
        *input_steps,
        forest.node(rows, "line_numbers", unit_count),
        helper.make_node("Cast", ["line_numbers"], ["line_indices"], to=TensorProto.INT64),
        helper.make_node("Gather", ["lines", "line_indices"], ["unit_contributions"], axis=0),
        helper.make_node("ReduceSum", ["unit_contributions", "unit_axis"], ["contributions"], keepdims=0),
    ]
    tables = [*constants, doubles("lines", lines), helper.make_tensor("unit_axis", TensorProto.INT64, [1], [1])]
    return model_of("explain", ensemble, steps, tables, ("contributions", ["n", ensemble.feature_count]))
