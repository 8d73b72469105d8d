"""The hashes of the log's tree as its records have them: each record those of the subtrees that it completed."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from grounds_record.merkle import HASH_BYTES, Node, stored_position
from server.errors import RecordDamaged
from server.stores.keyed_query import KeyedQuery
from server.stores.record_log.entries import as_bytes
from server.stores.tables import RECORDS

HASHES = KeyedQuery(select(RECORDS.c.record_index, RECORDS.c.nodes), RECORDS.c.record_index)


def from_records(connection: Connection, nodes: Sequence[Node]) -> dict[Node, bytes]:
    """Give the hash of each as its record has it.

    Raises:
        RecordDamaged: One is not there.
    """
    if not nodes:
        return {}
    places = {stored_position(node)[0] for node in nodes}
    rows = {row.record_index: as_bytes(row.nodes) for row in HASHES.execute(connection, sorted(places))}
    found = {}
    for node in nodes:
        place, level = stored_position(node)
        found[node] = rows.get(place, b"")[level * HASH_BYTES : (level + 1) * HASH_BYTES]
        if len(found[node]) != HASH_BYTES:
            raise RecordDamaged("a hash of the log is missing; run: python -m server doctor", place=str(place))
    return found


def said_by_record(connection: Connection, node: Node) -> bytes | None:
    """Give the hash of a node as its record has it; None where there is none, which `verify` says."""
    try:
        return from_records(connection, [node])[node]
    except RecordDamaged:
        return None
