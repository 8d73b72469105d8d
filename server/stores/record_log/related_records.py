"""Finds the records that are about one customer or one decision, by the tag that all of a customer's records have."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from grounds_record.errors import RecordError
from grounds_record.header import Header, parse_header
from server.stores.record_log.entries import Record, as_bytes, record_damaged
from server.stores.record_log.log import RecordLog
from server.stores.tables import RECORDS

# Made once: to put a statement together takes longer than to run it.
ABOUT = (
    select(RECORDS)
    .where(RECORDS.c.customer_tag == bindparam("tag"), RECORDS.c.kind.in_(bindparam("kinds", expanding=True)))
    .order_by(RECORDS.c.record_index)
)


def read_related_headers(connection: Connection, tag: str, kinds: Collection[str]) -> list[tuple[Row[Any], Header]]:
    """Give the rows of a customer's records of some kinds with their headers, in the order of the log.

    Raises:
        RecordDamaged: A header is not what was written.
    """
    rows = connection.execute(ABOUT, {"tag": tag, "kinds": list(kinds)}).all()
    return [(row, header_from_row(row)) for row in rows]


def header_from_row(row: Row[Any]) -> Header:
    """Read a row's header."""
    try:
        return parse_header(as_bytes(row.header))
    except RecordError as error:
        raise record_damaged(row) from error


def read_related_records(
    log: RecordLog, tag: str, kinds: Collection[str], labels: Mapping[str, str]
) -> Iterator[Record]:
    """Give a customer's records of some kinds that have these labels, in the order of the log, opened.

    Those that retention or an erasure has taken are left out.

    Raises:
        RecordDamaged: One is not what was written.
    """
    with log.database.reading() as connection:
        rows = [
            row
            for row, header in read_related_headers(connection, tag, kinds)
            if labels.items() <= header.labels.items() and row.ciphertext is not None
        ]
    keys = log.key_store.find_by_id({row.key_id for row in rows}) if rows else {}
    for row in rows:
        if row.key_id in keys:
            kept, _ = log.open_row(row, keys)
            yield kept
