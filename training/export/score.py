"""score.onnx: the margin, equal to the bit to `Booster.predict(raw_score=True)`."""

from training.export.graph import build_model, input_nodes
from training.export.tree_ensemble import TreeEnsembleBuilder
from training.export.trees import Ensemble, Leaf, Tree


def score_onnx(ensemble: Ensemble) -> bytes:
    """Write the score graph: rows (n, features) in, margin (n, 1) out, log-odds before calibration."""
    rows, nodes, constants = input_nodes(ensemble)
    margin = margin_trees(ensemble).build(rows, "margin", 1)
    return build_model("score", ensemble, [*nodes, margin], constants, [("margin", ["n", 1])])


def margin_trees(ensemble: Ensemble) -> TreeEnsembleBuilder:
    """Give the model's own trees, in its own order: the order in which their values are added."""
    forest = TreeEnsembleBuilder()
    for tree in ensemble.trees:
        forest.add_root(add_tree(forest, tree))
    return forest


def add_tree(forest: TreeEnsembleBuilder, tree: Tree) -> tuple[int, int]:
    """Add one tree of the model as it is."""
    if isinstance(tree, Leaf):
        return forest.add_leaf(0, tree.value)
    index = forest.add_split(tree.split)
    forest.true_child[index] = add_tree(forest, tree.left)
    forest.false_child[index] = add_tree(forest, tree.right)
    return index, 0
