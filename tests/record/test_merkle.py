"""The tree has exactly the hashes of RFC 6962; valid proofs are verified, and all others are rejected."""

import hashlib
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounds_record.errors import ProofInvalid
from grounds_record.merkle import (
    EMPTY_ROOT,
    Frontier,
    Node,
    completed_node_count,
    consistency_proof,
    covering_nodes,
    inclusion_path,
    inclusion_proof,
    leaf_hash,
    stored_position,
    verify_consistency,
    verify_inclusion,
)
from tests.record.rfc6962 import CONSISTENCY, INCLUSION, INPUTS, ROOTS, audit_path, mth, subproof

SIZE_MAX = 70


def append_leaves(leaves: Sequence[bytes]) -> tuple[list[Frontier], dict[Node, bytes]]:
    """Append leaf by leaf; return the frontier at every size and all stored nodes."""
    frontiers, stored = [Frontier()], {}
    for index, leaf in enumerate(leaves):
        frontier, completed = frontiers[-1].append(leaf_hash(leaf))
        frontiers.append(frontier)
        stored.update({Node(level, index >> level): found for level, found in enumerate(completed)})
    return frontiers, stored


class Store:
    """A reader of stored nodes that counts its calls and the requested nodes."""

    def __init__(self, nodes: Mapping[Node, bytes]) -> None:
        self.nodes, self.questions, self.read = nodes, 0, 0

    def __call__(self, wanted: Sequence[Node]) -> Mapping[Node, bytes]:
        self.questions += 1
        self.read += len(wanted)
        return {node: self.nodes[node] for node in wanted}


def sample(size: int) -> list[bytes]:
    return [f"record {index}".encode() for index in range(size)]


@pytest.mark.parametrize("size", range(9))
def test_the_roots_equal_those_of_the_reference_implementation(size: int) -> None:
    frontiers, _ = append_leaves(INPUTS[:size])

    assert frontiers[-1].root().hex() == ROOTS[size]
    assert mth(INPUTS[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_equal_those_of_the_reference_implementation(index: int, size: int) -> None:
    proof = inclusion_proof(index, size, Store(append_leaves(INPUTS)[1]))

    assert [each.hex() for each in proof] == INCLUSION[index, size]
    verify_inclusion(index, size, leaf_hash(INPUTS[index]), proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency_proofs_equal_those_of_the_reference_implementation(old: int, new: int) -> None:
    proof = consistency_proof(old, new, Store(append_leaves(INPUTS)[1]))

    assert [each.hex() for each in proof] == CONSISTENCY[old, new]
    verify_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), proof)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=8), max_size=40))
def test_the_root_of_every_frontier_is_the_root_of_the_definition(leaves: list[bytes]) -> None:
    frontiers, stored = append_leaves(leaves)

    assert [frontier.root() for frontier in frontiers] == [mth(leaves[:size]) for size in range(len(leaves) + 1)]
    peaks = [tuple(stored[node] for node in covering_nodes(0, frontier.size)) for frontier in frontiers]
    assert peaks == [frontier.peaks for frontier in frontiers]


def test_every_inclusion_proof_is_the_proof_of_the_definition_and_valid() -> None:
    leaves = sample(SIZE_MAX)
    _, stored = append_leaves(leaves)

    for size in range(1, SIZE_MAX + 1, 3):
        root = mth(leaves[:size])
        for index in range(size):
            proof = inclusion_proof(index, size, Store(stored))
            assert list(proof) == audit_path(index, leaves[:size])
            verify_inclusion(index, size, leaf_hash(leaves[index]), proof, root)

            steps = inclusion_path(index, size, leaf_hash(leaves[index]), proof)
            assert [mth(leaves[slice(*step.sibling_leaves)]) for step in steps] == [step.sibling for step in steps]
            assert [mth(leaves[slice(*step.leaves)]) for step in steps] == [step.hash for step in steps]
            assert [step.sibling_leaves[1] <= index for step in steps] == [step.is_left for step in steps]


def test_every_consistency_proof_is_the_proof_of_the_definition_and_valid() -> None:
    leaves = sample(SIZE_MAX)
    frontiers, stored = append_leaves(leaves)

    for new in range(1, SIZE_MAX + 1, 3):
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, Store(stored))
            assert list(proof) == subproof(old, leaves[:new], known=True)
            verify_consistency(old, new, frontiers[old].root(), frontiers[new].root(), proof)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, SIZE_MAX))
def test_an_inclusion_proof_is_invalid_for_a_different_index_size_leaf_root_or_length(
    data: st.DataObject, size: int
) -> None:
    leaves = sample(size)
    index = data.draw(st.integers(0, size - 1))
    frontiers, stored = append_leaves(leaves)
    proof, leaf, root = inclusion_proof(index, size, Store(stored)), leaf_hash(leaves[index]), frontiers[size].root()
    place = data.draw(st.integers(0, len(proof) - 1))
    flip_bit = bytes([proof[place][0] ^ 1]) + proof[place][1:]
    other = data.draw(st.integers(0, size - 1).filter(lambda found: found != index))

    for claim in (
        (other, size, leaf, proof, root),
        (index, size, leaf_hash(b"other"), proof, root),
        (index, size, leaf, proof, EMPTY_ROOT),
        (index, size, leaf, (*proof[:place], flip_bit, *proof[place + 1 :]), root),
        (index, size, leaf, proof[:-1], root),
        (index, size, leaf, (*proof, proof[0]), root),
        (index, size, leaf, (*proof[:place], proof[place][:-1], *proof[place + 1 :]), root),
        (size, size, leaf, proof, root),
        (-1, size, leaf, proof, root),
    ):
        with pytest.raises(ProofInvalid):
            verify_inclusion(*claim)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, SIZE_MAX))
