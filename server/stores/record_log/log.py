"""The log: appends records in one transaction each batch, and reads them back.

    lock the head -> duplicates out -> keys durable -> seal -> grow the tree -> rows, head and signed checkpoint -> commit

What `append` returns is committed, with an fsync. What it raises for was not answered, whether or not it was committed: who
asks again with the same request_id gets what is there.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Row, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from grounds_record.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from grounds_record.customer_keys import content_tag, customer_tag
from grounds_record.errors import RecordError
from grounds_record.export import StoredRecord
from grounds_record.header import Header, parse_header
from grounds_record.header_columns import mismatched_columns
from grounds_record.merkle import Frontier
from grounds_record.note import SigningKey
from grounds_record.sealed_record import SealedRecord, open_record, seal_record
from server.errors import RecordRemoved, ServerError, StoreUnavailable
from server.stores.database import Database
from server.stores.record_log.concurrency import check_preconditions
from server.stores.record_log.customer_keys import LOG_OWNER, KeyStore, WrappedKey
from server.stores.record_log.entries import (
    EPOCH,
    MICROSECOND,
    AppendResult,
    LogEntry,
    Record,
    RequestKey,
    record_damaged,
    record_row,
    request_id_reused,
    split_hashes,
    stored_record,
)
from server.stores.record_log.tiles import write_tiles
from server.stores.tables import LOG_HEAD, RECORDS

EVENTS = structlog.get_logger()
HEAD_NAME = "log"
# Made once: to put a statement together takes longer than to run it.
LOCK_HEAD = select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME).with_for_update()
MOVE_HEAD = (
    update(LOG_HEAD)
    .where(LOG_HEAD.c.name == HEAD_NAME)
    .values({name: bindparam(f"new_{name}") for name in ("size", "peaks", "checkpoint")})
)
SELECT_BY_ID = select(RECORDS).where(RECORDS.c.record_id == bindparam("wanted"))
OF_REQUESTS = select(RECORDS).where(
    RECORDS.c.caller == bindparam("asked_by"), RECORDS.c.request_id.in_(bindparam("wanted", expanding=True))
)
INSERT = RECORDS.insert()


class RecordLog:
    """The one log of a database. Its methods may be called from any thread.

    Attributes:
        signing_key: Signs a checkpoint in every transaction that appends.
        known: The frontier that this process last left or saw.
    """

    def __init__(self, database: Database, keys: KeyStore, signing_key: SigningKey, tags_key: bytes) -> None:
        self.database, self.key_store = database, keys
        self.signing_key, self.tags_key = signing_key, tags_key
        self.verifier = signing_key.verifier()
        self.last_frontier = Frontier()

    def append(self, entries: Sequence[LogEntry]) -> list[AppendResult]:
        """Append what is new, durably, and say for each entry what counts.

        Returns:
            For each entry the record that is in the log: its own, or the one that the same request got earlier. Or
            RequestIdReused, RecordRemoved, RecordDamaged or PreconditionFailed, which are about this entry alone.

        Raises:
            StoreUnavailable: Nothing of this batch may be answered.
        """
        try:
            with self.database.writing() as connection:
                outcomes, after = self.append_within(connection, entries)
        except IntegrityError as error:
            EVENTS.error("log damaged", problem="a record stands where the head says that there is none")
            raise StoreUnavailable("the log is not as it was left; nothing was decided") from error
        self.last_frontier = after
        return outcomes

    def append_within(self, connection: Connection, entries: Sequence[LogEntry]) -> tuple[list[AppendResult], Frontier]:
        """Append as part of a transaction, so that what else it changes and its records are there together, or neither.

        Nothing is durable before the transaction is committed; until then no other record is appended.

        Returns:
            The outcomes as of `append`, and the tree as it will be.
        """
        before = self.lock_head(connection)
        outcomes, fresh = self._find_duplicates(connection, entries)
        after, rows = self._seal_entries(
            before, entries, check_preconditions(connection, entries, fresh, outcomes), outcomes
        )
        if rows:
            connection.execute(INSERT, rows)
            write_tiles(connection, before.size, after.size)
            self.write_head(connection, after)
        return [outcome for outcome in outcomes if outcome is not None], after

    def lock_head(self, connection: Connection) -> Frontier:
        """Wait for every other writer, and give the tree as it is. One that nobody signed is not built upon."""
        head = connection.execute(LOCK_HEAD).first()
        problem = "its head is gone"
        if head is not None:
            frontier = Frontier(head.size, split_hashes(head.peaks))
            if frontier == self.last_frontier and frontier.size:
                return frontier
            problem = self._head_problem(frontier, head.checkpoint)
            if not problem:
                return frontier
        EVENTS.error("log damaged", problem=problem)
        raise StoreUnavailable("the log is not as it was left; nothing was decided")

    def _head_problem(self, frontier: Frontier, note: str) -> str:
        """Say why a head is not to be believed; "" where it is."""
        if frontier.size < self.last_frontier.size:
            return "it is shorter than it was"
        try:
            signed = open_checkpoint(note, self.verifier)
        except RecordError as error:
            return f"its checkpoint is refused: {error}"
        if (signed.size, signed.root) != (frontier.size, frontier.root()):
            return "its checkpoint is not that of its tree"
        return ""

    def _find_duplicates(
        self, connection: Connection, entries: Sequence[LogEntry]
    ) -> tuple[list[AppendResult | None], list[int]]:
        """Give the outcomes of entries that were recorded before, and the positions of those that are new."""
        requests = {(entry.caller, entry.request_id) for entry in entries if entry.request_id}
        earlier = self.find_request_rows(connection, requests)
        keys = self.key_store.find_by_id({row.key_id for row in earlier.values()}) if earlier else {}
        outcomes: list[AppendResult | None] = [None] * len(entries)
        fresh = []
        for position, entry in enumerate(entries):
            row = earlier.get((entry.caller, entry.request_id))
            if row is None:
                fresh.append(position)
                continue
            try:
                outcomes[position] = self._open_duplicate(entry.request_id, entry.content, row, keys)
            except ServerError as error:
                outcomes[position] = error
        return outcomes, fresh

    def _seal_entries(
        self, frontier: Frontier, entries: Sequence[LogEntry], fresh: Sequence[int], outcomes: list[AppendResult | None]
    ) -> tuple[Frontier, list[dict[str, Any]]]:
        """Seal what is new; gives the tree after it and the rows. Of duplicates within the batch the first counts."""
        owners = {position: self._key_owner(entries[position]) for position in fresh}
        keys = self.key_store.ensure(set(owners.values())) if fresh else {}
        firsts: dict[RequestKey, int] = {}
        rows = []
        for position in fresh:
            entry = entries[position]
            request = (entry.caller, entry.request_id)
            first = firsts.setdefault(request, position) if entry.request_id else position
            if first != position:
                same = entries[first].content == entry.content
                outcomes[position] = outcomes[first] if same else request_id_reused(entry.request_id)
                continue
            try:
                header, record = self.seal(entry, owners[position], keys)
            except (ServerError, RecordError) as error:  # this one alone cannot be recorded
                outcomes[position] = error
                continue
            outcomes[position] = Record(frontier.size, header, entry.body)
            place = frontier.size
            frontier, nodes = frontier.append(record.leaf_hash())
            rows.append(record_row(place, header, record, nodes))
        return frontier, rows

    def _key_owner(self, entry: LogEntry) -> str:
        """Give whose key seals it."""
        return LOG_OWNER if entry.customer is None else self.customer_tag(*entry.customer)

    def customer_tag(self, market: str, customer_id: str) -> str:
        """Give the tag by which a customer's records are found."""
        return customer_tag(market, customer_id, self.tags_key).hex()

    def seal(self, entry: LogEntry, owner: str, keys: Mapping[str, WrappedKey]) -> tuple[Header, SealedRecord]:
        """Seal one entry."""
        key = self.key_store.unwrap(keys[owner])
        header = Header(
            kind=entry.kind,
            record_id=entry.record_id,
            time_us=(entry.time - EPOCH) // MICROSECOND,
            caller=entry.caller,
            key_id=keys[owner].key_id,
            request_id=entry.request_id,
            customer_tag=entry.subject_tag if entry.customer is None else owner,
            content_tag=content_tag(entry.content, key).hex() if entry.content else "",
            labels=entry.labels,
            removed=entry.removed,
        )
        return header, seal_record(header, entry.body, key)

    def write_head(self, connection: Connection, frontier: Frontier) -> None:
        """Move the head, and sign where it is."""
        peaks, note = b"".join(frontier.peaks), self.sign_checkpoint(frontier)
        connection.execute(MOVE_HEAD, {"new_size": frontier.size, "new_peaks": peaks, "new_checkpoint": note})

    def sign_checkpoint(self, frontier: Frontier) -> str:
        """Sign where the log is: of the same place always the same bytes."""
        return sign_checkpoint(Checkpoint(self.signing_key.name, frontier.size, frontier.root()), self.signing_key)

    def probe(self) -> None:
        """Write something that changes nothing, to know whether a record could be written.

        Raises:
            StoreUnavailable: It could not.
        """
        self.key_store.probe()
        with self.database.writing() as connection:
            frontier = self.lock_head(connection)
            connection.execute(update(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME).values(size=frontier.size))

    def close(self) -> None:
        """Close the database of keys; that of the log belongs to who opened it."""
        self.key_store.database.close()

    def find_by_id(self, record_id: str) -> Record | None:
        """Give a record by its name.

        Raises:
            RecordRemoved: Its ciphertext or its key is gone.
            RecordDamaged: It is not what was written.
        """
        found = self.find_stored(record_id)
        return None if found is None else found[0]

    def find_stored(self, record_id: str) -> tuple[Record, StoredRecord] | None:
        """Give a record by its name, opened and as it is stored; raises as find_by_id."""
        with self.database.reading() as connection:
            row = connection.execute(SELECT_BY_ID, {"wanted": record_id}).first()
        if row is None:
            return None
        record = stored_record(row)
        kept, _ = self.open_row(row, self.key_store.find_by_id({row.key_id}), record)
        return kept, record

    def find_by_request(self, caller: str, request_id: str, content: bytes) -> Record | None:
        """Give the record that this request got earlier.

        Raises:
            RequestIdReused: It had another content.
            RecordRemoved, RecordDamaged: As find_by_id.
        """
        with self.database.reading() as connection:
            row = self.find_request_rows(connection, {(caller, request_id)}).get((caller, request_id))
        return (
            None
            if row is None
            else self._open_duplicate(request_id, content, row, self.key_store.find_by_id({row.key_id}))
        )

    def find_request_rows(self, connection: Connection, requests: Collection[RequestKey]) -> dict[RequestKey, Row[Any]]:
        """Give the rows that were written for these requests."""
        found: dict[RequestKey, Row[Any]] = {}
        for caller in {caller for caller, _ in requests}:
            wanted = [request_id for name, request_id in requests if name == caller]
            rows = connection.execute(OF_REQUESTS, {"asked_by": caller, "wanted": wanted})
            found |= {(caller, row.request_id): row for row in rows}
        return found

    def _open_duplicate(self, request_id: str, content: bytes, row: Row[Any], keys: Mapping[str, WrappedKey]) -> Record:
        """Give an earlier record, if it was of the same content."""
        kept, key = self.open_row(row, keys)
        if content_tag(content, key).hex() != kept.header.content_tag:
            raise request_id_reused(request_id)
        return kept

    def open_row(
        self, row: Row[Any], keys: Mapping[str, WrappedKey], read: StoredRecord | None = None
    ) -> tuple[Record, bytes]:
        """Open a row, whose record may have been read already; gives the key too."""
        record = read or stored_record(row)
        try:
            if record.ciphertext is None or row.key_id not in keys:
                check_columns(row, parse_header(record.header), record)
                why = "CIPHERTEXT_REMOVED" if row.key_id in keys else "KEY_DESTROYED"
                raise RecordRemoved("what was in this record was erased", record_id=row.record_id, why=why)
            key = self.key_store.unwrap(keys[row.key_id])
            header, body = open_record(SealedRecord(record.header, record.ciphertext), key)
            check_columns(row, header, record)
        except RecordError as error:
            raise record_damaged(row) from error
        return Record(record.index, header, body), key


def check_columns(row: Row[Any], header: Header, record: StoredRecord) -> None:
    """Refuse a row whose columns do not follow from its header."""
    if mismatched_columns(header, record.columns or {}):
        raise record_damaged(row)
