"""The leaf hashes of a run's rows in a market, in tiles of 4,096 hashes.

A proof needs one tile and the roots of all tiles.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from grounds_record.errors import ProofInvalid
from grounds_record.leaf_tiles import TILE_LEAVES, LeafProof, LeafTile, find_tile, prove_leaf
from grounds_record.merkle import merkle_root, split_hashes, verify_inclusion
from grounds_record.rows_root import RowsRoot
from server.stores.database import Database
from server.stores.record_log.entries import as_bytes
from server.stores.tables import RISK_LEAVES

_TILES_PER_TRANSACTION = 16  # 2 MB of leaf hashes


class LeavesDamaged(Exception):
    """The leaf hashes of a run differ from the record of the run.

    Attributes:
        field: Field that differs, as in `Mismatch.field` of the .proto files.
        stored: The recorded value as text; "" if there is none.
        recomputed: The current value as text; "" if there is none.
    """

    def __init__(self, field: str, stored: str, recomputed: str) -> None:
        super().__init__(f"{field}: recorded {stored or 'nothing'}, now {recomputed or 'nothing'}")
        self.field, self.stored, self.recomputed = field, stored, recomputed


def stage_leaf_tiles(database: Database, number: int, tiles: Sequence[LeafTile]) -> None:
    """Insert the leaf tiles of an unpublished run in several short transactions."""
    for start in range(0, len(tiles), _TILES_PER_TRANSACTION):
        rows = [
            {"run_number": number, "block": position, "first": tile.first, "root": tile.root, "hashes": tile.hashes}
            for position, tile in enumerate(tiles[start : start + _TILES_PER_TRANSACTION], start=start)
        ]
        with database.writing() as connection:
            connection.execute(RISK_LEAVES.insert(), rows)


def prove_row(connection: Connection, number: int, leaf: bytes, recorded: RowsRoot) -> LeafProof:
    """Return the proof that a row of a run leads to the recorded root.

    Args:
        connection: Connection to the database of the runs.
        number: Run number.
        leaf: Leaf hash of the row.
        recorded: Number of rows and their root, from the header of the run's record.

    Raises:
        LeavesDamaged: The leaf hashes differ from the record, or do not contain the leaf hash of the row.
    """
    wanted = select(RISK_LEAVES.c.block, RISK_LEAVES.c.first, RISK_LEAVES.c.root)
    tiles = connection.execute(wanted.where(RISK_LEAVES.c.run_number == number).order_by(RISK_LEAVES.c.block)).all()
    for position in range(-(-recorded.size // TILE_LEAVES)):
        if position >= len(tiles) or tiles[position].block != position:
            raise LeavesDamaged(f"leaves[{position}]", "a leaf tile", "")
    roots = [as_bytes(tile.root) for tile in tiles]
    if merkle_root(roots) != recorded.root:
        raise LeavesDamaged("rows_root", recorded.root.hex(), merkle_root(roots).hex())
    # Leaf hashes are sorted, so the first hashes of the tiles determine which tile can contain this leaf.
    tile = find_tile([as_bytes(each.first) for each in tiles], leaf)
    if tile < 0:
        raise LeavesDamaged("row", "", leaf.hex())
    hashes = _read_tile(connection, number, tile)
    proof = prove_leaf(leaf, tile, hashes, roots, recorded.size)
    # The proof depends on every leaf hash in the tile, so a valid proof also shows that the tile is intact.
    if proof is not None and _is_valid(proof, recorded.root, leaf):
        return proof
    root = merkle_root(hashes)
    if root != roots[tile]:
        raise LeavesDamaged(f"leaves[{tile}]", roots[tile].hex(), root.hex())
    raise LeavesDamaged("row", "", leaf.hex())


def _is_valid(proof: LeafProof, root: bytes, leaf: bytes) -> bool:
    """Return whether a proof leads from a leaf to a root."""
    try:
        verify_inclusion(proof.index, proof.size, leaf, proof.hashes, root)
    except ProofInvalid:
        return False
    return True


def _read_tile(connection: Connection, number: int, tile: int) -> tuple[bytes, ...]:
    """Return the leaf hashes of a tile."""
    wanted = select(RISK_LEAVES.c.hashes).where(RISK_LEAVES.c.run_number == number, RISK_LEAVES.c.block == tile)
    return split_hashes(as_bytes(connection.execute(wanted).scalar_one()))


def read_leaves(connection: Connection, number: int) -> list[bytes]:
    """Return all leaf hashes of a run, in the order of the tree."""
    wanted = select(RISK_LEAVES.c.hashes).where(RISK_LEAVES.c.run_number == number).order_by(RISK_LEAVES.c.block)
    return [each for hashes in connection.execute(wanted).scalars() for each in split_hashes(as_bytes(hashes))]


def row_tile_problem(connection: Connection, number: int) -> str:
    """Return a sentence about the first leaf tile whose columns do not match its hashes; "" if all tiles match."""
    wanted = select(RISK_LEAVES).where(RISK_LEAVES.c.run_number == number).order_by(RISK_LEAVES.c.block)
    for position, row in enumerate(connection.execute(wanted)):
        hashes = split_hashes(as_bytes(row.hashes))
        columns = (row.block, as_bytes(row.first), as_bytes(row.root))
        if not hashes or columns != (position, hashes[0], merkle_root(hashes)):
            return f"leaf tile {row.block} was changed after it was written"
    return ""
