"""The hashes of the log's tree: beside the records that complete them and, of what is long complete, side by side.

A proof takes one hash of each level, and each of them lies with another record: 22 hashes among five million records are 22
reads from all over tens of GB. So they are also kept side by side. The lowest eight levels are in twigs (server/stores/record_log/leaf_tiles.py).
Those above are in blocks: eight levels of a complete subtree, 256 hashes of the lowest level first, then 128, down to 2. Blocks
stay in memory once they were read, and the log's end is in its head, so a proof in the newest tree reads one twig.

A block is written in the transaction that completes it and never changes. It repeats what the records say, and `doctor`
holds it against them. Where there is neither twig nor block, at the end of the log and for what a release before revision
0007 wrote, the records themselves are read. Releases from there to 0008 wrote blocks of the lowest eight levels too: they are
read where they are, and take a proof six pages instead of one.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import Connection, bindparam, select

from grounds_record.merkle import HASH_BYTES, Node, leaf_range, node_hash, stored_position
from server.errors import RecordDamaged
from server.stores.record_log.entries import as_bytes, split_hashes
from server.stores.record_log.leaf_tiles import TOP, from_twigs, keep_twigs
from server.stores.record_log.record_hashes import from_records, said_by_record
from server.stores.tables import TREE_BLOCKS

LEVELS = TOP
LOWEST = 1 << LEVELS  # hashes of the lowest level of a block
BLOCK_BYTES = 2 * (LOWEST - 1) * HASH_BYTES
BLOCKS_KEPT = 1000  # in memory: 16 MB, for 65 million records; or 100 times as many single hashes, 21 MB
# Made once: to put a statement together takes longer than to run it. SQLite would read the whole table for pairs of values.
BLOCKS = select(TREE_BLOCKS).where(
    TREE_BLOCKS.c.level.in_(bindparam("levels", expanding=True)),
    TREE_BLOCKS.c.node_index.in_(bindparam("indexes", expanding=True)),
)


class TreeHashCache:
    """What was read of the tree above 256 records. It is complete, so it never changes, and every proof needs some of it.

    May be used by several threads.

    Attributes:
        limit: So many blocks are kept, and a few more; then it begins anew. So with 100 times as many hashes.
        blocks: 16 KB for each 65,536 records.
        hashes: Those of the same levels that no block has yet.
    """

    def __init__(self, limit: int = BLOCKS_KEPT) -> None:
        self.limit = limit
        self.tiles: dict[Node, bytes] = {}
        self.hashes: dict[Node, bytes] = {}

    def add(self, blocks: Mapping[Node, bytes], hashes: Mapping[Node, bytes]) -> None:
        """Keep what is far enough up."""
        if len(self.tiles) > self.limit or len(self.hashes) > 100 * self.limit:
            self.tiles, self.hashes = {}, {}
        self.tiles |= {node: held for node, held in blocks.items() if node.level > LEVELS}
        self.hashes |= {node: held for node, held in hashes.items() if node.level >= LEVELS}


class TreeHashReader:
    """Reads hashes of the tree, with at most three questions.

    Attributes:
        upper: What was read before of the tree's upper part.
        known: Hashes that need not be read.
    """

    def __init__(
        self, connection: Connection, upper: TreeHashCache | None = None, known: Mapping[Node, bytes] | None = None
    ) -> None:
        self.connection, self.cache, self.known = connection, upper or TreeHashCache(), known or {}

    def __call__(self, nodes: Sequence[Node]) -> dict[Node, bytes]:
        """Give the hash of each.

        Raises:
            RecordDamaged: One is not there.
        """
        hashes, kept = self.cache.hashes, self.cache.tiles  # as they are now: another thread may begin them anew
        found = {node: held for node in nodes if (held := self.known.get(node) or hashes.get(node))}
        found |= from_twigs(self.connection, [node for node in nodes if node not in found])
        left = {node: block_of(node) for node in nodes if node not in found}
        blocks = {block: kept[block] for block in left.values() if block in kept}
        read = blocks_with(self.connection, {block for block in left.values() if block not in blocks})
        blocks |= read
        found |= {node: hash_in(blocks[block], node) for node, block in left.items() if block in blocks}
        bare = from_records(self.connection, [node for node in nodes if node not in found])
        self.cache.add(read, bare)
        return found | bare


def block_of(node: Node) -> Node:
    """Give the node that the block with this one's hash is named after: the one above its eight levels."""
    rise = LEVELS - node.level % LEVELS
    return Node(node.level + rise, node.number >> rise)


