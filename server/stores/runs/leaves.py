"""The leaves of a run in a market: written block by block, read one block at a time."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from grounds_record.errors import ProofInvalid
from grounds_record.leaf_tiles import TILE_LEAVES, LeafProof, LeafTile, find_tile, prove_leaf, split_hashes
from grounds_record.merkle import merkle_root, verify_inclusion
from grounds_record.rows_root import RowsRoot
from server.stores.database import Database
from server.stores.record_log.entries import as_bytes
from server.stores.tables import RISK_LEAVES

BLOCKS_AT_ONCE = 16  # in one transaction: 2 MB


class LeavesDamaged(Exception):
    """The leaves of a run are not those that were recorded; `place` says where, as `Mismatch.field` of the contract."""

    def __init__(self, place: str, stored: str, recomputed: str) -> None:
        super().__init__(f"{place}: recorded {stored or 'nothing'}, now {recomputed or 'nothing'}")
        self.field, self.stored, self.recomputed = place, stored, recomputed


def stage_leaves(database: Database, number: int, blocks: Sequence[LeafTile]) -> None:
    """Keep the leaves of a run that no reader sees yet."""
    for start in range(0, len(blocks), BLOCKS_AT_ONCE):
        with database.writing() as connection:
            insert(connection, number, blocks[start : start + BLOCKS_AT_ONCE], start)


def insert(connection: Connection, number: int, blocks: Sequence[LeafTile], first_block: int) -> None:
    """Add blocks."""
    rows = [
        {"run_number": number, "block": place, "first": block.first, "root": block.root, "hashes": block.hashes}
        for place, block in enumerate(blocks, start=first_block)
    ]
    if rows:
        connection.execute(RISK_LEAVES.insert(), rows)


def prove_row(connection: Connection, number: int, leaf: bytes, told: RowsRoot) -> LeafProof:
    """Prove a row of a run in the root that its record names; reads one block, and of the others their roots.

    Raises:
        LeavesDamaged: The leaves are not those that were recorded, or the row is none of them.
    """
    wanted = select(RISK_LEAVES.c.block, RISK_LEAVES.c.first, RISK_LEAVES.c.root)
    heads = connection.execute(wanted.where(RISK_LEAVES.c.run_number == number).order_by(RISK_LEAVES.c.block)).all()
    for place in range(-(-told.size // TILE_LEAVES)):
        if place >= len(heads) or heads[place].block != place:
            raise LeavesDamaged(f"leaves[{place}]", "a block of the tree", "")
    roots = [as_bytes(head.root) for head in heads]
    if merkle_root(roots) != told.root:
        raise LeavesDamaged("rows_root", told.root.hex(), merkle_root(roots).hex())
    block = find_tile([as_bytes(head.first) for head in heads], leaf)
    if block < 0:
        raise LeavesDamaged("row", "", leaf.hex())
    hashes = hashes_of(connection, number, block)
    proof = prove_leaf(leaf, block, hashes, roots, told.size)
    if proof is not None and leads_to(told.root, leaf, proof):
        return proof
    now = merkle_root(hashes)
    if now != roots[block]:
        raise LeavesDamaged(f"leaves[{block}]", roots[block].hex(), now.hex())
    raise LeavesDamaged("row", "", leaf.hex())


def leads_to(root: bytes, leaf: bytes, proof: LeafProof) -> bool:
    """Tell whether a proof holds: its hashes cover every leaf of the block, so nothing in it was changed."""
    try:
        verify_inclusion(proof.index, proof.size, leaf, proof.hashes, root)
    except ProofInvalid:
        return False
    return True


def hashes_of(connection: Connection, number: int, block: int) -> list[bytes]:
    """Read the leaf hashes of a block."""
    wanted = select(RISK_LEAVES.c.hashes).where(RISK_LEAVES.c.run_number == number, RISK_LEAVES.c.block == block)
    return split_hashes(as_bytes(connection.execute(wanted).scalar_one()))


def read_leaves(connection: Connection, number: int) -> list[bytes]:
    """Read every leaf hash of a run, in the order of the tree."""
    wanted = select(RISK_LEAVES.c.hashes).where(RISK_LEAVES.c.run_number == number).order_by(RISK_LEAVES.c.block)
    return [each for hashes in connection.execute(wanted).scalars() for each in split_hashes(as_bytes(hashes))]


def leaf_block_problem(connection: Connection, number: int) -> str:
    """Say which block's own columns are not those of its hashes; "" where all are."""
    wanted = select(RISK_LEAVES).where(RISK_LEAVES.c.run_number == number).order_by(RISK_LEAVES.c.block)
    for place, row in enumerate(connection.execute(wanted)):
        hashes = split_hashes(as_bytes(row.hashes))
        if (
            row.block != place
            or not hashes
            or (as_bytes(row.first), as_bytes(row.root)) != (hashes[0], merkle_root(hashes))
        ):
            return f"block {row.block} of its leaves is not what was written"
    return ""
