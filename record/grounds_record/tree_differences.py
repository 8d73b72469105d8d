"""Finds which records differ from what a signed root covers.

A signed root vouches for two hashes that together give it, and each of those for two more. So from the root down, wherever
the hash computed from the records and the hash stored long ago differ, the one that fits is the true one: if it is the
computed one, all records below are as they were written; if it is the stored one, go on below it. That ends at one record,
or at a subtree of which both the records and the stored hashes were changed: then it is one of those records, and no more
can be known. Two records that were exchanged together with their hashes are found by exchanging them back.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from grounds_record.merkle import Node, children, covering_nodes, fold_peaks, leaf_range, node_hash
from grounds_record.rebuilt_tree import RebuiltTree

CHOICES_MAX = 4096  # combinations of peaks that are tried
SUSPECTS_MAX = 64  # so many records make 2,016 pairs that are tried


@dataclass(slots=True)
class TreeDifferences:
    """What differs from a signed root.

    Attributes:
        records: True leaf hash of each record that is known to differ.
        subtrees: True hash of each subtree that is known to hold such a record, nobody can say which.
    """

    records: dict[int, bytes] = field(default_factory=dict)
    subtrees: dict[Node, bytes] = field(default_factory=dict)


def locate_differences(walk: RebuiltTree, size: int, root: bytes, found: TreeDifferences) -> bool:
    """Find what differs from a signed root.

    Args:
        walk: The records, read.
        size: Of the checkpoint; within the walk.
        root: Of the checkpoint; not the one that the records give.
        found: To what was found from smaller checkpoints, this one's is added.

    Returns:
        False where the stored hashes do not lead to the root either: everything was rewritten to fit.
    """
    nodes = covering_nodes(0, size)
    choices = [walk.candidates(node) for node in nodes]
    if math.prod(len(each) for each in choices) > CHOICES_MAX:
        return False
    truths = next((hashes for hashes in itertools.product(*choices) if fold_peaks(hashes) == root), None)
    if truths is None:
        return False
    for node, truth in zip(nodes, truths, strict=True):
        _descend(walk, node, truth, found)
    return True


def _descend(walk: RebuiltTree, node: Node, truth: bytes, found: TreeDifferences) -> None:
    """Find what differs below a node whose true hash is known."""
    if walk.computed(node) == truth:
        return
    if node.level == 0:
        found.records.setdefault(node.number, truth)
        return
    left, right = children(node)
    for pair in itertools.product(walk.candidates(left), walk.candidates(right)):
        if node_hash(*pair) == truth:
            _descend(walk, left, pair[0], found)
            _descend(walk, right, pair[1], found)
            return
    found.subtrees.setdefault(node, truth)


def extract_exchanges(walk: RebuiltTree, found: TreeDifferences) -> Iterator[tuple[int, int]]:
    """Give pairs of records that stand in each other's place, and take them out of what was found."""
    now = {walk.computed(Node(0, place)): place for place in found.records}
    for place, truth in list(found.records.items()):
        other = now.get(truth, place)
        if place < other and found.records[other] == walk.computed(Node(0, place)):
            del found.records[place], found.records[other]
            yield place, other
    suspects = (
        [place for node in found.subtrees for place in leaf_range(node)] if _is_pair_search_feasible(found) else []
    )
    for one, other in itertools.combinations(suspects, 2):
        touched = [node for node in found.subtrees if one in leaf_range(node) or other in leaf_range(node)]
        if touched and all(_root_after_exchange(walk, node, one, other) == found.subtrees[node] for node in touched):
            for node in touched:
                del found.subtrees[node]
            yield one, other


def _is_pair_search_feasible(found: TreeDifferences) -> bool:
    """Tell whether so few records are suspected that all pairs can be tried."""
    return sum(len(leaf_range(node)) for node in found.subtrees) <= SUSPECTS_MAX


def _root_after_exchange(walk: RebuiltTree, node: Node, one: int, other: int) -> bytes | None:
    """Give the hash of a subtree after exchanging two records; None if not all of its records are there."""
    back = {one: other, other: one}
    leaves = [walk.computed(Node(0, back.get(place, place))) for place in leaf_range(node)]
    known = [leaf for leaf in leaves if leaf is not None]
    return _subtree_root(known) if len(known) == len(leaves) else None


def _subtree_root(hashes: Sequence[bytes]) -> bytes:
    """Give the hash of the complete subtree over these leaf hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]
