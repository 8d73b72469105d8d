"""The Merkle tree of RFC 6962: appending leaves, computing proofs from stored nodes, and verifying proofs.

Only complete subtrees are stored. `Node(level, number)` is the subtree over 2**level leaves, beginning with the leaf of index
`number * 2**level`. A node is completed by its last leaf. Leaf i therefore completes the nodes (0, i), (1, i >> 1), ...: one
node, and one more for each of the consecutive 1 bits at the end of i. On average, a leaf completes two nodes. A store keeps the hashes of
these nodes with record i. It needs no other table for the tree, finds the hash of each node by `stored_position`, and never
changes a hash.

A tree has an inclusion proof for each leaf (the leaf is in the tree) and a consistency proof for each smaller size (the smaller
tree is a prefix of this one). Sources: RFC 6962, section 2.1 (definition of the tree and of both proofs), and RFC 9162,
section 2.1 (the same tree, and the algorithms that verify proofs). All hashes are SHA-256, 32 bytes.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from grounds_record.errors import ProofInvalid

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()  # RFC 6962, 2.1: MTH({}) = SHA-256()
SIZE_MAX = 2**63 - 1  # the largest value of a signed 64-bit database column


class Node(NamedTuple):
    """A complete subtree.

    Attributes:
        level: Height of the subtree, 0 for a leaf. A node of level n covers 2**n leaves.
        number: Position of the node within its level, counted from the left, from 0.
    """

    level: int
    number: int


class InclusionStep(NamedTuple):
    """One step of the path from a leaf to the root.

    Attributes:
        sibling: Hash of the subtree beside the path.
        sibling_leaves: The leaves [start, end) of this subtree.
        is_left: Whether this subtree is left of the path.
        hash: Hash of the subtree and the path together.
        leaves: The leaves [start, end) of both.
    """

    sibling: bytes
    sibling_leaves: tuple[int, int]
    is_left: bool
    hash: bytes
    leaves: tuple[int, int]


# A reader returns the hash of every requested node. One call requests all nodes of a proof. A missing node raises KeyError.
NodeReader = Callable[[Sequence[Node]], Mapping[Node, bytes]]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 || data)."""
    # The prefixes 0x00 and 0x01 distinguish leaves from nodes. Without them, an attacker could present two concatenated hashes
    # as the data of a leaf (RFC 6962, 2.1: second preimage resistance).
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split_hashes(hashes: bytes) -> tuple[bytes, ...]:
    """Split concatenated hashes. An incomplete last hash is returned unchanged; every proof that contains it is invalid."""
    return tuple(hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES))


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: the hashes that are needed to append leaves and to compute the root.

    Attributes:
        size: Number of leaves, 0 to 2**63 - 1.
        peaks: Hashes of `covering_nodes(0, size)`, the largest subtree first. There is one peak for each 1 bit of `size`.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> tuple["Frontier", tuple[bytes, ...]]:
        """Append one leaf.

        Args:
            leaf: The `leaf_hash`.

        Returns:
            The new frontier, and the hashes of the nodes that this leaf completes, beginning with the leaf hash. The caller
            stores these hashes with the leaf.
        """
        return self.append_subtree(0, leaf)

    def append_subtree(self, level: int, subtree: bytes) -> tuple["Frontier", tuple[bytes, ...]]:
        """Append a complete subtree of 2**level leaves. The size of the tree must be a multiple of 2**level.

        Returns:
            The new frontier, and the hashes of the nodes that this subtree completes, beginning with the subtree's own hash.
        """
        assert self.size % (1 << level) == 0, "a subtree begins at a multiple of its size"
        peaks, completed = list(self.peaks), [subtree]
        # Appending works like adding 1 in binary: each of the consecutive 1 bits at the end of the size is a peak, and merging
        # this peak with the completed subtree of the same height is the carry.
        carry = self.size >> level
        while carry & 1:
            completed.append(node_hash(peaks.pop(), completed[-1]))
            carry >>= 1
        return Frontier(self.size + (1 << level), (*peaks, completed[-1])), tuple(completed)

    def root(self) -> bytes:
        """Return the root of the tree."""
        return fold_peaks(self.peaks)


