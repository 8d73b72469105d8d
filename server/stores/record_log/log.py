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
from server.stores.record_log.concurrency import in_turn
from server.stores.record_log.customer_keys import LOG, KeyStore, WrappedKey
from server.stores.record_log.entries import (
    EPOCH,
    US,
    Entry,
    Kept,
    Outcome,
    Request,
    damaged,
    reused,
    row_of,
    split,
    stored_record,
)
from server.stores.record_log.tiles import keep_nodes
from server.stores.tables import LOG_HEAD, RECORDS

EVENTS = structlog.get_logger()
HEAD = "log"
# Made once: to put a statement together takes longer than to run it.
LOCK_HEAD = select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD).with_for_update()
MOVE_HEAD = (
    update(LOG_HEAD)
    .where(LOG_HEAD.c.name == HEAD)
    .values({name: bindparam(f"new_{name}") for name in ("size", "peaks", "checkpoint")})
)
OF_ID = select(RECORDS).where(RECORDS.c.record_id == bindparam("wanted"))
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
        self.database, self.keys = database, keys
        self.signing_key, self.tags_key = signing_key, tags_key
        self.verifier = signing_key.verifier()
        self.known = Frontier()

    def append(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Append what is new, durably, and say for each entry what counts.

        Returns:
            For each entry the record that is in the log: its own, or the one that the same request got earlier. Or
            RequestIdReused, RecordRemoved, RecordDamaged or Overtaken, which are about this entry alone.

        Raises:
            StoreUnavailable: Nothing of this batch may be answered.
        """
        try:
            with self.database.writing() as connection:
                outcomes, after = self.append_within(connection, entries)
        except IntegrityError as error:
            EVENTS.error("log damaged", problem="a record stands where the head says that there is none")
            raise StoreUnavailable("the log is not as it was left; nothing was decided") from error
        self.known = after
        return outcomes

    def append_within(self, connection: Connection, entries: Sequence[Entry]) -> tuple[list[Outcome], Frontier]:
        """Append as part of a transaction, so that what else it changes and its records are there together, or neither.

        Nothing is durable before the transaction is committed; until then no other record is appended.

        Returns:
            The outcomes as of `append`, and the tree as it will be.
        """
        before = self.lock_head(connection)
        outcomes, fresh = self.told_apart(connection, entries)
        after, rows = self.sealed(before, entries, in_turn(connection, entries, fresh, outcomes), outcomes)
        if rows:
            connection.execute(INSERT, rows)
            keep_nodes(connection, before.size, after.size)
            self.write_head(connection, after)
        return [outcome for outcome in outcomes if outcome is not None], after

    def lock_head(self, connection: Connection) -> Frontier:
        """Wait for every other writer, and give the tree as it is. One that nobody signed is not built upon."""
        head = connection.execute(LOCK_HEAD).first()
        problem = "its head is gone"
        if head is not None:
            frontier = Frontier(head.size, split(head.peaks))
            if frontier == self.known and frontier.size:
                return frontier
            problem = self.doubt(frontier, head.checkpoint)
            if not problem:
                return frontier
        EVENTS.error("log damaged", problem=problem)
        raise StoreUnavailable("the log is not as it was left; nothing was decided")

    def doubt(self, frontier: Frontier, note: str) -> str:
        """Say why a head is not to be believed; "" where it is."""
        if frontier.size < self.known.size:
            return "it is shorter than it was"
        try:
            signed = open_checkpoint(note, self.verifier)
        except RecordError as error:
            return f"its checkpoint is refused: {error}"
        if (signed.size, signed.root) != (frontier.size, frontier.root()):
            return "its checkpoint is not that of its tree"
        return ""

    def told_apart(self, connection: Connection, entries: Sequence[Entry]) -> tuple[list[Outcome | None], list[int]]:
        """Give the outcomes of entries that were recorded before, and the positions of those that are new."""
        requests = {(entry.caller, entry.request_id) for entry in entries if entry.request_id}
        earlier = self.rows_of(connection, requests)
        keys = self.keys.by_id({row.key_id for row in earlier.values()}) if earlier else {}
        outcomes: list[Outcome | None] = [None] * len(entries)
        fresh = []
        for position, entry in enumerate(entries):
            row = earlier.get((entry.caller, entry.request_id))
            if row is None:
                fresh.append(position)
                continue
            try:
                outcomes[position] = self.same(entry.request_id, entry.content, row, keys)
            except ServerError as error:
                outcomes[position] = error
        return outcomes, fresh

    def sealed(
        self, frontier: Frontier, entries: Sequence[Entry], fresh: Sequence[int], outcomes: list[Outcome | None]
    ) -> tuple[Frontier, list[dict[str, Any]]]:
        """Seal what is new; gives the tree after it and the rows. Of duplicates within the batch the first counts."""
        owners = {position: self.owner_of(entries[position]) for position in fresh}
        keys = self.keys.ensure(set(owners.values())) if fresh else {}
        firsts: dict[Request, int] = {}
        rows = []
        for position in fresh:
            entry = entries[position]
            request = (entry.caller, entry.request_id)
            first = firsts.setdefault(request, position) if entry.request_id else position
            if first != position:
                same = entries[first].content == entry.content
                outcomes[position] = outcomes[first] if same else reused(entry.request_id)
                continue
            try:
                header, record = self.seal(entry, owners[position], keys)
            except (ServerError, RecordError) as error:  # this one alone cannot be recorded
                outcomes[position] = error
                continue
            outcomes[position] = Kept(frontier.size, header, entry.body)
            place = frontier.size
            frontier, nodes = frontier.append(record.leaf_hash())
            rows.append(row_of(place, header, record, nodes))
        return frontier, rows

    def owner_of(self, entry: Entry) -> str:
        """Give whose key seals it."""
        return LOG if entry.customer is None else self.tag_of(*entry.customer)

    def tag_of(self, market: str, customer_id: str) -> str:
        """Give the tag by which a customer's records are found."""
        return customer_tag(market, customer_id, self.tags_key).hex()

    def seal(self, entry: Entry, owner: str, keys: Mapping[str, WrappedKey]) -> tuple[Header, SealedRecord]:
        """Seal one entry."""
        key = self.keys.unwrap(keys[owner])
        header = Header(
            kind=entry.kind,
            record_id=entry.record_id,
            time_us=(entry.time - EPOCH) // US,
            caller=entry.caller,
            key_id=keys[owner].key_id,
            request_id=entry.request_id,
            customer_tag=entry.about if entry.customer is None else owner,
            content_tag=content_tag(entry.content, key).hex() if entry.content else "",
            labels=entry.labels,
            removed=entry.removed,
        )
        return header, seal_record(header, entry.body, key)

    def write_head(self, connection: Connection, frontier: Frontier) -> None:
        """Move the head, and sign where it is."""
        peaks, note = b"".join(frontier.peaks), self.signed(frontier)
        connection.execute(MOVE_HEAD, {"new_size": frontier.size, "new_peaks": peaks, "new_checkpoint": note})

    def signed(self, frontier: Frontier) -> str:
        """Sign where the log is: of the same place always the same bytes."""
        return sign_checkpoint(Checkpoint(self.signing_key.name, frontier.size, frontier.root()), self.signing_key)

    def probe(self) -> None:
        """Write something that changes nothing, to know whether a record could be written.

        Raises:
            StoreUnavailable: It could not.
        """
        self.keys.probe()
        with self.database.writing() as connection:
            frontier = self.lock_head(connection)
            connection.execute(update(LOG_HEAD).where(LOG_HEAD.c.name == HEAD).values(size=frontier.size))

    def close(self) -> None:
        """Close the database of keys; that of the log belongs to who opened it."""
        self.keys.database.close()

    def of_id(self, record_id: str) -> Kept | None:
        """Give a record by its name.

        Raises:
            RecordRemoved: Its ciphertext or its key is gone.
            RecordDamaged: It is not what was written.
        """
        found = self.with_stored(record_id)
        return None if found is None else found[0]

    def with_stored(self, record_id: str) -> tuple[Kept, StoredRecord] | None:
        """Give a record by its name, opened and as it is stored; raises as of_id."""
        with self.database.reading() as connection:
            row = connection.execute(OF_ID, {"wanted": record_id}).first()
        if row is None:
            return None
        record = stored_record(row)
        kept, _ = self.opened(row, self.keys.by_id({row.key_id}), record)
        return kept, record

    def of_request(self, caller: str, request_id: str, content: bytes) -> Kept | None:
        """Give the record that this request got earlier.

        Raises:
            RequestIdReused: It had another content.
            RecordRemoved, RecordDamaged: As of_id.
        """
        with self.database.reading() as connection:
            row = self.rows_of(connection, {(caller, request_id)}).get((caller, request_id))
        return None if row is None else self.same(request_id, content, row, self.keys.by_id({row.key_id}))

    def rows_of(self, connection: Connection, requests: Collection[Request]) -> dict[Request, Row[Any]]:
        """Give the rows that were written for these requests."""
        found: dict[Request, Row[Any]] = {}
        for caller in {caller for caller, _ in requests}:
            wanted = [request_id for name, request_id in requests if name == caller]
            rows = connection.execute(OF_REQUESTS, {"asked_by": caller, "wanted": wanted})
            found |= {(caller, row.request_id): row for row in rows}
        return found

    def same(self, request_id: str, content: bytes, row: Row[Any], keys: Mapping[str, WrappedKey]) -> Kept:
        """Give an earlier record, if it was of the same content."""
        kept, key = self.opened(row, keys)
        if content_tag(content, key).hex() != kept.header.content_tag:
            raise reused(request_id)
        return kept

    def opened(
        self, row: Row[Any], keys: Mapping[str, WrappedKey], read: StoredRecord | None = None
    ) -> tuple[Kept, bytes]:
        """Open a row, whose record may have been read already; gives the key too."""
        record = read or stored_record(row)
        try:
            if record.ciphertext is None or row.key_id not in keys:
                check_columns(row, parse_header(record.header), record)
                why = "CIPHERTEXT_REMOVED" if row.key_id in keys else "KEY_DESTROYED"
                raise RecordRemoved("what was in this record was erased", record_id=row.record_id, why=why)
            key = self.keys.unwrap(keys[row.key_id])
            header, body = open_record(SealedRecord(record.header, record.ciphertext), key)
            check_columns(row, header, record)
        except RecordError as error:
            raise damaged(row) from error
        return Kept(record.index, header, body), key


def check_columns(row: Row[Any], header: Header, record: StoredRecord) -> None:
    """Refuse a row whose columns do not follow from its header."""
    if mismatched_columns(header, record.columns or {}):
        raise damaged(row)
