"""A log with two complete subtrees of 256 records, and the same log in the form of database revision 0008."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import delete, select

from server.stores.record_log.log import RecordLog
from server.stores.tables import RECORDS, TREE_BLOCKS, TREE_TWIGS
from tests.server.record_logs import entry, open_test_log

SIZE = 600  # 2 * 256 records with leaf tiles, and 88 records without a tile
NODES = select(RECORDS.c.nodes).order_by(RECORDS.c.record_index)


@contextmanager
def grown_log(url: str, folder: Path) -> Iterator[RecordLog]:
    """Yield a log in which one batch starts below 256 records and ends exactly at 512 records."""
    with open_test_log(url, folder) as found:
        for size in (250, 262, SIZE - 512):
            found.append([entry() for _ in range(size)])
        yield found


def downgrade_to_0008(log: RecordLog) -> None:
    """Replace the leaf tiles by tiles of the lowest eight levels, as a release with database revision 0008 wrote them."""
    with log.database.writing() as connection:
        leaves = [bytes(nodes[:32]) for nodes in connection.execute(NODES).scalars()]
        for number in range(SIZE // 256):
            level = leaves[number * 256 : (number + 1) * 256]
            hashes = [*level]
            while len(level) > 2:
                level = [hashlib.sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
                hashes += level
            connection.execute(TREE_BLOCKS.insert(), {"level": 8, "node_index": number, "hashes": b"".join(hashes)})
        connection.execute(delete(TREE_TWIGS))
