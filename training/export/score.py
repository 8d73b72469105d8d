"""score.onnx: computes the margin, which equals `Booster.predict(raw_score=True)` bit for bit."""

from training.export.graph import build_model, preprocessing
from training.export.tree_ensemble import ChildRef, TreeEnsembleBuilder
from training.export.trees import Ensemble, Leaf, Tree


def score_onnx(ensemble: Ensemble) -> bytes:
    """Return the bytes of score.onnx: input rows (n, features), output margin (n, 1) before calibration."""
    prepared = preprocessing(ensemble)
    margin = margin_trees(ensemble).build(prepared.output, "margin", 1)
    return build_model("score", ensemble, [*prepared.nodes, margin], [*prepared.constants], [("margin", ["n", 1])])


def margin_trees(ensemble: Ensemble) -> TreeEnsembleBuilder:
    """Return the trees of the model.

    The trees stay in the order of the model. Floating-point addition is not associative, so only this order is certain to
    lead to the same sum as in LightGBM.
    """
    builder = TreeEnsembleBuilder()
    for tree in ensemble.trees:
        builder.add_root(_add_tree(builder, tree))
    return builder


def _add_tree(builder: TreeEnsembleBuilder, tree: Tree) -> ChildRef:
    """Append one tree and return its root."""
    if isinstance(tree, Leaf):
        return builder.add_leaf(0, tree.value)
    node = builder.add_split(tree.split)
    left = _add_tree(builder, tree.left)
    builder.set_children(node, left, _add_tree(builder, tree.right))
    return node
