"""score.onnx: the margin, equal to the bit to `Booster.predict(raw_score=True)`."""

from training.export.forest import Forest
from training.export.graph import input_nodes, model_of
from training.export.trees import Ensemble, Leaf, Tree


def score_onnx(ensemble: Ensemble) -> bytes:
    """Write the score graph: rows (n, features) in, margin (n, 1) out, log-odds before calibration."""
    rows, nodes, constants = input_nodes(ensemble)
    margin = score_forest(ensemble).node(rows, "margin", 1)
    return model_of("score", ensemble, [*nodes, margin], constants, [("margin", ["n", 1])])


def score_forest(ensemble: Ensemble) -> Forest:
    """Give the model's own trees, in its own order: the order in which their values are added."""
    forest = Forest()
    for tree in ensemble.trees:
        forest.add_root(add_tree(forest, tree))
    return forest


def add_tree(forest: Forest, tree: Tree) -> tuple[int, int]:
    """Add one tree of the model as it is."""
    if isinstance(tree, Leaf):
        return forest.add_leaf(0, tree.value)
    index = forest.reserve_node(tree.split)
    forest.true_child[index] = add_tree(forest, tree.left)
    forest.false_child[index] = add_tree(forest, tree.right)
    return index, 0