def fold_peaks(hashes: Sequence[bytes]) -> bytes:
    """Return the root over adjacent subtrees, each smaller than the one to its left; `EMPTY_ROOT` if there are none."""
    if not hashes:
        return EMPTY_ROOT
    # RFC 6962 splits a tree at the largest power of two below its size. The largest subtree is therefore the left child of the
    # root, so the fold begins with the rightmost subtree.
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def merkle_root(hashes: Sequence[bytes]) -> bytes:
    """Return the Merkle root over leaf or subtree hashes in the given order; `EMPTY_ROOT` if there are none."""
    # Compute level by level from the leaves; an unpaired last hash moves up unchanged. RFC 6962 defines the same tree from the
    # root downwards. Both constructions pair the same complete subtrees, and both leave the incomplete subtree on the right.
    # `node_hash` is inlined, because a scoring run can have millions of rows.
    level, sha256 = list(hashes), hashlib.sha256
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        parents = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        level = parents if len(level) % 2 == 0 else [*parents, level[-1]]
    return level[0] if level else EMPTY_ROOT


def stored_position(node: Node) -> tuple[int, int]:
    """Return where the hash of a node is stored: the index of the leaf that completes it, and its position among that leaf's hashes."""
    return ((node.number + 1) << node.level) - 1, node.level


def children(node: Node) -> tuple[Node, Node]:
    """Return the left and the right child of a node above the leaves."""
    return Node(node.level - 1, node.number * 2), Node(node.level - 1, node.number * 2 + 1)


def leaf_range(node: Node) -> range:
    """Return the indices of the leaves that a node covers."""
    return range(node.number << node.level, (node.number + 1) << node.level)


def completed_node_count(index: int) -> int:
    """Return how many nodes leaf `index` completes, including the leaf itself."""
    # This is one more than the number of 1 bits at the end of the index: the position of the lowest 0 bit, counted from 1.
    return (~index & (index + 1)).bit_length()


def covering_nodes(start: int, end: int) -> tuple[Node, ...]:
    """Return the smallest set of nodes that covers exactly the leaves [start, end), from left to right."""
    nodes = []
    while start < end:
        # A node must begin at a multiple of its size, so the lowest 1 bit of `start` limits its size. The node must also not
        # extend beyond `end`.
        aligned = (start & -start).bit_length() - 1 if start else end.bit_length()
        level = min(aligned, (end - start).bit_length() - 1)
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return tuple(nodes)


