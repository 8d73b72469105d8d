"""Chunks of the header index: columns with the headers of many records, encoded as an Arrow IPC stream.

A chunk needs 28 bytes per record. The database index for lists of decisions needs 155 bytes per record, which are spread over the
whole file. A chunk never changes, because neither an erasure nor retention changes a header. `doctor` compares chunks with the
records.

`python -m server.stores.record_log.header_chunks` builds the missing chunks and exits; see header_index.py.
"""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Row, bindparam, select
from sqlalchemy.exc import IntegrityError

from grounds_record.export import StoredRecord
from models.isolation.core_dumps import forbid_core_dumps
from server.stores.database import Database
from server.stores.record_log.entries import as_bytes
from server.stores.record_log.header_index import (
    CHUNK_RECORDS,
    CHUNKS,
    INDEX_TASK,
    RecordRange,
    chunk_end,
    missing_chunks,
)
from server.stores.tables import LISTED_CHUNKS, RECORDS

_CODES = pa.dictionary(pa.int32(), pa.string())
# The fields are columns of RECORDS. An empty string represents a missing value.
HEADER_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("time_us", pa.int64()),
        *((name, _CODES) for name in ("kind", "caller", "market", "bundle_id", "decision", "grade")),
    ]
)
_COMPRESSION = pa.ipc.IpcWriteOptions(compression="zstd")
# These statements are built once, because building a statement takes longer than running it.
_CONTENT = select(LISTED_CHUNKS.c.content).where(LISTED_CHUNKS.c.first_index == bindparam("first"))
_HEADERS = (
    select(*(RECORDS.c[name] for name in HEADER_SCHEMA.names))
    .where(RECORDS.c.record_index >= bindparam("first"), RECORDS.c.record_index < bindparam("end"))
    .order_by(RECORDS.c.record_index)
)


def read_headers(connection: Connection, records: RecordRange) -> pa.Table:
    """Return the headers of a range as a table of HEADER_SCHEMA, read from a chunk or from the table of records."""
    if records.chunked:
        return decode_chunk(as_bytes(connection.execute(_CONTENT, {"first": records.first}).scalar_one()))
    rows = connection.execute(_HEADERS, {"first": records.first, "end": records.end}).all()
    columns = zip(*rows, strict=True) if rows else [()] * len(HEADER_SCHEMA)
    arrays = [
        pa.array(column, pa.int64())
        if field.type == pa.int64()
        else pa.array([value or "" for value in column], pa.string()).cast(field.type)
        for field, column in zip(HEADER_SCHEMA, columns, strict=True)
    ]
    return pa.table(arrays, HEADER_SCHEMA)


def decode_chunk(content: bytes) -> pa.Table:
    """Parse the content of a chunk."""
    with pa.ipc.open_stream(content) as stream:
        return stream.read_all()


def encode_chunk(table: pa.Table) -> bytes:
    """Return the content of a chunk."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, HEADER_SCHEMA, options=_COMPRESSION) as stream:
        stream.write(table.combine_chunks())
    return bytes(sink.getvalue())


def build_chunks(database: Database, length: int = CHUNK_RECORDS) -> int:
    """Build every missing chunk of `length` records; return the number of chunks that this process wrote."""
    written = 0
    for records in missing_chunks(database, length):
        with database.reading() as connection:
            table = read_headers(connection, records)
        try:
            _insert_chunk(database, records, table)
        except IntegrityError:  # another process wrote the same chunk first
            continue
        written += 1
    return written


def _insert_chunk(database: Database, records: RecordRange, table: pa.Table) -> None:
    """Write a chunk as one row."""
    times = table["time_us"].to_pylist()
    row = {
        "first_index": records.first,
        "record_count": len(times),
        "first_us": min(times),
        "last_us": max(times),
        "content": encode_chunk(table),
    }
    with database.writing() as connection:
        connection.execute(LISTED_CHUNKS.insert(), row)


class _OrderedRecords:
    """Splits an iterator of records at given indexes. The records are in ascending order of index, possibly with gaps."""

    def __init__(self, records: Iterable[StoredRecord]) -> None:
        self._records = iter(records)
        self._next = next(self._records, None)

    def before(self, end: float) -> Iterator[StoredRecord]:
        """Yield the next records whose index is less than `end`. The first record at or after `end` is kept for the next call."""
        while self._next is not None and self._next.index < end:
            yield self._next
            self._next = next(self._records, None)


def check_chunks(
    connection: Connection, records: Iterable[StoredRecord], size: int, problems: list[str]
) -> Iterator[StoredRecord]:
    """Yield the records unchanged, and append a sentence to `problems` for each chunk that does not match them.

    The records are yielded because the caller checks them too, and a log is too large to be read twice.

    Args:
        connection: Connection that reads the chunks.
        records: All records of the log, in order.
        size: Number of records of the log.
        problems: List to which sentences are appended. The list is complete when the iteration has ended.
    """
    ordered, at = _OrderedRecords(records), 0
    for chunk in connection.execute(CHUNKS).all():
        first, end = chunk.first_index, chunk_end(chunk)
        if not at <= first < end <= size:
            problems.append(f"the header chunk of records {first} to {end - 1} does not belong to this log")
            continue
        yield from ordered.before(first)
        headers = []
        for record in ordered.before(end):
            headers.append(_column_texts(record))
            yield record
        at = end
        if not _matches(connection, chunk, headers):
            problems.append(f"the header chunk of records {first} to {end - 1} does not match its records")
    yield from ordered.before(math.inf)


def _column_texts(record: StoredRecord) -> tuple[str, ...]:
    """Return the columns of a record in the order of HEADER_SCHEMA, as texts."""
    columns = record.columns or {}
    return tuple(columns.get(name, "") for name in HEADER_SCHEMA.names)


def _matches(connection: Connection, chunk: Row[Any], headers: Sequence[tuple[str, ...]]) -> bool:
    """Return whether a chunk contains exactly these headers, and its row contains their smallest and largest time."""
    try:
        table = read_headers(connection, RecordRange(chunk.first_index, chunk_end(chunk), chunked=True))
        table.validate(full=True)  # otherwise a damaged offset could make pyarrow read outside its buffers and crash
    except (pa.ArrowException, OSError, ValueError):
        return False
    if table.schema != HEADER_SCHEMA or not table.num_rows:
        return False
    rows = list(zip(*(column.cast(pa.string()).to_pylist() for column in table.columns), strict=True))
    if rows != list(headers):
        return False
    times = table["time_us"].to_pylist()
    return (chunk.first_us, chunk.last_us) == (min(times), max(times))


def main() -> None:
    """Build the missing chunks. The task on standard input specifies the database and the number of records per chunk."""
    forbid_core_dumps()
    task = INDEX_TASK.validate_json(sys.stdin.buffer.read())
    database = Database(task.url)
    build_chunks(database, task.length)
    database.close()


if __name__ == "__main__":
    main()
