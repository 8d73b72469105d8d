"""The Merkle tree of RFC 6962, grown leaf by leaf and proved from stored nodes.

Only complete subtrees are ever stored: `Node(level, number)` is the one over the leaves from number * 2**level up to, not
including, (number + 1) * 2**level. The last leaf of it completes it, so leaf i completes the nodes (0, i), (1, i >> 1), ...,
one for each 1 at the end of i in binary, and one more: two a leaf on average. A store that keeps these hashes beside
record i, one after the other, needs no other table, finds each by `home`, and never changes one.

Source: RFC 6962 section 2.1, which RFC 9162 section 2.1 repeats. The hash is SHA-256; a hash is 32 bytes everywhere.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from grounds_record.errors import ProofInvalid

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
SIZE_MAX = 2**63 - 1


class Node(NamedTuple):
    """A complete subtree, by its level (leaves are 0) and its number from the left, both from 0."""

    level: int
    number: int


# Gives the hash of every node that is asked for, in one question to the store; a node that it does not have is a KeyError.
NodeReader = Callable[[Sequence[Node]], Mapping[Node, bytes]]


def leaf_hash(data: bytes) -> bytes:
    """Hash a leaf: SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into one: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that is needed of a log to append to it and to know its root.

    Attributes:
        size: Leaves so far, 0 to 2**63 - 1.
        peaks: Hashes of `cover(0, size)`: one for each 1 of size in binary, largest subtree first.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> tuple["Frontier", tuple[bytes, ...]]:
        """Append one leaf.

        Args:
            leaf: Its leaf_hash.

        Returns:
            The frontier after it, and the hashes that this leaf completed, the leaf's own first: what to store with it.
        """
        return self.append_subtree(0, leaf)

    def append_subtree(self, level: int, subtree: bytes) -> tuple["Frontier", tuple[bytes, ...]]:
        """Append a complete subtree of 2**level leaves; size must be a multiple of that.

        Returns:
            As `append`; the first completed hash is the subtree's own.
        """
        assert self.size % (1 << level) == 0, "a subtree begins at a multiple of its size"
        peaks, completed = list(self.peaks), [subtree]
        carry = self.size >> level
        while carry & 1:
            completed.append(node_hash(peaks.pop(), completed[-1]))
            carry >>= 1
        return Frontier(self.size + (1 << level), (*peaks, completed[-1])), tuple(completed)

    def root(self) -> bytes:
        """Give the root of the leaves so far."""
        return fold_peaks(self.peaks)


def fold_peaks(hashes: Sequence[bytes]) -> bytes:
    """Give the root over neighbouring subtrees, each smaller than the one to its left; of none, the empty root."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def stored_position(node: Node) -> tuple[int, int]:
    """Give where a node is stored: the leaf that completes it, and its place among the hashes of that leaf."""
    return ((node.number + 1) << node.level) - 1, node.level


def children(node: Node) -> tuple[Node, Node]:
    """Give the two halves of a node above the leaves."""
    return Node(node.level - 1, node.number * 2), Node(node.level - 1, node.number * 2 + 1)


def leaf_range(node: Node) -> range:
    """Give the places of the leaves below a node."""
    return range(node.number << node.level, (node.number + 1) << node.level)


def completed_node_count(index: int) -> int:
    """Give how many nodes leaf `index` completes, itself included."""
    return (~index & (index + 1)).bit_length()


def covering_nodes(start: int, end: int) -> tuple[Node, ...]:
    """Give the fewest complete subtrees that hold exactly the leaves from start up to, not including, end."""
    nodes = []
    while start < end:
        widest = (start & -start).bit_length() - 1 if start else end.bit_length()
        level = min(widest, (end - start).bit_length() - 1)
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return tuple(nodes)


def read_frontier(size: int, read: NodeReader) -> Frontier:
    """Give the frontier of the first `size` leaves from the stored nodes."""
    nodes = covering_nodes(0, size)
    found = read(nodes)
    return Frontier(size, tuple(found[node] for node in nodes))


def inclusion_proof(index: int, size: int, read: NodeReader) -> tuple[bytes, ...]:
    """Prove that leaf `index` is in the tree of the first `size` leaves (RFC 6962, 2.1.1).

    Raises:
        ProofInvalid: There is no such leaf in a tree of that size.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"a tree of {size} records has no record {index}")
    return _range_roots(_inclusion_ranges(index, size), read)