def blocks_with(connection: Connection, wanted: Collection[Node]) -> dict[Node, bytes]:
    """Give those of these blocks that are there; one of another length is as none."""
    if not wanted:
        return {}
    asked = {"levels": sorted({node.level for node in wanted}), "indexes": sorted({node.number for node in wanted})}
    rows = connection.execute(BLOCKS, asked)
    found = {Node(row.level, row.node_index): as_bytes(row.hashes) for row in rows}
    return {node: found[node] for node in wanted if len(found.get(node, b"")) == BLOCK_BYTES}


def hash_in(hashes: bytes, node: Node) -> bytes:
    """Give a node's hash from its block."""
    width = LOWEST >> node.level % LEVELS  # of the node's level in a block
    first = (2 * (LOWEST - width) + node.number % width) * HASH_BYTES
    return hashes[first : first + HASH_BYTES]


def completed(before: int, after: int) -> Iterator[Node]:
    """Give the nodes above the blocks that a log completed by growing."""
    level = 2 * LEVELS  # of the lowest there are twigs
    while after >> level:
        yield from (Node(level, index) for index in range(before >> level, after >> level))
        level += LEVELS


def write_tiles(connection: Connection, before: int, after: int) -> None:
    """Write what the log completed by growing from one size to another, side by side; its records are there already."""
    keep_twigs(connection, before, after)
    for node in completed(before, after):
        hashes = block_from_records(connection, node)
        if hashes:
            row = {"level": node.level, "node_index": node.number, "hashes": hashes}
            connection.execute(TREE_BLOCKS.insert(), row)


def block_from_records(connection: Connection, node: Node) -> bytes:
    """Put the block below a node together from the hashes that its records have; b"" where one is gone: doctor says so."""
    below = [
        Node(node.level - LEVELS + rise, index)
        for rise in range(LEVELS)
        for index in leaf_range(Node(LEVELS - rise, node.number))
    ]
    try:
        found = from_records(connection, below)
    except RecordDamaged:
        return b""  # the log goes on: its head has what it needs
    return b"".join(found[each] for each in below)


def tile_problems(connection: Connection, size: int) -> Iterator[str]:
    """Say which blocks are not what the records say; of a log of so many records."""
    keys = select(TREE_BLOCKS.c.level, TREE_BLOCKS.c.node_index).order_by(TREE_BLOCKS.c.level, TREE_BLOCKS.c.node_index)
    for level, index in connection.execute(keys).all():
        node = Node(level, index)
        if not has_block(node, size):
            yield f"block {index} of level {level} of the tree's hashes does not belong to this log"
        elif not is_of_records(connection, node):
            yield f"block {index} of level {level} of the tree's hashes is not that of its records"


def has_block(node: Node, size: int) -> bool:
    """Tell whether a log of so many records may have a block named after a node; SQLite keeps whatever is written for a number."""
    if type(node.level) is not int or type(node.number) is not int:
        return False
    return node.level in range(LEVELS, 63, LEVELS) and 0 <= stored_position(node)[0] < size


def is_of_records(connection: Connection, node: Node) -> bool:
    """Tell whether a block leads, hash by hash, to what a record says of the node, if one does."""
    this = (TREE_BLOCKS.c.level == node.level, TREE_BLOCKS.c.node_index == node.number)
    hashes = split_hashes(as_bytes(connection.execute(select(TREE_BLOCKS.c.hashes).where(*this)).scalar_one()))
    top = said_by_record(connection, node)
    if top is None:
        return True
    above = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=False)]
    return len(hashes) * HASH_BYTES == BLOCK_BYTES and above == [*hashes[LOWEST:], top]