def test_a_consistency_proof_is_invalid_for_a_different_root_size_or_length(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new - 1))
    frontiers, stored = append_leaves(sample(new))
    proof, was, now = consistency_proof(old, new, Store(stored)), frontiers[old].root(), frontiers[new].root()
    place = data.draw(st.integers(0, len(proof) - 1))
    flip_bit = bytes([proof[place][0] ^ 1]) + proof[place][1:]

    for claim in (
        (old, new, frontiers[old - 1].root(), now, proof),
        (old, new, was, frontiers[new - 1].root(), proof),
        (old, new, was, now, (*proof[:place], flip_bit, *proof[place + 1 :])),
        (old, new, was, now, proof[1:]),
        (old, new, was, now, (*proof, proof[0])),
        (new, old, was, now, proof),
        (old - 1, new, was, now, proof),
    ):
        with pytest.raises(ProofInvalid):
            verify_consistency(*claim)


def test_a_tree_with_a_changed_old_leaf_has_no_valid_consistency_proof() -> None:
    leaves = sample(20)
    old_root = append_leaves(leaves)[0][13].root()
    frontiers, stored = append_leaves([*leaves[:4], b"rewritten", *leaves[5:]])

    with pytest.raises(ProofInvalid, match="root of the first 13 records"):
        verify_consistency(13, 20, old_root, frontiers[20].root(), consistency_proof(13, 20, Store(stored)))


def test_the_empty_tree_is_a_prefix_of_every_tree_but_only_with_its_own_root() -> None:
    root = append_leaves(sample(5))[0][5].root()

    verify_consistency(0, 5, EMPTY_ROOT, root, consistency_proof(0, 5, Store({})))
    with pytest.raises(ProofInvalid):
        verify_consistency(0, 5, root, root, ())


def test_trees_of_equal_size_are_consistent_only_if_their_roots_are_equal() -> None:
    frontiers, _ = append_leaves(sample(6))

    verify_consistency(6, 6, frontiers[6].root(), frontiers[6].root(), ())
    with pytest.raises(ProofInvalid):
        verify_consistency(6, 6, frontiers[6].root(), frontiers[5].root(), ())


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_an_inclusion_proof_of_a_missing_leaf_is_rejected(index: int, size: int) -> None:
    with pytest.raises(ProofInvalid, match="has no record"):
        inclusion_proof(index, size, Store({}))


@pytest.mark.parametrize(("old", "new"), [(6, 5), (-1, 5)])
def test_a_consistency_proof_to_a_smaller_tree_is_rejected(old: int, new: int) -> None:
    with pytest.raises(ProofInvalid, match="does not begin with"):
        consistency_proof(old, new, Store({}))


@given(st.integers(0, 2**40))
def test_each_node_is_stored_with_the_leaf_that_completes_it(index: int) -> None:
    ones = len(f"{index:b}") - len(f"{index:b}".rstrip("1"))

    assert completed_node_count(index) == ones + 1
    assert all(stored_position(Node(level, index >> level)) == (index, level) for level in range(ones + 1))


@given(st.integers(0, 300), st.integers(0, 300))
def test_covering_nodes_contain_every_leaf_of_the_range_once_and_in_order(start: int, end: int) -> None:
    nodes = covering_nodes(start, end)

    leaves = [leaf for node in nodes for leaf in range(node.number << node.level, (node.number + 1) << node.level)]
    assert leaves == list(range(start, end))
    assert len(nodes) <= 2 * max(1, (end - start).bit_length())


def test_appending_subtrees_yields_the_same_tree_as_appending_their_leaves() -> None:
    leaves = sample(50)
    frontiers, stored = append_leaves(leaves)

    for start in range(50):
        frontier = frontiers[start]
        for node in covering_nodes(start, 50):
            frontier, completed = frontier.append_subtree(node.level, stored[node])
            first = (frontier.size >> node.level) - 1
            assert [stored[Node(node.level + up, first >> up)] for up in range(len(completed))] == list(completed)
        assert frontier == frontiers[50]


def test_a_proof_in_five_million_records_needs_one_read_and_at_most_45_stored_hashes() -> None:
    """Derive the hash of each node from its name, because five million leaves would need too much memory in a test."""
    size, index, old = 5_000_000, 1_234_567, 4_999_999

    class MadeUp(Store):
        def __call__(self, wanted: Sequence[Node]) -> Mapping[Node, bytes]:
            self.questions, self.read = self.questions + 1, self.read + len(wanted)
            return {node: hashlib.sha256(repr(node).encode()).digest() for node in wanted}

    for prove in (lambda store: inclusion_proof(index, size, store), lambda store: consistency_proof(old, size, store)):
        store = MadeUp({})
        assert len(prove(store)) <= 23
        assert store.questions == 1
        assert store.read <= 45