def inclusion_nodes(index: int, size: int) -> tuple[Node, ...]:
    """Give the nodes whose hashes an inclusion proof takes; `index` is below `size`."""
    return tuple(node for start, end in _inclusion_ranges(index, size) for node in covering_nodes(start, end))


def consistency_proof(old: int, new: int, read: NodeReader) -> tuple[bytes, ...]:
    """Prove that the tree of the first `new` leaves begins with the tree of the first `old` (RFC 6962, 2.1.2).

    Raises:
        ProofInvalid: old is not from 0 to new.
    """
    if not 0 <= old <= new:
        raise ProofInvalid(f"a tree of {new} records does not begin with one of {old}")
    return _range_roots(_consistency_ranges(old, new), read)


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check an inclusion proof.

    Args:
        index: The leaf's place, from 0.
        size: Leaves of the tree.
        leaf: Its leaf_hash.
        proof: From the leaf upward.
        root: Of the tree of that size.

    Raises:
        ProofInvalid: It is not a proof of that.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofInvalid(f"a tree of {size} records has no record {index}")
    steps = _inclusion_ranges(index, size)
    _check_proof_length(proof, len(steps))
    for (start, _), sibling in zip(steps, proof, strict=True):
        leaf = node_hash(leaf, sibling) if start > index else node_hash(sibling, leaf)
    if leaf != root:
        raise ProofInvalid(f"the proof does not lead from record {index} to the root of {size} records")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check a consistency proof: nothing among the first `old` leaves was changed, moved or taken out.

    Args:
        old: Leaves of the older tree; every tree begins with the empty one.
        new: Leaves of the newer tree.
        old_root: Root of the older one.
        new_root: Root of the newer one.
        proof: From the seam upward.

    Raises:
        ProofInvalid: It is not a proof of that.
    """
    if not 0 <= old <= new <= SIZE_MAX:
        raise ProofInvalid(f"a tree of {new} records does not begin with one of {old}")
    steps = _consistency_ranges(old, new)
    _check_proof_length(proof, len(steps))
    rest = list(zip(steps, proof, strict=True))
    older = newer = old_root if old else EMPTY_ROOT
    # The old tree ends in the middle of a subtree unless its last subtree begins at leaf 0: then that one comes first.
    if rest and rest[0][0][1] == old:
        older = newer = rest.pop(0)[1]
    for (start, _), sibling in rest:
        if start >= old:
            newer = node_hash(newer, sibling)
        else:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
    if older != old_root:
        raise ProofInvalid(f"the proof does not lead to the root of the first {old} records")
    if old and newer != new_root:
        raise ProofInvalid(f"the proof does not lead from {old} records to the root of {new}")


def _inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Give the leaves (start, end) under each sibling on the way from a leaf up to the root."""
    start, end, siblings = 0, size, []
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
    """Give the leaves (start, end) under each hash of a consistency proof, in its order."""
    start, end, ranges = 0, new, []
    while 0 < old < end:
        middle = start + _largest_power_below(end - start)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:
        ranges.append((start, end))
    return ranges[::-1]


def _range_roots(ranges: Sequence[tuple[int, int]], read: NodeReader) -> tuple[bytes, ...]:
    """Give the root over each of the ranges, with one question to the store."""
    covers = [covering_nodes(start, end) for start, end in ranges]
    found = read([node for nodes in covers for node in nodes])
    return tuple(fold_peaks([found[node] for node in nodes]) for nodes in covers)


def _check_proof_length(proof: Sequence[bytes], count: int) -> None:
    """Refuse a proof of the wrong length: what is left over would prove nothing."""
    if len(proof) != count:
        raise ProofInvalid(f"the proof has {len(proof)} hashes; here it must have {count}")


def _largest_power_below(count: int) -> int:
    """Give the largest power of two that is less than count; count is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)
