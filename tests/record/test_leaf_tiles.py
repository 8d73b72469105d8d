"""Leaf tiles: the tree over the tiles is the tree of RFC 6962. A proof needs the tile of the leaf and the roots of all tiles."""

import hashlib

import pytest

from grounds_record.errors import ProofInvalid
from grounds_record.leaf_tiles import TILE_LEAVES, build_leaf_tiles, find_tile, prove_leaf
from grounds_record.merkle import EMPTY_ROOT, leaf_hash, merkle_root, split_hashes, verify_inclusion
from tests.record.rfc6962 import audit_path, mth

SIZES = (1, 2, 3, 7, TILE_LEAVES - 1, TILE_LEAVES, TILE_LEAVES + 1, 2 * TILE_LEAVES, 3 * TILE_LEAVES + 100)


def sorted_leaves(size: int) -> list[bytes]:
    """Return the data of leaves in the order of their leaf hashes."""
    return sorted((b"leaf %d" % number for number in range(size)), key=leaf_hash)


@pytest.mark.parametrize("size", SIZES)
def test_the_root_over_the_tiles_is_the_root_of_the_definition(size: int) -> None:
    data = sorted_leaves(size)

    blocks = build_leaf_tiles(leaf_hash(each) for each in reversed(data))

    assert merkle_root([block.root for block in blocks]) == mth(data)
    assert [each for block in blocks for each in split_hashes(block.hashes)] == [leaf_hash(each) for each in data]
    assert [block.first for block in blocks] == [leaf_hash(each) for each in data[::TILE_LEAVES]]


def test_the_root_of_no_leaves_is_the_empty_root() -> None:
    assert build_leaf_tiles([]) == []
    assert merkle_root([]) == EMPTY_ROOT


@pytest.mark.parametrize("size", SIZES)
def test_a_proof_is_the_proof_of_the_definition_and_valid_only_for_its_leaf(size: int) -> None:
    data = sorted_leaves(size)
    blocks = build_leaf_tiles(map(leaf_hash, data))
    firsts, roots = [block.first for block in blocks], [block.root for block in blocks]
    for place in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
        leaf = leaf_hash(data[place])
        number = find_tile(firsts, leaf)

        proof = prove_leaf(leaf, number, split_hashes(blocks[number].hashes), roots, size)

        assert proof is not None
        assert (proof.index, proof.size) == (place, size)
        assert list(proof.hashes) == audit_path(place, data)
        verify_inclusion(place, size, leaf, proof.hashes, mth(data))
        with pytest.raises(ProofInvalid):
            verify_inclusion(place, size, leaf_hash(b"another"), proof.hashes, mth(data))


def test_a_leaf_outside_the_tree_has_no_proof() -> None:
    blocks = build_leaf_tiles(leaf_hash(each) for each in sorted_leaves(50))
    hashes, roots = split_hashes(blocks[0].hashes), [blocks[0].root]

    for absent in (leaf_hash(b"another"), b"\x00" * 32, b"\xff" * 32, b""):
        assert prove_leaf(absent, 0, hashes, roots, 50) is None
    assert find_tile([blocks[0].first], b"\x00" * 32) == -1
    assert hashlib.sha256(b"").digest() == EMPTY_ROOT
