"""The Merkle tree of RFC 6962: appended leaf by leaf, and proved from stored nodes.

Only complete subtrees are stored. `Node(level, number)` is the subtree over the leaves from number * 2**level up to, not
including, (number + 1) * 2**level. Its last leaf completes it. So leaf i completes the nodes (0, i), (1, i >> 1), ..., one
for each 1 at the end of i in binary, and one more: two a leaf on average. A store that keeps these hashes beside record i,
one after the other, needs no other table, finds each node by `stored_position`, and never changes one.

Sources: RFC 6962, section 2.1 (definition of the tree and of both proofs); RFC 9162, section 2.1 (the same tree, and the
algorithms that verify proofs). The hash is SHA-256; a hash has 32 bytes everywhere.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from grounds_record.errors import ProofInvalid

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()  # RFC 6962, 2.1: MTH({}) = SHA-256()
SIZE_MAX = 2**63 - 1  # what a signed 64-bit column of a database can count


class Node(NamedTuple):
    """A complete subtree.

    Attributes:
        level: 0 for leaves; a node of level n covers 2**n leaves.
        number: Counts the nodes of a level from the left, from 0.
    """

    level: int
    number: int


# Returns the hash of every requested node. A store answers a whole proof with one query. Missing nodes raise KeyError.
NodeReader = Callable[[Sequence[Node]], Mapping[Node, bytes]]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 || data)."""
    # The prefixes 0x00 and 0x01 separate leaves from nodes: otherwise two hashes could be presented as one record
    # (RFC 6962, 2.1: second preimage resistance).
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split_hashes(hashes: bytes) -> tuple[bytes, ...]:
    """Return concatenated hashes one by one; a shorter rest is returned too, and fails every proof."""
    return tuple(hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES))


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: all that is needed to append to it and to compute its root.

    Attributes:
        size: Number of leaves, 0 to 2**63 - 1.
        peaks: Hashes of `covering_nodes(0, size)`: one for each 1 of size in binary, largest subtree first.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> tuple["Frontier", tuple[bytes, ...]]:
        """Append one leaf.

        Args:
            leaf: Its `leaf_hash`.

        Returns:
            The new frontier, and the hashes of the nodes that this leaf completes, its own first: what to store with it.
        """
        return self.append_subtree(0, leaf)

    def append_subtree(self, level: int, subtree: bytes) -> tuple["Frontier", tuple[bytes, ...]]:
        """Append a complete subtree of 2**level leaves; size must be a multiple of 2**level.

        Returns:
            As `append`; the first hash is the subtree's own.
        """
        assert self.size % (1 << level) == 0, "a subtree begins at a multiple of its size"
        peaks, completed = list(self.peaks), [subtree]
        # Appending is binary addition: each 1 at the end of the size is a peak of equal height to merge with, as a carry.
        carry = self.size >> level
        while carry & 1:
            completed.append(node_hash(peaks.pop(), completed[-1]))
            carry >>= 1
        return Frontier(self.size + (1 << level), (*peaks, completed[-1])), tuple(completed)

    def root(self) -> bytes:
        """Return the root of the tree."""
        return fold_peaks(self.peaks)


def fold_peaks(hashes: Sequence[bytes]) -> bytes:
    """Return the root over neighbouring subtrees, each smaller than the one to its left; the empty root for none."""
    if not hashes:
        return EMPTY_ROOT
    # RFC 6962 splits at the largest power of two below the size, so the largest subtree is the left child of the root:
    # folding starts at the right.
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def merkle_root(hashes: Sequence[bytes]) -> bytes:
    """Return the Merkle root over hashes, in their order; the empty root for none."""
    # Level by level from below; an odd hash at the end moves up unchanged. That is the tree of RFC 6962, which splits at
    # the largest power of two from above: both pair the same complete subtrees, and leave the rest to the right.
    # `node_hash` is written out here, because a run has a million rows.
    level, sha256 = list(hashes), hashlib.sha256
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        parents = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        level = parents if len(level) % 2 == 0 else [*parents, level[-1]]
    return level[0] if level else EMPTY_ROOT


def stored_position(node: Node) -> tuple[int, int]:
    """Return where a node is stored: the leaf that completes it, and its index among the hashes of that leaf."""
    return ((node.number + 1) << node.level) - 1, node.level


def children(node: Node) -> tuple[Node, Node]:
    """Return the left and the right child of a node above the leaves."""
    return Node(node.level - 1, node.number * 2), Node(node.level - 1, node.number * 2 + 1)


def leaf_range(node: Node) -> range:
    """Return the indices of the leaves below a node."""
    return range(node.number << node.level, (node.number + 1) << node.level)


def completed_node_count(index: int) -> int:
    """Return how many nodes leaf `index` completes, itself included."""
    # One for each 1 at the end of the index, and one: the position of the lowest 0 bit, counted from 1.
    return (~index & (index + 1)).bit_length()


def covering_nodes(start: int, end: int) -> tuple[Node, ...]:
    """Return the fewest nodes that together cover exactly the leaves from start up to, not including, end."""
    nodes = []
    while start < end:
        # A node must begin at a multiple of its size (the lowest 1 bit of start), and must not reach beyond the end.
        aligned = (start & -start).bit_length() - 1 if start else end.bit_length()
        level = min(aligned, (end - start).bit_length() - 1)
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return tuple(nodes)


