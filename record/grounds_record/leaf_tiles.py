"""The tree over a set that is known whole, such as the rows of a run: sorted leaves, kept in blocks, one of which proves one leaf.

The tree is that of RFC 6962 (`merkle`). A block is a complete subtree of BLOCK_LEAVES leaves, but for the last one, which
has what is left. As BLOCK_LEAVES is a power of two, the tree over the leaves is the tree over the roots of the blocks: a
proof goes up in its block, and on among the roots.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grounds_record.merkle import EMPTY_ROOT, HASH_BYTES, Node, inclusion_proof, leaf_range

TILE_LEAVES = 4096


@dataclass(frozen=True, slots=True)
class LeafTile:
    """Neighbouring leaves.

    Attributes:
        first: The smallest leaf hash; 32 bytes.
        root: Over the leaves; 32 bytes.
        hashes: All leaf hashes, ascending, 32 bytes each, one after the other.
    """

    first: bytes
    root: bytes
    hashes: bytes


@dataclass(frozen=True, slots=True)
class LeafProof:
    """The way from a leaf to the root of the whole tree, as `merkle.verify_inclusion` takes it."""

    index: int
    size: int
    hashes: tuple[bytes, ...]


def build_leaf_tiles(leaves: Iterable[bytes]) -> list[LeafTile]:
    """Sort leaf hashes into blocks; none of no leaves."""
    ordered = sorted(leaves)
    parts = [ordered[start : start + TILE_LEAVES] for start in range(0, len(ordered), TILE_LEAVES)]
    return [LeafTile(part[0], merkle_root(part), b"".join(part)) for part in parts]


def merkle_root(hashes: Sequence[bytes]) -> bytes:
    """Give the root over hashes in their order: level by level, the odd one at the end goes up as it is.

    The same root as RFC 6962 gives by splitting at the largest power of two from above.
    """
    level, sha256 = list(hashes), hashlib.sha256
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        level = above if len(level) % 2 == 0 else [*above, level[-1]]
    return level[0] if level else EMPTY_ROOT


def split_hashes(hashes: bytes) -> list[bytes]:
    """Take the hashes of a block apart."""
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]


def find_tile(firsts: Sequence[bytes], leaf: bytes) -> int:
    """Give the block that has a leaf if any has it, from the smallest leaf of each; -1 where none can."""
    return bisect_right(firsts, leaf) - 1


def prove_leaf(leaf: bytes, tile: int, hashes: Sequence[bytes], roots: Sequence[bytes], size: int) -> LeafProof | None:
    """Prove that a leaf is in the tree; None where the block does not have it.

    Args:
        leaf: Its hash.
        tile: The number of the block, from 0.
        hashes: All leaf hashes of that block, ascending.
        roots: Of all blocks.
        size: Leaves of the tree.
    """
    place = bisect_right(hashes, leaf) - 1
    if place < 0 or hashes[place] != leaf:
        return None
    within = inclusion_proof(place, len(hashes), _LeafNodeReader(hashes))
    among = inclusion_proof(tile, len(roots), _LeafNodeReader(roots))
    return LeafProof(tile * TILE_LEAVES + place, size, (*within, *among))


class _LeafNodeReader:
    """Computes the nodes of a small tree from its leaves, for `merkle.inclusion_proof`."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves

    def __call__(self, nodes: Sequence[Node]) -> Mapping[Node, bytes]:
        """Give the hash of each."""
        found = {}
        for node in nodes:
            places = leaf_range(node)
            found[node] = merkle_root(self.leaves[places.start : places.stop])
        return found
