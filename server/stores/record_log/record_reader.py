"""Reads records of the log by id, by request and by customer, decrypts them, and checks their columns.

A reader uses a `Database` or a `Snapshot`. With a `Database`, each call reads the newest committed data. With a
`Snapshot`, all calls read the data as of the same moment.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from grounds_record.customer_keys import content_tag
from grounds_record.errors import RecordError
from grounds_record.export import StoredRecord
from grounds_record.header import SUBJECT_LABEL, Header, mismatched_columns, parse_header
from grounds_record.sealed_record import SealedRecord, open_record
from server.errors import RecordDamaged, RecordRemoved, RecordUnknown
from server.stores.database import ConnectionSource
from server.stores.driver_sql import marks, pad_values, run_sql
from server.stores.record_log.entries import (
    Record,
    RequestKey,
    as_bytes,
    record_damaged,
    request_id_reused,
    stored_record,
)
from server.stores.record_log.key_store import KeyStore, WrappedKey
from server.stores.tables import RECORDS

# Why a record cannot be read
CUSTOMER_ERASED, CONTENT_REMOVED, RECORD_DAMAGED = "customer erased", "content removed by retention", "record damaged"
UNREAD_REASONS = (CUSTOMER_ERASED, CONTENT_REMOVED, RECORD_DAMAGED)
_OPENED_TOGETHER = 512  # records that `open_each` reads and decrypts together
# These statements are built once, because building a statement takes longer than running it.
_SELECT_BY_ID = select(RECORDS).where(RECORDS.c.record_id == bindparam("wanted"))
_SELECT_BY_INDEXES = select(RECORDS).where(RECORDS.c.record_index.in_(bindparam("wanted", expanding=True)))
_SELECT_BY_REQUEST = select(RECORDS).where(
    RECORDS.c.caller == bindparam("asked_by"), RECORDS.c.request_id.in_(bindparam("wanted", expanding=True))
)
_SELECT_REQUEST_IDS = f"SELECT request_id FROM {RECORDS.name} WHERE caller = ? AND request_id IN"  # noqa: S608 - a constant
_SELECT_RELATED = (
    select(RECORDS)
    .where(RECORDS.c.customer_tag == bindparam("tag"), RECORDS.c.kind.in_(bindparam("kinds", expanding=True)))
    .order_by(RECORDS.c.record_index)
)
_SELECT_NEWEST = (
    select(RECORDS)
    .where(
        RECORDS.c.customer_tag == bindparam("tag"),
        RECORDS.c.kind == bindparam("kind"),
        RECORDS.c.record_index < bindparam("before"),
    )
    .order_by(RECORDS.c.record_index.desc())
    .limit(bindparam("count"))
)


class RecordReader:
    """Reads and decrypts records.

    Attributes:
        key_store: Store of the keys. It is a separate database, so a snapshot does not include it.
    """

    def __init__(self, source: ConnectionSource, key_store: KeyStore) -> None:
        self._source, self.key_store = source, key_store

    def find_by_id(self, record_id: str) -> Record | None:
        """Return a decrypted record; None if there is no record with this id.

        Raises:
            RecordRemoved: The ciphertext was removed, or the key was destroyed.
            RecordDamaged: The record was changed after it was written.
        """
        found = self.find_stored(record_id)
        return None if found is None else found[0]

    def find_stored(self, record_id: str) -> tuple[Record, StoredRecord] | None:
        """Return a record both decrypted and as stored; None if there is no record with this id.

        Raises:
            RecordRemoved: The ciphertext was removed, or the key was destroyed.
            RecordDamaged: The record was changed after it was written.
        """
        with self._source.reading() as connection:
            row = connection.execute(_SELECT_BY_ID, {"wanted": record_id}).first()
        if row is None:
            return None
        stored = stored_record(row)
        record, _ = self._open_row(row, self.key_store.find_by_id({row.key_id}), stored)
        return record, stored

    def read_stored(self, record_id: str) -> StoredRecord:
        """Return a record as stored, without decrypting it.

        Raises:
            RecordUnknown: There is no record with this id.
        """
        with self._source.reading() as connection:
            return read_stored_record(connection, record_id)

    def find_by_request(self, caller: str, request_id: str, content: bytes) -> Record | None:
        """Return the record of an earlier call with this request_id; None if there was no such call.

        Args:
            caller: Name of the calling system.
            request_id: UUID of the request.
            content: Digest of the request's content.

        Raises:
            RequestIdReused: The earlier call had a different content.
            RecordRemoved: The ciphertext was removed, or the key was destroyed.
            RecordDamaged: The record was changed after it was written.
        """
        request = (caller, request_id)
        with self._source.reading() as connection:
            row = find_request_rows(connection, {request}).get(request)
        if row is None:
            return None
        return self.open_duplicate(row, self.key_store.find_by_id({row.key_id}), content)

    def read_related(
        self, customer_tag: str, kinds: Collection[str], subjects: Collection[str] | None = None
    ) -> Iterator[Record]:
        """Yield a customer's records of some kinds, decrypted, in the order of the log.

        Records that retention or an erasure removed are omitted.

        Args:
            customer_tag: The tag of the customer.
            kinds: The kinds.
            subjects: Ids of the records that the records must be about; None for every subject.

        Raises:
            RecordDamaged: A record was changed after it was written.
        """
        with self._source.reading() as connection:
            rows = [
                row
                for row, header in read_related_headers(connection, customer_tag, kinds)
                if (subjects is None or header.labels.get(SUBJECT_LABEL) in subjects) and row.ciphertext is not None
            ]
        keys = self.key_store.find_by_id({row.key_id for row in rows}) if rows else {}
        # Records from before an erasure have a destroyed key, which `keys` lacks. Later records of the customer have a
        # new key.
        for row in rows:
            if row.key_id in keys:
                record, _ = self._open_row(row, keys)
                yield record

    def read_newest(
        self, customer_tag: str, kind: str, before: int, count: int
    ) -> list[tuple[Header, int, Record | RecordRemoved]]:
        """Return a customer's newest records of a kind before an index, the newest first, each with header and index.

        A record whose content was removed is returned as the error that `find_by_id` would raise.

        Args:
            customer_tag: The tag of the customer.
            kind: The kind.
            before: Index of the record before which the records must be.
            count: Largest number of records.

        Raises:
            RecordDamaged: A record was changed after it was written.
        """
        with self._source.reading() as connection:
            wanted = {"tag": customer_tag, "kind": kind, "before": before, "count": count}
            rows = connection.execute(_SELECT_NEWEST, wanted).all()
        keys = self.key_store.find_by_id({row.key_id for row in rows}) if rows else {}
        found: list[tuple[Header, int, Record | RecordRemoved]] = []
        for row in rows:
            try:
                opened: Record | RecordRemoved = self._open_row(row, keys)[0]
            except RecordRemoved as error:
                opened = error
            found.append((header_from_row(row), int(row.record_index), opened))
        return found

    def open_each(self, indexes: Sequence[int]) -> Iterator[tuple[str, Record | str]]:
        """Yield the records with these ascending indexes, decrypted and in this order, each with its customer tag.

        Instead of a record that cannot be read, the reason is yielded: one of UNREAD_REASONS.
        """
        for start in range(0, len(indexes), _OPENED_TOGETHER):
            with self._source.reading() as connection:
                wanted = list(indexes[start : start + _OPENED_TOGETHER])
                rows = connection.execute(_SELECT_BY_INDEXES, {"wanted": wanted}).all()
            keys = self.key_store.find_by_id({row.key_id for row in rows}) if rows else {}
            for row in sorted(rows, key=lambda each: int(each.record_index)):
                try:
                    yield row.customer_tag, self._open_row(row, keys)[0]
                except RecordRemoved as error:
                    yield row.customer_tag, CUSTOMER_ERASED if error.key_destroyed else CONTENT_REMOVED
                except RecordDamaged:
                    yield row.customer_tag, RECORD_DAMAGED

    def open_duplicate(self, row: Row[Any], keys: Mapping[str, WrappedKey], content: bytes) -> Record:
        """Return the record of an earlier request, decrypted.

        Args:
            row: Row of RECORDS.
            keys: Wrapped keys by key id. A missing key was destroyed.
            content: Digest of the content of the current request.

        Raises:
            RequestIdReused: The earlier request had a different content.
            RecordRemoved: The ciphertext was removed, or the key was destroyed.
            RecordDamaged: The record was changed after it was written.
        """
        # The header contains a keyed tag instead of the digest, so that nobody can check guesses without the customer's
        # key.
        record, key = self._open_row(row, keys)
        if content_tag(content, key).hex() != record.header.content_tag:
            raise request_id_reused(row.request_id)
        return record

    def _open_row(
        self, row: Row[Any], keys: Mapping[str, WrappedKey], stored: StoredRecord | None = None
    ) -> tuple[Record, bytes]:
        """Decrypt a row; return the record and the key that decrypted it.

        Args:
            row: Row of RECORDS.
            keys: Wrapped keys by key id. A missing key was destroyed.
            stored: The row as a StoredRecord, if the caller has already converted it.

        Raises:
            RecordRemoved: The ciphertext was removed, or the key was destroyed.
            RecordDamaged: The record was changed after it was written.
        """
        stored = stored or stored_record(row)
        try:
            if stored.ciphertext is None or row.key_id not in keys:
                # Check the header here too, because a damaged record must not be reported as an erased record.
                _check_columns(row, parse_header(stored.header), stored)
                why = "CIPHERTEXT_REMOVED" if row.key_id in keys else "KEY_DESTROYED"
                raise RecordRemoved("the content of this record was erased", record_id=row.record_id, why=why)
            key = self.key_store.unwrap(keys[row.key_id])
            header, body = open_record(SealedRecord(stored.header, stored.ciphertext), key)
            _check_columns(row, header, stored)
        except RecordError as error:
            raise record_damaged(row) from error
        return Record(stored.index, header, body), key


def read_stored_record(connection: Connection, record_id: str) -> StoredRecord:
    """Return a record as stored, without decrypting it.

    Raises:
        RecordUnknown: There is no record with this id.
    """
    row = connection.execute(_SELECT_BY_ID, {"wanted": record_id}).first()
    if row is None:
        raise RecordUnknown("there is no record with this id", record_id=record_id)
    return stored_record(row)


def find_request_rows(connection: Connection, requests: Collection[RequestKey]) -> dict[RequestKey, Row[Any]]:
    """Return the rows of RECORDS that were written for these requests, by request."""
    found: dict[RequestKey, Row[Any]] = {}
    for caller in {caller for caller, _ in requests}:
        # Nearly every request is new, so first look for the ids only. This query reads only an index of the database.
        asked = pad_values([request_id for name, request_id in requests if name == caller])
        existing = run_sql(connection, f"{_SELECT_REQUEST_IDS} {marks(len(asked))}", (caller, *asked)).fetchall()
        if not existing:
            continue
        wanted = [request_id for (request_id,) in existing]
        rows = connection.execute(_SELECT_BY_REQUEST, {"asked_by": caller, "wanted": wanted})
        found |= {(caller, row.request_id): row for row in rows}
    return found


def read_related_headers(
    connection: Connection, customer_tag: str, kinds: Collection[str]
) -> list[tuple[Row[Any], Header]]:
    """Return the rows of a customer's records of some kinds, each with its parsed header, in the order of the log.

    Raises:
        RecordDamaged: A header is invalid.
    """
    rows = connection.execute(_SELECT_RELATED, {"tag": customer_tag, "kinds": list(kinds)}).all()
    return [(row, header_from_row(row)) for row in rows]


def header_from_row(row: Row[Any]) -> Header:
    """Parse the header of a row.

    Raises:
        RecordDamaged: The header is invalid.
    """
    try:
        return parse_header(as_bytes(row.header))
    except RecordError as error:
        raise record_damaged(row) from error


def _check_columns(row: Row[Any], header: Header, record: StoredRecord) -> None:
    """Raise RecordDamaged if a column of the row differs from the header."""
    if mismatched_columns(header, record.columns or {}):
        raise record_damaged(row)
