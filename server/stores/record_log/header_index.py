"""What headers say of many records at once, column by column: a sample has to look at every decision of a log.

A chunk holds 65,536 records in 28 bytes each, as one Arrow IPC stream; the index that lists read needs 155, all over the file.
Records that no chunk holds yet are read from their table, so chunks may come late: a server has them made by a process of their
own (`python -m server.stores.record_log.header_index`), behind its own work, and no decision waits. What they hold never changes, not by an
erasure and not by retention. `doctor` holds them against the records. The serving process does without pyarrow.
"""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Row, bindparam, select
from sqlalchemy.exc import IntegrityError

from grounds_record.export import StoredRecord
from server.stores.database import Database
from server.stores.record_log.entries import as_bytes
from server.stores.record_log.header_chunks import (
    CHUNK_RECORDS,
    CHUNKS,
    INDEX_TASK,
    RecordRange,
    end_of,
    missing_chunks,
)
from server.stores.tables import LISTED_CHUNKS, RECORDS

NAMES = pa.dictionary(pa.int32(), pa.string())
# Columns of the table of records; "" where a record has none.
HEADER_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("time_us", pa.int64()),
        *((name, NAMES) for name in ("kind", "caller", "market", "bundle_id", "decision", "grade")),
    ]
)
COMPRESSION = pa.ipc.IpcWriteOptions(compression="zstd")
# Made once: to put a statement together takes longer than to run it.
CONTENT = select(LISTED_CHUNKS.c.content).where(LISTED_CHUNKS.c.first_index == bindparam("first"))
STRETCH = (
    select(*(RECORDS.c[name] for name in HEADER_SCHEMA.names))
    .where(RECORDS.c.record_index >= bindparam("first"), RECORDS.c.record_index < bindparam("end"))
    .order_by(RECORDS.c.record_index)
)


def read_headers(connection: Connection, stretch: RecordRange) -> pa.Table:
    """Read what the headers of a stretch say."""
    if stretch.chunked:
        return decode_chunk(as_bytes(connection.execute(CONTENT, {"first": stretch.first}).scalar_one()))
    rows = connection.execute(STRETCH, {"first": stretch.first, "end": stretch.end}).all()
    columns = zip(*rows, strict=True) if rows else [()] * len(HEADER_SCHEMA)
    arrays = [
        pa.array(column, pa.int64())
        if kind.type == pa.int64()
        else pa.array([value or "" for value in column], pa.string()).cast(kind.type)
        for kind, column in zip(HEADER_SCHEMA, columns, strict=True)
    ]
    return pa.table(arrays, HEADER_SCHEMA)


def decode_chunk(content: bytes) -> pa.Table:
    """Read a chunk back."""
    with pa.ipc.open_stream(content) as stream:
        return stream.read_all()


def encode_chunk(table: pa.Table) -> bytes:
    """Write a chunk."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, HEADER_SCHEMA, options=COMPRESSION) as stream:
        stream.write(table.combine_chunks())
    return bytes(sink.getvalue())


def build_chunks(database: Database, length: int = CHUNK_RECORDS) -> int:
    """Make every chunk that is due; gives how many. Two processes may do it at once: the first one counts."""
    made = 0
    for stretch in missing_chunks(database, length):
        with database.reading() as connection:
            table = read_headers(connection, stretch)
        try:
            keep_chunk(database, stretch, table)
        except IntegrityError:  # another process was first
            continue
        made += 1
    return made


def keep_chunk(database: Database, stretch: RecordRange, table: pa.Table) -> None:
    """Write a chunk into its row."""
    times = table["time_us"].to_pylist()
    row = {
        "first_index": stretch.first,
        "record_count": len(times),
        "first_us": min(times),
        "last_us": max(times),
        "content": encode_chunk(table),
    }
    with database.writing() as connection:
        connection.execute(LISTED_CHUNKS.insert(), row)


class Ahead:
    """Records in their order, given up to a place: one beyond it is kept for later, also where records are missing before it."""

    def __init__(self, records: Iterable[StoredRecord]) -> None:
        self.records = iter(records)
        self.kept = next(self.records, None)

    def before(self, end: float) -> Iterator[StoredRecord]:
        """Give those whose place is below `end`."""
        while self.kept is not None and self.kept.index < end:
            yield self.kept
            self.kept = next(self.records, None)


def check_chunks(
    connection: Connection, records: Iterable[StoredRecord], size: int, problems: list[str]
) -> Iterator[StoredRecord]:
    """Pass all records of a log of some size on, in their order, and add to `problems` which chunks are not what they say."""
    given, at = Ahead(records), 0
    for chunk in connection.execute(CHUNKS).all():
        first, end = chunk.first_index, end_of(chunk)
        if not at <= first < end <= size:
            problems.append(f"the chunk of records {first} to {end - 1} does not belong to this log")
            continue
        yield from given.before(first)
        of_log = []
        for record in given.before(end):
            of_log.append(columns_listed(record))
            yield record
        at = end
        if not is_of(connection, chunk, of_log):
            problems.append(f"the chunk of records {first} to {end - 1} is not what they say")
    yield from given.before(math.inf)


def columns_listed(record: StoredRecord) -> tuple[str, ...]:
    """Give what a record's columns say, as texts."""
    columns = record.columns or {}
    return tuple(columns.get(name, "") for name in HEADER_SCHEMA.names)


def is_of(connection: Connection, chunk: Row[Any], of_log: Sequence[tuple[str, ...]]) -> bool:
    """Tell whether a chunk holds these records."""
    try:
        table = read_headers(connection, RecordRange(chunk.first_index, end_of(chunk), chunked=True))
        table.validate(full=True)  # else a place beyond its texts is read, which ends the process
    except (pa.ArrowException, OSError, ValueError):
        return False
    if table.schema != HEADER_SCHEMA or not table.num_rows:
        return False
    held = list(zip(*(column.cast(pa.string()).to_pylist() for column in table.columns), strict=True))
    if held != list(of_log):
        return False
    times = table["time_us"].to_pylist()
    return (chunk.first_us, chunk.last_us) == (min(times), max(times))


def main() -> None:
    """Make the chunks of the database that standard input names: a password there stands in no list of processes."""
    order = INDEX_TASK.validate_json(sys.stdin.buffer.read())
    database = Database(order.url)
    build_chunks(database, order.length)
    database.close()


if __name__ == "__main__":
    main()
