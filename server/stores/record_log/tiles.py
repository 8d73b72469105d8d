"""The stored hashes of the log's Merkle tree. They are stored with the records, and again in tiles, which make proofs fast.

Each record is stored with the hashes of the nodes that it completes: its leaf hash, and the hashes of the larger subtrees whose
last record it is. An inclusion proof needs one hash per level, and each hash is stored with a different record. In a log of
five million records, a proof therefore needs about 22 reads, which are spread over tens of GB. A tile repeats the hashes of
adjacent nodes in one row, so that a proof reads few database pages. There are two kinds:

- A **leaf tile** (table `tree_twigs`) proves 16 consecutive records up to the root of their subtree of 256 records. It contains
  34 hashes, which fit into one page: the levels 0 to 3 of the 16 records (16 + 8 + 4 + 2 hashes, level 0 first), and one sibling
  on each of the levels 4 to 7.
- A **tile** (table `tree_blocks`) contains the hashes of the eight levels below one node: 256 hashes of the lowest of these levels,
  then 128, and so on to 2. The tile is named after this node.

Tiles of both kinds are written in the transaction that completes their subtree. They never change. `doctor` compares them with
the records.

Hashes that are not in a tile are read from the records. These are hashes at the end of the log, where subtrees are incomplete, and
hashes that were written before database revision 0007. With the revisions 0007 and 0008, tiles of the lowest eight levels were
written instead of leaf tiles. They are still read, but a proof then reads six pages instead of one.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from sqlalchemy import Connection, bindparam, select

from grounds_record.merkle import HASH_BYTES, Node, leaf_range, node_hash, split_hashes, stored_position
from server.errors import RecordDamaged
from server.stores.keyed_query import KeyedQuery
from server.stores.record_log.entries import as_bytes
from server.stores.tables import RECORDS, TREE_BLOCKS, TREE_TWIGS

TILE_LEVELS = 8
_TILE_WIDTH = 1 << TILE_LEVELS  # number of hashes on the lowest level of a tile
_TILE_BYTES = 2 * (_TILE_WIDTH - 1) * HASH_BYTES
_LEAF_TILE_LEVELS = (
    4  # levels with hashes of the tile's own 16 records; four siblings lead from these to the root of 256 records
)
_LEAF_TILE_RECORDS = 1 << _LEAF_TILE_LEVELS
_LEAF_TILE_BYTES = (2 * (_LEAF_TILE_RECORDS - 1) + _LEAF_TILE_LEVELS) * HASH_BYTES
_CHECK_ROWS = 4096  # number of leaf tiles that a check reads at a time
_INDEX_MIN = -(1 << 63)  # the smallest value that an integer column can have
# These statements are built once, because building a statement takes longer than running it.
_RECORD_HASHES = KeyedQuery(select(RECORDS.c.record_index, RECORDS.c.nodes), RECORDS.c.record_index)
_LEAF_TILES = KeyedQuery(select(TREE_TWIGS), TREE_TWIGS.c.first_index)
_LEAF_TILE_PAGE = (
    select(TREE_TWIGS)
    .where(TREE_TWIGS.c.first_index >= bindparam("start"))
    .order_by(TREE_TWIGS.c.first_index)
    .limit(bindparam("row_count"))
)
# The two IN conditions may select additional rows. A condition on pairs would be exact, but SQLite would scan the whole table.
_TILES = select(TREE_BLOCKS).where(
    TREE_BLOCKS.c.level.in_(bindparam("levels", expanding=True)),
    TREE_BLOCKS.c.node_index.in_(bindparam("indexes", expanding=True)),
)


def read_record_hashes(connection: Connection, nodes: Sequence[Node]) -> dict[Node, bytes]:
    """Return the hash of each node, read from the record that completes the node.

    Raises:
        RecordDamaged: A hash is missing.
    """
    if not nodes:
        return {}
    indexes = {stored_position(node)[0] for node in nodes}
    rows = _RECORD_HASHES.execute(connection, sorted(indexes))
    stored = {row.record_index: as_bytes(row.nodes) for row in rows}
    found = {}
    for node in nodes:
        index, level = stored_position(node)
        found[node] = stored.get(index, b"")[level * HASH_BYTES : (level + 1) * HASH_BYTES]
        if len(found[node]) != HASH_BYTES:
            raise RecordDamaged("a hash of the log is missing; run: python -m server doctor", place=str(index))
    return found


def read_leaf_tile_hashes(connection: Connection, nodes: Sequence[Node]) -> dict[Node, bytes]:
    """Return the hashes of the nodes that are in leaf tiles. A leaf tile of the wrong length is ignored."""
    firsts = _leaf_tiles_covering(nodes)
    if not firsts:
        return {}
    found: dict[Node, bytes] = {}
    for row in _LEAF_TILES.execute(connection, sorted(firsts)):
        hashes = as_bytes(row.hashes)
        if len(hashes) == _LEAF_TILE_BYTES:
            found |= zip(_leaf_tile_nodes(row.first_index), split_hashes(hashes), strict=True)
    return {node: found[node] for node in nodes if node in found}


def read_tiles(connection: Connection, tiles: Collection[Node]) -> dict[Node, bytes]:
    """Return the content of the existing tiles, by name. A tile of the wrong length is ignored."""
    if not tiles:
        return {}
    wanted = {"levels": sorted({tile.level for tile in tiles}), "indexes": sorted({tile.number for tile in tiles})}
    rows = connection.execute(_TILES, wanted)
    found = {Node(row.level, row.node_index): as_bytes(row.hashes) for row in rows}
    return {tile: found[tile] for tile in tiles if len(found.get(tile, b"")) == _TILE_BYTES}


def tile_with(node: Node) -> Node:
    """Return the name of the tile that contains the hash of a node."""
    rise = TILE_LEVELS - node.level % TILE_LEVELS
    return Node(node.level + rise, node.number >> rise)


def hash_in_tile(tile: bytes, node: Node) -> bytes:
    """Return the hash of a node from the content of its tile."""
    width = _TILE_WIDTH >> node.level % TILE_LEVELS  # number of hashes on the level of the node
    # The lower levels have 256 + 128 + ... + 2 * width hashes, which is 2 * (256 - width).
    first = (2 * (_TILE_WIDTH - width) + node.number % width) * HASH_BYTES
    return tile[first : first + HASH_BYTES]


def write_tiles(connection: Connection, before: int, after: int) -> None:
    """Write the tiles that were completed when the log grew from `before` to `after` records.

    The records must already be in the table. A tile is omitted if a hash of its records is missing, because the append can
    succeed without the tile. `doctor` reports the missing hash.
    """
    for number in range(before >> TILE_LEVELS, after >> TILE_LEVELS):
        if rows := _leaf_tile_rows(connection, Node(TILE_LEVELS, number)):
            connection.execute(TREE_TWIGS.insert(), rows)
    for tile in _completed_tiles(before, after):
        if hashes := _tile_content(connection, tile):
            row = {"level": tile.level, "node_index": tile.number, "hashes": hashes}
            connection.execute(TREE_BLOCKS.insert(), row)


def leaf_tile_problems(connection: Connection, size: int, row_count: int = _CHECK_ROWS) -> Iterator[str]:
    """Yield a sentence for each leaf tile that does not match its records.

    Args:
        connection: Connection to the log's database.
        size: Number of records of the log.
        row_count: Number of leaf tiles to read at a time.
    """
    start = _INDEX_MIN
    while page := connection.execute(_LEAF_TILE_PAGE, {"start": start, "row_count": row_count}).all():
        start = page[-1].first_index + 1
        for top, rows in groupby(page, key=lambda row: Node(TILE_LEVELS, row.first_index >> TILE_LEVELS)):
            belongs = 0 <= stored_position(top)[0] < size
            # The 16 leaf tiles below a subtree of 256 records all lead to the subtree's hash, which its last record contains.
            expected = _find_record_hash(connection, top) if belongs else None
            for row in rows:
                if not belongs or row.first_index % _LEAF_TILE_RECORDS:
                    yield f"the leaf tile of record {row.first_index} does not belong to this log"
                elif expected and _leaf_tile_root(row.first_index, split_hashes(as_bytes(row.hashes))) != expected:
                    yield f"the leaf tile of record {row.first_index} does not match its records"


def tile_problems(connection: Connection, size: int) -> Iterator[str]:
    """Yield a sentence for each tile that does not match its records. `size` is the number of records of the log."""
    names = select(TREE_BLOCKS.c.level, TREE_BLOCKS.c.node_index)
    for level, index in connection.execute(names.order_by(TREE_BLOCKS.c.level, TREE_BLOCKS.c.node_index)).all():
        tile = Node(level, index)
        if not _is_tile_of(tile, size):
            yield f"tile {index} of level {level} does not belong to this log"
        elif not _matches_records(connection, tile):
            yield f"tile {index} of level {level} does not match its records"


def _leaf_tile_nodes(first: int) -> tuple[Node, ...]:
    """Return the nodes whose hashes are in a leaf tile, in the order of the tile. `first` is the index of its first record."""
    own = [
        Node(level, number)
        for level in range(_LEAF_TILE_LEVELS)
        for number in range(first >> level, (first + _LEAF_TILE_RECORDS) >> level)
    ]
    return (*own, *(Node(level, (first >> level) ^ 1) for level in range(_LEAF_TILE_LEVELS, TILE_LEVELS)))


def _leaf_tiles_covering(nodes: Collection[Node]) -> set[int]:
    """Return the first index of each leaf tile to read for the nodes below level 8. An inclusion proof needs one leaf tile."""
    low = [node for node in nodes if node.level < TILE_LEVELS]
    # A node of level 0 to 3 is only in the leaf tile of its own records.
    firsts = {node.number << node.level & -_LEAF_TILE_RECORDS for node in low if node.level < _LEAF_TILE_LEVELS}
    for node in low:
        # A node of level 4 to 7 is in each leaf tile below its sibling. The tile of the proved record is one of these tiles.
        sibling = leaf_range(Node(node.level, node.number ^ 1))
        if node.level >= _LEAF_TILE_LEVELS and not any(first in sibling for first in firsts):
            firsts.add(sibling.start)
    return firsts


def _leaf_tile_rows(connection: Connection, top: Node) -> list[dict[str, object]]:
    """Return the rows of the 16 leaf tiles below a subtree of 256 records; an empty list if a record lacks a hash."""
    firsts = leaf_range(top)[::_LEAF_TILE_RECORDS]
    try:
        hashes = read_record_hashes(connection, [node for first in firsts for node in _leaf_tile_nodes(first)])
    except RecordDamaged:
        return []
    return [
        {"first_index": first, "hashes": b"".join(hashes[node] for node in _leaf_tile_nodes(first))} for first in firsts
    ]


def _completed_tiles(before: int, after: int) -> Iterator[Node]:
    """Yield the names of the tiles that were completed when the log grew from `before` to `after` records."""
    level = 2 * TILE_LEVELS  # leaf tiles contain the lowest eight levels
    while after >> level:
        yield from (Node(level, index) for index in range(before >> level, after >> level))
        level += TILE_LEVELS


def _tile_content(connection: Connection, tile: Node) -> bytes:
    """Return the content of a tile, read from the hashes of its records; b"" if a record lacks a hash."""
    nodes = [
        Node(tile.level - TILE_LEVELS + rise, index)
        for rise in range(TILE_LEVELS)
        for index in leaf_range(Node(TILE_LEVELS - rise, tile.number))
    ]
    try:
        hashes = read_record_hashes(connection, nodes)
    except RecordDamaged:
        return b""
    return b"".join(hashes[node] for node in nodes)


def _find_record_hash(connection: Connection, node: Node) -> bytes | None:
    """Return the hash of a node from the record that completes it; None if the hash is missing, which `verify` reports."""
    try:
        return read_record_hashes(connection, [node])[node]
    except RecordDamaged:
        return None


def _leaf_tile_root(first: int, hashes: Sequence[bytes]) -> bytes | None:
    """Return the root of the 256 records, computed from a leaf tile; None if the hashes in the tile are inconsistent."""
    own, siblings = hashes[:-_LEAF_TILE_LEVELS], hashes[-_LEAF_TILE_LEVELS:]
    parents = [node_hash(left, right) for left, right in zip(own[::2], own[1::2], strict=False)]
    # Every hash above the leaves must be the hash of its two children. The last parent is the root of the 16 records.
    if sum(map(len, hashes)) != _LEAF_TILE_BYTES or tuple(parents[:-1]) != tuple(own[_LEAF_TILE_RECORDS:]):
        return None
    root = parents[-1]
    for level, sibling in enumerate(siblings, _LEAF_TILE_LEVELS):
        root = node_hash(sibling, root) if first >> level & 1 else node_hash(root, sibling)
    return root


def _is_tile_of(tile: Node, size: int) -> bool:
    """Return whether a log of `size` records can have a tile of this name."""
    # SQLite can store a text or a fraction in an integer column.
    if type(tile.level) is not int or type(tile.number) is not int:
        return False
    return tile.level in range(TILE_LEVELS, 63, TILE_LEVELS) and 0 <= stored_position(tile)[0] < size


def _matches_records(connection: Connection, tile: Node) -> bool:
    """Return whether the hashes of a tile are consistent and lead to the stored hash of the tile's root.

    If the hash of the root is missing, return True, because `verify` reports the missing hash.
    """
    this = (TREE_BLOCKS.c.level == tile.level, TREE_BLOCKS.c.node_index == tile.number)
    hashes = split_hashes(as_bytes(connection.execute(select(TREE_BLOCKS.c.hashes).where(*this)).scalar_one()))
    expected = _find_record_hash(connection, tile)
    if expected is None:
        return True
    parents = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=False)]
    return len(hashes) * HASH_BYTES == _TILE_BYTES and parents == [*hashes[_TILE_WIDTH:], expected]
