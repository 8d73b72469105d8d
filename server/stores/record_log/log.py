"""The record log: appends sealed records to the database, each batch in one transaction.

    lock the head -> find duplicates -> check preconditions -> make keys durable -> seal -> extend the tree
    -> write rows, tiles, head and signed checkpoint -> commit

A record that `append` returns is committed and fsynced. If `append` raises, no caller of the batch was answered, whether or
not the batch was committed: a retry with the same request_id gets the record that is in the log, if there is one.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from grounds_record.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from grounds_record.customer_keys import content_tag, customer_tag
from grounds_record.errors import RecordError
from grounds_record.header import Header
from grounds_record.merkle import Frontier, split_hashes
from grounds_record.note import SigningKey
from grounds_record.sealed_record import SealedRecord, seal_record
from server.errors import LogRefused, ServerError, StoreUnavailable
from server.stores.database import Database, after_commit
from server.stores.record_log.entries import (
    AppendResult,
    LogEntry,
    Record,
    RequestKey,
    record_row,
    request_id_reused,
    us_since_epoch,
)
from server.stores.record_log.forks import RememberedCheckpoint, fork_problems
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.key_store import LOG_OWNER, KeyStore, WrappedKey
from server.stores.record_log.preconditions import check_preconditions
from server.stores.record_log.record_reader import RecordReader, find_request_rows
from server.stores.record_log.tiles import write_tiles
from server.stores.tables import LOG_HEAD, RECORDS

HEAD_NAME = "log"
_EVENTS = structlog.get_logger()
# Built once: building a statement takes longer than running it.
_LOCK_HEAD = select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME).with_for_update()
_UPDATE_HEAD = (
    update(LOG_HEAD)
    .where(LOG_HEAD.c.name == HEAD_NAME)
    .values({name: bindparam(f"new_{name}") for name in ("size", "peaks", "checkpoint")})
)
_INSERT = RECORDS.insert()


class RecordLog:
    """The record log of a database. Its methods may be called from any thread.

    Attributes:
        database: Has the records, the tiles and the head.
        key_store: Has the customers' keys and the log's own.
        tags_key: Derives customer tags and the salts of scoring runs.
        verifier: The public half of the signing key.
        last_frontier: The frontier after the last append of this process.
        reader: Reads what is committed.
        high_water_mark: The newest committed checkpoint, outside the database.
    """

    def __init__(
        self,
        database: Database,
        key_store: KeyStore,
        signing_key: SigningKey,
        tags_key: bytes,
        high_water_mark: HighWaterMark,
        anchors: Sequence[RememberedCheckpoint] = (),
    ) -> None:
        """Open the log of a database; before it appends anything, the log must continue `anchors` and the high-water mark."""
        self.database, self.key_store = database, key_store
        self._signing_key, self.tags_key = signing_key, tags_key
        self.verifier = signing_key.verifier()
        self.last_frontier = Frontier()
        self.reader = RecordReader(database, key_store)
        self.high_water_mark = high_water_mark
        self._anchors = tuple(anchors)
        self._adopting = False  # an operator accepts the log as it is
        self._reported = ""  # the last problem in the application log

    def append(self, entries: Sequence[LogEntry]) -> list[AppendResult]:
        """Append entries durably.

        Returns:
            For each entry the record that is in the log: its own, or the one that the same request got earlier. Or
            RequestIdReused, RecordRemoved, RecordDamaged or PreconditionFailed, which concern this entry alone.

        Raises:
            StoreUnavailable: No entry of this batch may be answered.
        """
        try:
            with self.database.writing() as connection:
                results, frontier = self.append_within(connection, entries)
        except IntegrityError as error:
            # The head is locked, so no other writer took the index: the head does not fit the records.
            self._report("a record stands where the head says that there is none")
            raise StoreUnavailable("the log is not as it was left; nothing was decided") from error
        # Only after the commit: a frontier that was rolled back must not be trusted in lock_head.
        self.last_frontier = frontier
        return results

    def append_within(self, connection: Connection, entries: Sequence[LogEntry]) -> tuple[list[AppendResult], Frontier]:
        """Append as part of a transaction, so that its other changes and its records are committed together.

        The head stays locked until the transaction ends; until then no other record is appended.

        Args:
            connection: Of a transaction from `Database.writing`.
            entries: To append, in this order.

        Returns:
            The results as of `append`, and the frontier that the log will have.
        """
        # The head first: every writer locks it before anything else, so writers queue and never deadlock.
        before = self.lock_head(connection)
        # Then duplicates: a retry gets its record even if its precondition has failed since.
        results, new = self._find_duplicates(connection, entries)
        allowed = check_preconditions(connection, entries, new, results)
        after, rows = self._seal_entries(before, entries, allowed, results)
        # A batch of duplicates and errors changes nothing, so it signs nothing.
        if rows:
            connection.execute(_INSERT, rows)
            write_tiles(connection, before.size, after.size)  # reads the hashes of the rows that were just inserted
            note = self._write_head(connection, after)
            after_commit(connection, lambda: self._remember(after.size, note))
        return [result for result in results if result is not None], after

    def lock_head(self, connection: Connection) -> Frontier:
        """Lock the head against other writers until the transaction ends; return the frontier of the tree.

        Raises:
            StoreUnavailable: The head is missing, its checkpoint does not verify, or the log does not continue what was
                remembered of it: nothing is appended.
        """
        head = connection.execute(_LOCK_HEAD).first()
        problem = "its head is gone"
        if head is not None:
            frontier = Frontier(head.size, split_hashes(head.peaks))
            # What this process signed itself needs no second verification; an Ed25519 check would cost every append.
            if frontier == self.last_frontier and frontier.size:
                return frontier
            problem = self._head_problem(frontier, head.checkpoint) or self._fork_problem(connection, frontier)
            if not problem:
                return frontier
        self._report(problem)
        raise StoreUnavailable("the log is not as it was left; nothing was decided")

    def _report(self, problem: str) -> None:
        """Report a problem in the application log, once until it changes: probes meet it again every half second."""
        if problem != self._reported:
            _EVENTS.error("log damaged", problem=problem)
        self._reported = problem

    def _head_problem(self, frontier: Frontier, note: str) -> str:
        """Return what is wrong with a head; "" if it is valid."""
        try:
            signed = open_checkpoint(note, self.verifier)
        except RecordError as error:
            return f"its checkpoint is refused: {error}"
        # The checkpoint is genuine; it must also be that of this frontier, or peaks and signature were not written together.
        if (signed.size, signed.root) != (frontier.size, frontier.root()):
            return "its checkpoint is not that of its tree"
        return ""

    def _fork_problem(self, connection: Connection, frontier: Frontier) -> str:
        """Return how the log contradicts what was remembered of it; "" if it continues all of it."""
        if self._adopting:
            return ""
        last = self.last_frontier
        try:
            problems = fork_problems(connection, frontier, self._remembered_checkpoints())
        except LogRefused as error:
            return str(error)
        if problems:
            return problems[0][1]
        if not last.size:
            self.last_frontier = frontier  # it continues mark and anchors; from now on it is what a head must continue
        return ""

    def _remembered_checkpoints(self) -> list[RememberedCheckpoint]:
        """Return what the log must continue: the last frontier of this process, before its first one mark and anchors."""
        last = self.last_frontier
        if last.size:
            return [RememberedCheckpoint("this process", Checkpoint(self._signing_key.name, last.size, last.root()))]
        mark = self.high_water_mark.read(self.verifier)
        marks = [RememberedCheckpoint(str(self.high_water_mark.path), mark)] if mark else []
        return [*marks, *self._anchors]

    def read_fork(self) -> tuple[list[RememberedCheckpoint], list[RememberedCheckpoint]]:
        """Return the remembered checkpoints that the log contradicts, and those that it continues."""
        remembered = self._remembered_checkpoints()
        with self.database.reading() as connection:
            head = connection.execute(select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME)).one()
            frontier = Frontier(head.size, split_hashes(head.peaks))
            forked = [each for each, _ in fork_problems(connection, frontier, remembered)]
        return forked, [each for each in remembered if each not in forked]

    def adopt(self, entry: LogEntry) -> None:
        """Append the record that accepts a fork, and begin to remember the log as it is now.

        Raises:
            StoreUnavailable: The record could not be written; the log is refused as before.
        """
        self._adopting = True
        try:
            (result,) = self.append([entry])
        finally:
            self._adopting = False
        if isinstance(result, Exception):
            raise result
        # After the commit: until then the mark keeps the fork from being used, and after it the record allows its range.
        self.high_water_mark.replace(self.sign_checkpoint(self.last_frontier))

    def _find_duplicates(
        self, connection: Connection, entries: Sequence[LogEntry]
    ) -> tuple[list[AppendResult | None], list[int]]:
        """Return the results of entries that were appended before, None for the others, and the positions of those."""
        # Under the head lock: a retry that races with its first attempt sees the record of that, or comes first.
        requests = {(entry.caller, entry.request_id) for entry in entries if entry.request_id}
        earlier = find_request_rows(connection, requests)
        keys = self.key_store.find_by_id({row.key_id for row in earlier.values()}) if earlier else {}
        results: list[AppendResult | None] = [None] * len(entries)
        new = []
        for position, entry in enumerate(entries):
            row = earlier.get((entry.caller, entry.request_id))
            if row is None:
                new.append(position)
                continue
            try:
                results[position] = self.reader.open_duplicate(row, keys, entry.content)
            except ServerError as error:
                results[position] = error
        return results, new

    def _seal_entries(
        self, frontier: Frontier, entries: Sequence[LogEntry], new: Sequence[int], results: list[AppendResult | None]
    ) -> tuple[Frontier, list[dict[str, Any]]]:
        """Seal new entries, and set their results.

        Args:
            frontier: Of the log.
            entries: The batch.
            new: Positions of the entries to seal.
            results: Of the batch; those of the new entries are set.

        Returns:
            The frontier after them, and their rows.
        """
        owners = {position: self._key_owner(entries[position]) for position in new}
        # Keys are committed to their own database first. After a crash here there are unused keys, never unreadable records.
        keys = self.key_store.ensure(set(owners.values())) if new else {}
        firsts: dict[RequestKey, int] = {}
        rows = []
        for position in new:
            entry = entries[position]
            request = (entry.caller, entry.request_id)
            # Two calls of one request can be in one batch: the first is appended, the others get its result.
            first = firsts.setdefault(request, position) if entry.request_id else position
            if first != position:
                same = entries[first].content == entry.content
                results[position] = results[first] if same else request_id_reused(entry.request_id)
                continue
            try:
                header, sealed = self._seal(entry, owners[position], keys)
            except (ServerError, RecordError) as error:  # this entry alone cannot be sealed; the others can
                results[position] = error
                continue
            index = frontier.size
            results[position] = Record(index, header, entry.body)
            # Each record stores the hashes that it completes: its leaf hash, and one for each subtree that ends with it.
            frontier, nodes = frontier.append(sealed.leaf_hash())
            rows.append(record_row(index, header, sealed, nodes))
        return frontier, rows

    def _key_owner(self, entry: LogEntry) -> str:
        """Return the owner of the key that seals an entry."""
        return LOG_OWNER if entry.customer is None else self.customer_tag(*entry.customer)

    def customer_tag(self, market: str, customer_id: str) -> str:
        """Return the tag by which a customer's records are found: a keyed hash, 64 hexadecimal digits."""
        return customer_tag(market, customer_id, self.tags_key).hex()

    def _seal(self, entry: LogEntry, owner: str, keys: Mapping[str, WrappedKey]) -> tuple[Header, SealedRecord]:
        """Seal one entry under its owner's key."""
        key = self.key_store.unwrap(keys[owner])
        header = Header(
            kind=entry.kind,
            record_id=entry.record_id,
            time_us=us_since_epoch(entry.time),
            caller=entry.caller,
            key_id=keys[owner].key_id,
            request_id=entry.request_id,
            customer_tag=entry.subject_tag if entry.customer is None else owner,
            content_tag=content_tag(entry.content, key).hex() if entry.content else "",
            labels=entry.labels,
            removed=entry.removed,
        )
        return header, seal_record(header, entry.body, key)

    def _remember(self, size: int, note: str) -> None:
        """Bring the high-water mark up to a commit that is not acknowledged yet.

        Raises:
            StoreUnavailable: The commit must not be acknowledged: the mark cannot be written, or the records went into a
                deleted file.
        """
        self.database.check_files()
        self.key_store.database.check_files()
        self.high_water_mark.advance(size, note)

    def _write_head(self, connection: Connection, frontier: Frontier) -> str:
        """Write the head with a checkpoint of exactly this size; return the checkpoint."""
        # In the transaction of the records: no committed record is ever without a signature that covers it.
        peaks, note = b"".join(frontier.peaks), self.sign_checkpoint(frontier)
        connection.execute(_UPDATE_HEAD, {"new_size": frontier.size, "new_peaks": peaks, "new_checkpoint": note})
        return note

    def sign_checkpoint(self, frontier: Frontier) -> str:
        """Return the signed checkpoint of a frontier; Ed25519 is deterministic, so the same frontier has the same bytes."""
        return sign_checkpoint(Checkpoint(self._signing_key.name, frontier.size, frontier.root()), self._signing_key)

    def probe(self) -> None:
        """Check that a record could be written: update rows of both databases without changing them.

        Raises:
            StoreUnavailable: No record could be written.
        """
        self.key_store.probe()
        with self.database.writing() as connection:
            frontier = self.lock_head(connection)
            # The same size again: the write reaches the disk like any other and changes nothing.
            connection.execute(update(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME).values(size=frontier.size))
            after_commit(connection, lambda: self._remember(frontier.size, self.sign_checkpoint(frontier)))

    def close(self) -> None:
        """Close the key database and the high-water mark; the log's own database belongs to the caller."""
        with suppress(OSError):
            self.high_water_mark.close()
        self.key_store.database.close()

    def find_by_id(self, record_id: str) -> Record | None:
        """Return a committed record; see RecordReader.find_by_id."""
        return self.reader.find_by_id(record_id)

    def find_by_request(self, caller: str, request_id: str, content: bytes) -> Record | None:
        """Return the committed record of an earlier request; see RecordReader.find_by_request."""
        return self.reader.find_by_request(caller, request_id, content)