def inclusion_proof(index: int, size: int, read: NodeReader) -> tuple[bytes, ...]:
    """Return the proof that leaf `index` is in the tree of the first `size` leaves (RFC 6962, 2.1.1: audit path).

    Raises:
        ProofInvalid: A tree of this size has no leaf with this index.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"a tree of {size} records has no record {index}")
    return _range_roots(_inclusion_ranges(index, size), read)


def inclusion_nodes(index: int, size: int) -> tuple[Node, ...]:
    """Return the stored nodes from which an inclusion proof is computed; `index` must be less than `size`."""
    return tuple(node for start, end in _inclusion_ranges(index, size) for node in covering_nodes(start, end))


def consistency_proof(old: int, new: int, read: NodeReader) -> tuple[bytes, ...]:
    """Return the proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 6962, 2.1.2).

    Raises:
        ProofInvalid: `old` is not in the range 0 to `new`.
    """
    if not 0 <= old <= new:
        raise ProofInvalid(f"a tree of {new} records does not begin with one of {old}")
    return _range_roots(_consistency_ranges(old, new), read)


def inclusion_path(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> tuple[InclusionStep, ...]:
    """Return the steps from a leaf to the root that an inclusion proof leads to (RFC 9162, 2.1.3.2).

    The hash of the last step is this root; without steps, it is `leaf`. The caller compares it with the root of the tree.

    Args:
        index: Index of the leaf, from 0.
        size: Number of leaves of the tree.
        leaf: The `leaf_hash`.
        proof: Hashes of the proof, from the leaf to the root.

    Raises:
        ProofInvalid: A tree of this size has no leaf with this index, or a proof with another number of hashes.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofInvalid(f"a tree of {size} records has no record {index}")
    # The size determines the shape of the tree, so the proof need not state whether a sibling is on the left or on the right.
    siblings = _inclusion_ranges(index, size)
    _check_proof_length(proof, len(siblings))
    start, end, steps = index, index + 1, []
    for leaves, sibling in zip(siblings, proof, strict=True):
        is_left = leaves[0] < start
        leaf = node_hash(sibling, leaf) if is_left else node_hash(leaf, sibling)
        start, end = min(start, leaves[0]), max(end, leaves[1])
        steps.append(InclusionStep(sibling, leaves, is_left, leaf, (start, end)))
    return tuple(steps)


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Verify an inclusion proof (RFC 9162, 2.1.3.2).

    Args:
        index: Index of the leaf, from 0.
        size: Number of leaves of the tree.
        leaf: The `leaf_hash`.
        proof: Hashes of the proof, from the leaf to the root.
        root: Root of the tree.

    Raises:
        ProofInvalid: The proof does not lead from the leaf to the root.
    """
    steps = inclusion_path(index, size, leaf, proof)
    if (steps[-1].hash if steps else leaf) != root:
        raise ProofInvalid(f"the proof does not lead from record {index} to the root of {size} records")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Verify a consistency proof: none of the first `old` leaves was changed, moved or removed (RFC 9162, 2.1.4.2).

    Args:
        old: Number of leaves of the older tree. The empty tree is a prefix of every tree.
        new: Number of leaves of the newer tree.
        old_root: Root of the older tree.
        new_root: Root of the newer tree.
        proof: Hashes of the proof, from the boundary between the old and the new leaves to the root.

    Raises:
        ProofInvalid: The proof does not lead to both roots.
    """
    if not 0 <= old <= new <= SIZE_MAX:
        raise ProofInvalid(f"a tree of {new} records does not begin with one of {old}")
    ranges = _consistency_ranges(old, new)
    _check_proof_length(proof, len(ranges))
    rest = list(zip(ranges, proof, strict=True))
    # Both roots are computed from the same hashes of the old leaves. If both computed roots are right, these hashes are genuine,
    # because nobody can find other hashes with the same root. The newer tree then begins with exactly the leaves of the older tree.
    # The computation begins with the subtree that ends at the boundary. If this subtree is the whole old tree, its hash is
    # `old_root`, and the proof omits it.
    older = newer = old_root if old else EMPTY_ROOT
    # If it is only a part of the old tree, its hash is the first hash of the proof.
    if rest and rest[0][0][1] == old:
        older = newer = rest.pop(0)[1]
    for (start, _), sibling in rest:
        if start >= old:
            newer = node_hash(newer, sibling)  # only the newer tree has these leaves
        else:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
    if older != old_root:
        raise ProofInvalid(f"the proof does not lead to the root of the first {old} records")
    # The empty tree is consistent with every tree, and its proof has no hashes from which to compute the newer root.
    if old and newer != new_root:
        raise ProofInvalid(f"the proof does not lead from {old} records to the root of {new}")


def _inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Return the range of leaves [start, end) of each sibling on the path from a leaf to the root."""
    start, end, siblings = 0, size, []
    # Descend from the root to the leaf. At each split, the half that does not contain the leaf is a sibling.
    while end - start > 1:
        middle = start + _largest_power_below(end - start)
        if index < middle:
            siblings.append((middle, end))
            end = middle
        else:
            siblings.append((start, middle))
            start = middle
    return siblings[::-1]


def _consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """Return the range of leaves [start, end) of each hash of a consistency proof, in the order of the proof."""
    start, end, ranges = 0, new, []
    # Descend from the root of the new tree towards the last old leaf, until a subtree ends exactly at the boundary.
    while 0 < old < end:
        middle = start + _largest_power_below(end - start)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    # The subtree that ends at the boundary is part of the proof, unless it is the whole old tree: the verifier knows that root
    # (RFC 6962, 2.1.2: SUBPROOF with b = true).
    if start:
        ranges.append((start, end))
    return ranges[::-1]


def _range_roots(ranges: Sequence[tuple[int, int]], read: NodeReader) -> tuple[bytes, ...]:
    """Return the root over the leaves of each range, with one call of the reader."""
    covers = [covering_nodes(start, end) for start, end in ranges]
    hashes = read([node for nodes in covers for node in nodes])
    return tuple(fold_peaks([hashes[node] for node in nodes]) for nodes in covers)


def _check_proof_length(proof: Sequence[bytes], count: int) -> None:
    """Reject a proof of the wrong length, because additional hashes would not be verified."""
    if len(proof) != count:
        raise ProofInvalid(f"the proof has {len(proof)} hashes, expected {count}")


def _largest_power_below(count: int) -> int:
    """Return the largest power of two that is less than `count`; `count` is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)
