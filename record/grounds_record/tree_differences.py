"""Tree differences: which records differ from what a signed root covers.

A signed root determines the two hashes below it, and each of those the two below it. So the search descends from the root.
For every node there are two candidates, the hash computed from the records and the hash stored long ago, and the pair that
gives the parent's hash is the true one. If the computed hash is true, all records below are as they were written. If the
stored hash is true, the search goes on below it. It ends at a single record; or at a subtree where neither fits, because
both the records and the stored hashes were changed. Then one of its records differs, and nothing more can be known.

Two records that were exchanged together with their hashes are found by exchanging them back.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from grounds_record.merkle import Node, children, covering_nodes, fold_peaks, leaf_range, merkle_root, node_hash
from grounds_record.rebuilt_tree import RebuiltTree

_COMBINATIONS_MAX = 4096  # of candidates for the peaks of a checkpoint
_SUSPECTS_MAX = 64  # records among which exchanged pairs are searched: 2,016 pairs


@dataclass(slots=True)
class TreeDifferences:
    """The records that differ from what signed roots cover.

    Attributes:
        records: True leaf hash of each record that differs, by index.
        subtrees: True hash of each subtree that has a differing record which cannot be identified.
    """

    records: dict[int, bytes] = field(default_factory=dict)
    subtrees: dict[Node, bytes] = field(default_factory=dict)


def locate_differences(tree: RebuiltTree, size: int, root: bytes, differences: TreeDifferences) -> bool:
    """Add the records that differ from what a signed root covers.

    Args:
        tree: Of the exported records.
        size: Of the checkpoint; at most that of the tree.
        root: Of the checkpoint; not the one that the tree has.
        differences: Those of smaller checkpoints, to which this one's are added.

    Returns:
        False if the stored hashes do not lead to the root either: all of them were rewritten to match the records.
    """
    # The root of an incomplete tree is folded from its peaks, so their true hashes are found together.
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
    """Add the records that differ below a node whose true hash is known."""
    if tree.computed_hash(node) == truth:
        return  # SHA-256 has no known collisions, so every record below is as it was written
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
    # Single records: each one's computed hash is the true hash of the other.
    current = {tree.computed_hash(Node(0, index)): index for index in differences.records}
    for index, truth in list(differences.records.items()):
        other = current.get(truth, index)
        if index < other and differences.records[other] == tree.computed_hash(Node(0, index)):
            del differences.records[index], differences.records[other]
            yield index, other
    # Records in damaged subtrees: exchange each pair back, and see whether every subtree gets its true hash.
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
    """Return the hash of a subtree with two records exchanged; None if a record of it was not exported."""
    exchanged = {one: other, other: one}
    leaves = [tree.computed_hash(Node(0, exchanged.get(index, index))) for index in leaf_range(node)]
    known = [leaf for leaf in leaves if leaf is not None]
    return merkle_root(known) if len(known) == len(leaves) else None
