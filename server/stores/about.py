"""Finds the records that are about one customer or one decision, by the tag that all of a customer's records have."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from record.errors import RecordError
from record.header import Header, parse_header
from server.stores.entries import Kept, damaged, raw
from server.stores.records import RecordLog
from server.stores.tables import RECORDS


def headers_about(connection: Connection, tag: str, kinds: Collection[str]) -> list[tuple[Row[Any], Header]]:
    """Give the rows of a customer's records of some kinds with their headers, in the order of the log.

    Raises:
        RecordDamaged: A header is not what was written.
    """
    wanted = select(RECORDS).where(RECORDS.c.customer_tag == tag, RECORDS.c.kind.in_(kinds))
    return [(row, header_of(row)) for row in connection.execute(wanted.order_by(RECORDS.c.record_index)).all()]


def header_of(row: Row[Any]) -> Header:
    """Read a row's header."""
    try:
        return parse_header(raw(row.header))
    except RecordError as error:
        raise damaged(row) from error


def records_about(log: RecordLog, tag: str, kinds: Collection[str], labels: Mapping[str, str]) -> Iterator[Kept]:
    """Give a customer's records of some kinds that have these labels, in the order of the log, opened.

    Those that retention or an erasure has taken are left out.

    Raises:
        RecordDamaged: One is not what was written.
    """
    with log.database.reading() as connection:
        rows = [
            row
            for row, header in headers_about(connection, tag, kinds)
            if labels.items() <= header.labels.items() and row.ciphertext is not None
        ]
    keys = log.keys.by_id({row.key_id for row in rows})
    for row in rows:
        if row.key_id in keys:
            kept, _ = log.opened(row, keys)
            yield kept
