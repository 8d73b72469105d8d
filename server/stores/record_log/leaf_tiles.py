"""The lowest hashes of the log's tree, so that one page of the database proves a record up to 256 of its neighbours.

A twig stands for 16 neighbouring records: the hashes of the four levels of their subtree, the lowest first, and those of the
four subtrees beside it on the way up to the 256. These 34 hashes lie in one page; all 510 of the 256 records take
four, each a place of its own on the disk. The rest of a proof is in memory (server/stores/record_log/tiles.py).

Twigs are written in the transaction that completes the 256 and never change. They repeat what the records say, and `doctor`
holds them against them.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from sqlalchemy import Connection, bindparam, select

from grounds_record.merkle import HASH_BYTES, Node, leaf_range, node_hash, stored_position
from server.errors import RecordDamaged
from server.stores.keyed_query import KeyedQuery
from server.stores.record_log.entries import as_bytes, split_hashes
from server.stores.record_log.record_hashes import from_records, said_by_record
from server.stores.tables import TREE_TWIGS

LEVELS = 4  # of a twig's own hashes; as many again stand beside it
RECORDS_EACH = 1 << LEVELS
TOP = 2 * LEVELS  # the level of the subtree that completes twigs
TWIG_BYTES = (2 * (RECORDS_EACH - 1) + LEVELS) * HASH_BYTES
CHECKED_AT_ONCE = 4096
LEAST = -(1 << 63)  # that a row can have
TWIGS = KeyedQuery(select(TREE_TWIGS), TREE_TWIGS.c.first_index)
STRETCH = (
    select(TREE_TWIGS)
    .where(TREE_TWIGS.c.first_index >= bindparam("start"))
    .order_by(TREE_TWIGS.c.first_index)
    .limit(bindparam("at_once"))
)


def nodes_of(first: int) -> tuple[Node, ...]:
    """Give the nodes whose hashes are in the twig of 16 records, in its order."""
    own = [
        Node(level, number)
        for level in range(LEVELS)
        for number in range(first >> level, (first + RECORDS_EACH) >> level)
    ]
    return (*own, *(Node(level, (first >> level) ^ 1) for level in range(LEVELS, TOP)))


def firsts_of(nodes: Collection[Node]) -> set[int]:
    """Give the twigs that have these nodes, few where a few do: those of a proof are all in one."""
    low = [node for node in nodes if node.level < TOP]
    firsts = {node.number << node.level & -RECORDS_EACH for node in low if node.level < LEVELS}
    for node in low:
        beside = leaf_range(Node(node.level, node.number ^ 1))
        if node.level >= LEVELS and not any(first in beside for first in firsts):
            firsts.add(beside.start)
    return firsts


def from_twigs(connection: Connection, nodes: Sequence[Node]) -> dict[Node, bytes]:
    """Give those of the hashes that twigs have; one of another length is as none."""
    firsts = firsts_of(nodes)
    if not firsts:
        return {}
    held: dict[Node, bytes] = {}
    for row in TWIGS.execute(connection, sorted(firsts)):
        hashes = as_bytes(row.hashes)
        if len(hashes) == TWIG_BYTES:
            held |= zip(nodes_of(row.first_index), split_hashes(hashes), strict=True)
    return {node: held[node] for node in nodes if node in held}


def keep_twigs(connection: Connection, before: int, after: int) -> None:
    """Write the twigs that the log completed by growing from one size to another; its records are there already."""
    for number in range(before >> TOP, after >> TOP):
        if rows := rows_from_records(connection, Node(TOP, number)):
            connection.execute(TREE_TWIGS.insert(), rows)


def rows_from_records(connection: Connection, top: Node) -> list[dict[str, object]]:
    """Put the twigs of 256 records together from the hashes that these have; none where one is gone: doctor says so."""
    firsts = leaf_range(top)[::RECORDS_EACH]
    try:
        hashes = from_records(connection, [node for first in firsts for node in nodes_of(first)])
    except RecordDamaged:
        return []  # the log goes on: its head has what it needs
    return [{"first_index": first, "hashes": b"".join(hashes[node] for node in nodes_of(first))} for first in firsts]


def leaf_tile_problems(connection: Connection, size: int, at_once: int = CHECKED_AT_ONCE) -> Iterator[str]:
    """Say which twigs are not what the records say; of a log of so many records."""
    start = LEAST
    while page := connection.execute(STRETCH, {"start": start, "at_once": at_once}).all():
        start = page[-1].first_index + 1
        for top, rows in groupby(page, key=lambda row: top_of(row.first_index)):
            belongs = 0 <= stored_position(top)[0] < size
            said = said_by_record(connection, top) if belongs else None
            for row in rows:
                if not belongs or row.first_index % RECORDS_EACH:
                    yield f"the twig of the tree's hashes from record {row.first_index} on does not belong to this log"
                elif said and summit(row.first_index, split_hashes(as_bytes(row.hashes))) != said:
                    yield f"the twig of the tree's hashes from record {row.first_index} on is not that of its records"


def top_of(first: int) -> Node:
    """Give the subtree of 256 records that a twig is part of."""
    return Node(TOP, first >> TOP)


def summit(first: int, hashes: Sequence[bytes]) -> bytes | None:
    """Give the hash of the 256 records that a twig leads to, hash by hash; None where it leads nowhere."""
    own, beside = hashes[:-LEVELS], hashes[-LEVELS:]
    above = [node_hash(left, right) for left, right in zip(own[::2], own[1::2], strict=False)]
    if sum(map(len, hashes)) != TWIG_BYTES or tuple(above[:-1]) != tuple(own[RECORDS_EACH:]):
        return None
    root = above[-1]
    for level, other in enumerate(beside, LEVELS):
        root = node_hash(other, root) if first >> level & 1 else node_hash(root, other)
    return root
