"""Leaf tiles: the Merkle tree over a complete set, such as the rows of a scoring run, stored so that a proof needs few reads.

The leaves are sorted by hash and packed into tiles of TILE_LEAVES leaves. The last tile contains the remaining leaves.
TILE_LEAVES is a power of two, so every full tile is a complete subtree, and the root over the leaves equals the root over the
roots of the tiles (RFC 6962, 2.1). The inclusion proof of a leaf therefore needs one tile and the roots of all tiles. Tiles are
also used by https://c2sp.org/tlog-tiles.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grounds_record.merkle import Node, inclusion_proof, leaf_range, merkle_root

TILE_LEAVES = 4096


@dataclass(frozen=True, slots=True)
class LeafTile:
    """Up to TILE_LEAVES consecutive leaves of the sorted tree.

    Attributes:
        first: The smallest leaf hash of the tile, 32 bytes.
        root: Root over the leaves of the tile, 32 bytes.
        hashes: All leaf hashes of the tile, 32 bytes each, concatenated in ascending order.
    """

    first: bytes
    root: bytes
    hashes: bytes


@dataclass(frozen=True, slots=True)
class LeafProof:
    """An inclusion proof of a leaf in the whole tree. The fields are arguments of `merkle.verify_inclusion`.

    Attributes:
        index: Index of the leaf, from 0.
        size: Number of leaves of the tree.
        hashes: Hashes of the proof, from the leaf to the root.
    """

    index: int
    size: int
    hashes: tuple[bytes, ...]


def build_leaf_tiles(leaves: Iterable[bytes]) -> list[LeafTile]:
    """Return the tiles, in ascending order, over leaf hashes given in any order; an empty list if there are none."""
    ordered = sorted(leaves)
    parts = [ordered[start : start + TILE_LEAVES] for start in range(0, len(ordered), TILE_LEAVES)]
    return [LeafTile(part[0], merkle_root(part), b"".join(part)) for part in parts]


def find_tile(firsts: Sequence[bytes], leaf: bytes) -> int:
    """Return the number of the only tile that can contain a leaf; -1 if no tile can contain it.

    Args:
        firsts: The smallest leaf hash of each tile, in ascending order.
        leaf: The leaf hash.
    """
    return bisect_right(firsts, leaf) - 1


def prove_leaf(leaf: bytes, tile: int, hashes: Sequence[bytes], roots: Sequence[bytes], size: int) -> LeafProof | None:
    """Return the proof that a leaf is in the tree; None if the tile does not contain the leaf.

    Args:
        leaf: The leaf hash.
        tile: Number of the tile, from 0.
        hashes: All leaf hashes of the tile, in ascending order.
        roots: Roots of all tiles, in order.
        size: Number of leaves of the tree.
    """
    # If several leaves are equal, bisect_right finds the last one. A proof of any of them is valid.
    position = bisect_right(hashes, leaf) - 1
    if position < 0 or hashes[position] != leaf:
        return None
    within_tile = inclusion_proof(position, len(hashes), _LeafNodeReader(hashes))
    among_roots = inclusion_proof(tile, len(roots), _LeafNodeReader(roots))
    return LeafProof(tile * TILE_LEAVES + position, size, (*within_tile, *among_roots))


class _LeafNodeReader:
    """A `merkle.NodeReader` that computes the nodes of a small tree from its leaves."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._leaves = leaves

    def __call__(self, nodes: Sequence[Node]) -> Mapping[Node, bytes]:
        """Return the hash of each node."""
        hashes = {}
        for node in nodes:
            covered = leaf_range(node)
            hashes[node] = merkle_root(self._leaves[covered.start : covered.stop])
        return hashes