def inclusion_proof(index: int, size: int, read: NodeReader) -> tuple[bytes, ...]:
    """Return the proof that leaf `index` is in the tree of the first `size` leaves (RFC 6962, 2.1.1: audit path).

    Raises:
        ProofInvalid: A tree of that size has no such leaf.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"a tree of {size} records has no record {index}")
    return _range_roots(_inclusion_ranges(index, size), read)


def inclusion_nodes(index: int, size: int) -> tuple[Node, ...]:
    """Return the stored nodes from which an inclusion proof is computed; `index` must be less than `size`."""
    return tuple(node for start, end in _inclusion_ranges(index, size) for node in covering_nodes(start, end))


def consistency_proof(old: int, new: int, read: NodeReader) -> tuple[bytes, ...]:
    """Return the proof that the first `new` leaves begin with the first `old` leaves (RFC 6962, 2.1.2).

    Raises:
        ProofInvalid: `old` is not from 0 to `new`.
    """
    if not 0 <= old <= new:
        raise ProofInvalid(f"a tree of {new} records does not begin with one of {old}")
    return _range_roots(_consistency_ranges(old, new), read)


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Verify an inclusion proof (RFC 9162, 2.1.3.2).

    Args:
        index: Of the leaf, from 0.
        size: Of the tree.
        leaf: The `leaf_hash`.
        proof: Hashes from the leaf upward.
        root: Of the tree of that size.

    Raises:
        ProofInvalid: The proof does not lead from the leaf to the root.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofInvalid(f"a tree of {size} records has no record {index}")
    # The shape of the tree follows from its size, so the proof needs no directions: each sibling's side is known.
    siblings = _inclusion_ranges(index, size)
    _check_proof_length(proof, len(siblings))
    for (start, _), sibling in zip(siblings, proof, strict=True):
        leaf = node_hash(leaf, sibling) if start > index else node_hash(sibling, leaf)
    if leaf != root:
        raise ProofInvalid(f"the proof does not lead from record {index} to the root of {size} records")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Verify a consistency proof: none of the first `old` leaves was changed, moved or removed (RFC 9162, 2.1.4.2).

    Args:
        old: Size of the older tree; every tree begins with the empty one.
        new: Size of the newer tree.
        old_root: Root of the older tree.
        new_root: Root of the newer tree.
        proof: Hashes from the boundary between the old and the new leaves upward.

    Raises:
        ProofInvalid: The proof does not connect the two roots.
    """
    if not 0 <= old <= new <= SIZE_MAX:
        raise ProofInvalid(f"a tree of {new} records does not begin with one of {old}")
    ranges = _consistency_ranges(old, new)
    _check_proof_length(proof, len(ranges))
    rest = list(zip(ranges, proof, strict=True))
    # Both roots are rebuilt from the same hashes, so one cannot be faked without breaking the other. If the old tree is a
    # complete subtree, its root is known to the verifier, and is the starting point.
    older = newer = old_root if old else EMPTY_ROOT
    # Otherwise its last subtree ends at the boundary; the proof begins with that subtree's hash.
    if rest and rest[0][0][1] == old:
        older = newer = rest.pop(0)[1]
    for (start, _), sibling in rest:
        if start >= old:
            newer = node_hash(newer, sibling)  # leaves that only the newer tree has
        else:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
    if older != old_root:
        raise ProofInvalid(f"the proof does not lead to the root of the first {old} records")
    # The empty tree is consistent with everything, and its proof has no hashes that could lead to the newer root.
    if old and newer != new_root:
        raise ProofInvalid(f"the proof does not lead from {old} records to the root of {new}")


def _inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Return the leaves (start, end) below each sibling on the path from a leaf up to the root."""
    start, end, siblings = 0, size, []
    # Descend from the root to the leaf; at each split the half without the leaf is a sibling.
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
    """Return the leaves (start, end) below each hash of a consistency proof, in the order of the proof."""
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
    # That subtree is part of the proof unless it is the whole old tree, whose root the verifier has (RFC 6962, 2.1.2:
    # SUBPROOF with b = true).
    if start:
        ranges.append((start, end))
    return ranges[::-1]


def _range_roots(ranges: Sequence[tuple[int, int]], read: NodeReader) -> tuple[bytes, ...]:
    """Return the root over each of the ranges, with one call of the reader."""
    covers = [covering_nodes(start, end) for start, end in ranges]
    hashes = read([node for nodes in covers for node in nodes])
    return tuple(fold_peaks([hashes[node] for node in nodes]) for nodes in covers)


def _check_proof_length(proof: Sequence[bytes], count: int) -> None:
    """Reject a proof of the wrong length: additional hashes would be ignored, and so prove nothing."""
    if len(proof) != count:
        raise ProofInvalid(f"the proof has {len(proof)} hashes, expected {count}")


def _largest_power_below(count: int) -> int:
    """Return the largest power of two that is less than count; count is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)
