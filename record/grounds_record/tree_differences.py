"""Tree differences: the search for the records that differ from the records that a signed root covers.

A signed root determines the hashes of its two children, and each of these determines the hashes of its own children. The search
therefore descends from the root. Every node has two candidates for its original hash: the hash computed from the records, and
the stored hash. The pair of candidates whose hash is the parent's hash is the original pair.

- If the computed hash is the original hash, all records below the node are unchanged.
- If the stored hash is the original hash, a record below the node was changed, and the search continues with its children.
- If no pair matches, the records and the stored hashes were both changed. Then at least one record below the parent was changed,
  but it cannot be determined which one.

To find two records that were exchanged together with their hashes, the search exchanges pairs of records and compares the roots.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from grounds_record.merkle import Node, children, covering_nodes, fold_peaks, leaf_range, merkle_root, node_hash
from grounds_record.rebuilt_tree import RebuiltTree

_COMBINATIONS_MAX = 4096  # limit of combinations of candidates for the peaks of a checkpoint
_SUSPECTS_MAX = 64  # limit of records among which exchanged pairs are searched, which is 2,016 pairs


@dataclass(slots=True)
class TreeDifferences:
    """The records that differ from the records that signed roots cover.

    Attributes:
        records: Original leaf hash of each record that differs, by index.
        subtrees: Original hash of each subtree in which a record differs but cannot be identified.
    """

    records: dict[int, bytes] = field(default_factory=dict)
    subtrees: dict[Node, bytes] = field(default_factory=dict)


def locate_differences(tree: RebuiltTree, size: int, root: bytes, differences: TreeDifferences) -> bool:
    """Add the records that differ from the records that a signed root covers.

    Args:
        tree: Tree of the exported records.
        size: Size of the checkpoint; at most the size of the tree.
        root: Root of the checkpoint. The root of the tree at this size is different.
        differences: Differences that were found with smaller checkpoints. The new differences are added.

    Returns:
        Whether the differences were located. False means that the stored hashes do not lead to the signed root (all of them were
        rewritten to match the changed records), or that there are too many combinations to try.
    """
    # The root is folded from several peaks, so the original hashes of all peaks must be determined together.
    nodes = covering_nodes(0, size)
    choices = [tree.candidates(node) for node in nodes]
    if math.prod(len(each) for each in choices) > _COMBINATIONS_MAX:
        return False
    truths = next((hashes for hashes in itertools.product(*choices) if fold_peaks(hashes) == root), None)
    if truths is None:
        return False
    for node, truth in zip(nodes, truths, strict=True):
        _descend(tree, node, truth, differences)
    return True


def _descend(tree: RebuiltTree, node: Node, truth: bytes, differences: TreeDifferences) -> None:
    """Add the records that differ below a node whose original hash is known."""
    if tree.computed_hash(node) == truth:
        return  # every record below is unchanged, because SHA-256 has no known collisions
    if node.level == 0:
        differences.records.setdefault(node.number, truth)
        return
    left, right = children(node)
    for pair in itertools.product(tree.candidates(left), tree.candidates(right)):
        if node_hash(*pair) == truth:
            _descend(tree, left, pair[0], differences)
            _descend(tree, right, pair[1], differences)
            return
    differences.subtrees.setdefault(node, truth)


def extract_exchanges(tree: RebuiltTree, differences: TreeDifferences) -> Iterator[tuple[int, int]]:
    """Yield the pairs of records that were exchanged, and remove them from the differences."""
    # Two single records were exchanged if the computed hash of each is the original hash of the other.
    current = {tree.computed_hash(Node(0, index)): index for index in differences.records}
    for index, truth in list(differences.records.items()):
        other = current.get(truth, index)
        if index < other and differences.records[other] == tree.computed_hash(Node(0, index)):
            del differences.records[index], differences.records[other]
            yield index, other
    # For records in damaged subtrees, exchange each pair back, and check whether every affected subtree has its original hash.
    if sum(len(leaf_range(node)) for node in differences.subtrees) > _SUSPECTS_MAX:
        return
    suspects = [index for node in differences.subtrees for index in leaf_range(node)]
    for one, other in itertools.combinations(suspects, 2):
        affected = [node for node in differences.subtrees if one in leaf_range(node) or other in leaf_range(node)]
        if affected and all(
            _root_after_exchange(tree, node, one, other) == differences.subtrees[node] for node in affected
        ):
            for node in affected:
                del differences.subtrees[node]
            yield one, other


def _root_after_exchange(tree: RebuiltTree, node: Node, one: int, other: int) -> bytes | None:
    """Return the hash of a subtree after exchanging two records; None if a record of the subtree was not exported."""
    exchanged = {one: other, other: one}
    leaves = [tree.computed_hash(Node(0, exchanged.get(index, index))) for index in leaf_range(node)]
    known = [leaf for leaf in leaves if leaf is not None]
    return merkle_root(known) if len(known) == len(leaves) else None
