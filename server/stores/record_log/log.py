"""The record log: appends sealed records to the database, each batch in one transaction.

    lock the head -> find duplicates -> check preconditions -> commit new keys -> seal -> extend the tree
    -> write rows, tiles, head and signed checkpoint -> commit -> update the high-water mark

A record that `append` returns is committed and synced to the disk. If `append` raises an error, it is unknown whether
the batch was committed, so the caller must not acknowledge any record of the batch. If the batch was committed, a retry
with the same request_id returns the committed record.
"""

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from grounds_record.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from grounds_record.customer_keys import content_tag, customer_tag
from grounds_record.errors import RecordError
from grounds_record.header import Header
from grounds_record.key_history import KeyHistory, rotation_labels, sign_rotation, trace_keys
from grounds_record.merkle import Frontier, split_hashes
from grounds_record.note import Signer, VerifierKey
from grounds_record.sealed_record import SealedRecord, seal_record
from server.errors import LogRefused, ServerError, StoreUnavailable
from server.stores.clock import Clock, read_newest_record
from server.stores.database import Database, after_commit
from server.stores.driver_sql import insert_rows, run_sql
from server.stores.keys.signing_keys import SigningKeys
from server.stores.record_log.entries import (
    AppendResult,
    LogEntry,
    Record,
    RequestKey,
    record_row,
    request_id_reused,
    time_from_us,
    us_since_epoch,
)
from server.stores.record_log.forks import RememberedCheckpoint, fork_problems
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.key_rotations import read_key_history
from server.stores.record_log.key_store import LOG_OWNER, KeyStore, WrappedKey
from server.stores.record_log.preconditions import check_preconditions
from server.stores.record_log.record_reader import RecordReader, find_request_rows
from server.stores.record_log.tiles import write_tiles
from server.stores.tables import LOG_HEAD, RECORDS

HEAD_NAME = "log"
_LOG_DAMAGED = "the record log is damaged; nothing was decided; run: python -m server doctor"
_CLOCK_WRONG = "the clock of the server is wrong; nothing was decided; the application log states what to correct"
_EVENTS = structlog.get_logger()
_READ_HEAD = f"SELECT size, peaks, checkpoint, verifier_key FROM {LOG_HEAD.name} WHERE name = ?"  # noqa: S608 - a constant
_LOCK_HEAD = f"{_READ_HEAD} FOR UPDATE"
_UPDATE_HEAD = f"UPDATE {LOG_HEAD.name} SET size = ?, peaks = ?, checkpoint = ? WHERE name = ?"  # noqa: S608 - a constant
_UPDATE_VERIFIER = f"UPDATE {LOG_HEAD.name} SET verifier_key = ? WHERE name = ?"  # noqa: S608 - a constant


class RecordLog:
    """The record log of a database. Its methods may be called from any thread.

    Attributes:
        database: Database with the records, the tiles and the head.
        key_store: Store of the customers' keys and of the log's own keys.
        tags_key: Key that derives customer tags and the salts of scoring runs, 32 bytes.
        append_seconds: How long the last append of this process took, in seconds: until its records were sealed and
            inserted, and from then until their commit was durable.
        last_frontier: Frontier of the tree after the last append of this process. Before the first append, it is the
            first frontier that passed the fork check, or the empty frontier.
        reader: Reader of committed records.
        high_water_mark: File outside the database with the newest committed checkpoint.
    """

    def __init__(
        self,
        database: Database,
        key_store: KeyStore,
        signing_keys: SigningKeys,
        tags_key: bytes,
        high_water_mark: HighWaterMark,
        anchors: Sequence[RememberedCheckpoint] = (),
        clock: Clock | None = None,
    ) -> None:
        """Create the log object without accessing the database.

        Args:
            database: Database with the records, the tiles and the head.
            key_store: Store of the customers' keys and of the log's own keys.
            signing_keys: The key that signs checkpoints, and the history of the log's keys.
            tags_key: Key that derives customer tags, 32 bytes.
            high_water_mark: File with the newest committed checkpoint. The log must extend it before the first append.
            anchors: Anchored checkpoints. The log must extend them before the first append.
            clock: Clock that is checked before each append; None for no check.
        """
        self.database, self.key_store = database, key_store
        self._signing, self.tags_key = signing_keys, tags_key
        self._verifier_text = self.keys.newest.text()
        self.last_frontier = Frontier()
        self.append_seconds = (0.0, 0.0)
        self.reader = RecordReader(database, key_store)
        self.high_water_mark = high_water_mark
        self._anchors = tuple(anchors)
        self._clock = clock
        self._newest: dt.datetime | None = None  # time of the newest record that this process has read or written
        self._adopting = False  # whether an operator is accepting a fork, which disables the fork check
        self._reported = ""  # the last problem that was written to the application log

    @property
    def keys(self) -> KeyHistory:
        """Return the public keys of the log. The newest one verifies new checkpoints."""
        return self._signing.history

    @property
    def verifier(self) -> VerifierKey:
        """Return the public key that verifies new checkpoints."""
        return self.keys.newest

    def append(self, entries: Sequence[LogEntry]) -> list[AppendResult]:
        """Append entries durably.

        Returns:
            One result for each entry. It is the appended record, or the record of an earlier request with the same
            request_id, or an error that concerns only this entry: RequestIdReused, RecordRemoved, RecordDamaged or
            PreconditionFailed.

        Raises:
            StoreUnavailable: The caller must not acknowledge any entry of this batch.
        """
        start = sealed = time.perf_counter()
        try:
            self._check_times(entries)
            with self.database.writing() as connection:
                results, frontier = self.append_within(connection, entries)
                sealed = time.perf_counter()
        except IntegrityError as error:
            # No other writer can have used the index, because the head is locked. So the head does not match the
            # records.
            self._report("a record has an index beyond the size in the head")
            raise StoreUnavailable(_LOG_DAMAGED) from error
        # This is set after the commit, because lock_head must not trust a frontier that was rolled back.
        self.last_frontier = frontier
        self.append_seconds = (sealed - start, time.perf_counter() - sealed)
        return results

    def append_within(self, connection: Connection, entries: Sequence[LogEntry]) -> tuple[list[AppendResult], Frontier]:
        """Append entries as part of a larger transaction, which commits other changes together with the records.

        The head stays locked until the transaction ends. Until then, no other record can be appended.

        Args:
            connection: Connection from `Database.writing`.
            entries: Entries to append, in this order.

        Returns:
            The results as in `append`, and the frontier of the log after the commit.
        """
        # Lock the head first. Every writer locks it before anything else, so writers queue and cannot deadlock.
        before = self.lock_head(connection)
        self._check_clock(connection)
        # Find duplicates before checking preconditions: a retry returns its record even if its precondition is now
        # false.
        results, new = self._find_duplicates(connection, entries)
        allowed = check_preconditions(connection, entries, new, results)
        after, rows = self._seal_entries(before, entries, allowed, results)
        # A batch with only duplicates and errors does not change the log, so no checkpoint is signed.
        if rows:
            insert_rows(connection, RECORDS, rows)
            # `write_tiles` reads hashes of the inserted rows, so it must run after the insert.
            write_tiles(connection, before.size, after.size)
            note = self._write_head(connection, after)
            newest = time_from_us(rows[-1]["time_us"])
            after_commit(connection, lambda: self._remember(after.size, note, newest))
        else:
            after_commit(connection, lambda: self._confirm_duplicates(results, before))
        return [result for result in results if result is not None], after

    def append_or_raise(self, connection: Connection, entries: Sequence[LogEntry]) -> None:
        """Append entries as `append_within` does, but raise the error of the first rejected entry."""
        for result in self.append_within(connection, entries)[0] if entries else ():
            if isinstance(result, Exception):
                raise result

    def lock_head(self, connection: Connection) -> Frontier:
        """Lock the head against other writers until the transaction ends; return the frontier of the tree.

        Raises:
            StoreUnavailable: The head is missing, its checkpoint is invalid, or the log does not extend a remembered
                checkpoint. Nothing is appended.
        """
        # SQLite needs no row lock, because the transaction has locked the whole database for writing.
        lock = _LOCK_HEAD if connection.dialect.name == "postgresql" else _READ_HEAD
        head = run_sql(connection, lock, (HEAD_NAME,)).fetchone()
        problem = "the head of the log is missing"
        if head is not None:
            size, peaks, checkpoint, verifier = head
            frontier = Frontier(size, split_hashes(peaks))
            problem = "" if verifier == self._verifier_text else self._follow_rotation(connection, verifier)
            # This process already signed or verified the checkpoint of its last frontier, so it need not be verified
            # again.
            if not problem and frontier == self.last_frontier and frontier.size:
                return frontier
            problem = problem or self._head_problem(frontier, checkpoint) or self._fork_problem(connection, frontier)
            if not problem:
                return frontier
        self._report(problem)
        raise StoreUnavailable(_LOG_DAMAGED)

    def _follow_rotation(self, connection: Connection, verifier: str) -> str:
        """Use the signing key that another process has rotated to; return the problem, or "" if there is none."""
        try:
            signer = self._signing.find(verifier)
            if signer is None:
                return (
                    f"the signing key was rotated to {verifier}, which this process cannot find: configure the new key as "
                    "`signing_key`"
                )
            history = read_key_history(connection, signer.verifier())
        except LogRefused as error:
            return f"the signing key was rotated, and the new key cannot be used: {error}"
        if self.keys.newest not in history.keys:
            return f"the head of the log contains the public key {verifier}, but no record states a rotation to it"
        self._use_key(signer, history)
        return ""

    def _use_key(self, signer: Signer, keys: KeyHistory) -> None:
        """Sign with a key from now on."""
        self._signing.signer, self._signing.history, self._verifier_text = signer, keys, keys.newest.text()

    def rotate_signing_key(self, new: Signer, entry: Callable[[dict[str, str]], LogEntry]) -> bool:
        """Append a record that both keys sign, and sign all later checkpoints with the new key, in one transaction.

        Args:
            new: The new key, which every server of the log must be able to read.
            entry: Function that returns the entry of the record for the labels that it must have.

        Returns:
            False if the log uses the new key already. Nothing is changed then.

        Raises:
            StoreUnavailable: It is unknown whether the key was rotated.
        """
        old, keys = self._signing.signer, self.keys
        try:
            with self.database.writing() as connection:
                size = self.lock_head(connection).size
                if self.keys.newest == new.verifier():
                    return False
                old, keys = self._signing.signer, self.keys
                rotation = sign_rotation(size, old, new)
                self._use_key(new, trace_keys(keys, [rotation]))
                run_sql(connection, _UPDATE_VERIFIER, (self._verifier_text, HEAD_NAME))
                _, frontier = self.append_within(connection, [entry(rotation_labels(rotation))])
                assert frontier.size == size + 1, "an entry without request_id and precondition is appended"
        except BaseException:
            # If the commit succeeded nevertheless, the next lock of the head finds the new key again.
            self._use_key(old, keys)
            raise
        self.last_frontier = frontier
        return True

    def _check_clock(self, connection: Connection, *, reread: bool = False) -> None:
        """Compare the clock with the time since the start of this process, and with the newest record.

        Args:
            connection: Connection to the log's database.
            reread: Whether to read the newest record again, because another process may have appended a record, and to
                compare the clock with the clock of the database server. Probes do so. Appends do not, because they are
                too frequent.

        Raises:
            StoreUnavailable: The clock is wrong. Nothing is appended.
        """
        if self._clock is None:
            return
        if reread or self._newest is None:
            newest = read_newest_record(connection)
            self._newest = newest[0] if newest else None
        problem = self._clock.step_problem() or self._clock.behind_problem(self._newest)
        if reread and not problem:
            problem = self._clock.database_problem(connection)
        if problem:
            self._report(problem, event="clock wrong")
            raise StoreUnavailable(_CLOCK_WRONG)

    def _check_times(self, entries: Sequence[LogEntry]) -> None:
        """Check that no entry received its time while the clock was wrong, even if the clock is right again.

        Raises:
            StoreUnavailable: The clock is wrong, or an entry has a wrong time. Nothing is appended.
        """
        if self._clock is None:
            return
        for entry in entries:
            if problem := self._clock.step_problem() or self._clock.entry_problem(entry.time):
                self._report(problem, event="clock wrong")
                raise StoreUnavailable(_CLOCK_WRONG)

    def _report(self, problem: str, event: str = "log damaged") -> None:
        """Write a problem to the application log, unless the last written problem is the same."""
        if problem != self._reported:
            _EVENTS.error(event, problem=problem)
        self._reported = problem

    def _head_problem(self, frontier: Frontier, note: str) -> str:
        """Return the problem of a head; "" if the head is valid."""
        try:
            signed = open_checkpoint(note, self.keys)
        except RecordError as error:
            return f"the checkpoint in the head is invalid: {error}"
        # The signature is valid. If size or root differ, the peaks and the checkpoint were not written together.
        if (signed.size, signed.root) != (frontier.size, frontier.root()):
            return "the checkpoint in the head does not match the peaks"
        return ""

    def _fork_problem(self, connection: Connection, frontier: Frontier) -> str:
        """Return how the log contradicts a remembered checkpoint; "" if it does not, or if a fork is being accepted."""
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
            # From now on, the head is compared with this frontier instead of the mark and the anchors.
            self.last_frontier = frontier
        return ""

    def _remembered_checkpoints(self) -> list[RememberedCheckpoint]:
        """Return the checkpoints that the log must extend.

        Before the fork check has passed once, these are the high-water mark and the anchors. Afterwards, this is only
        the checkpoint of the last frontier of this process.

        Raises:
            LogRefused: The high-water mark cannot be read.
        """
        last = self.last_frontier
        if last.size:
            return [RememberedCheckpoint("this process", Checkpoint(self.keys.name, last.size, last.root()))]
        mark = self.high_water_mark.read(self.keys)
        marks = [RememberedCheckpoint(str(self.high_water_mark.path), mark)] if mark else []
        return [*marks, *self._anchors]

    def read_fork(self) -> tuple[list[RememberedCheckpoint], list[RememberedCheckpoint]]:
        """Return the remembered checkpoints that the log contradicts, and all others (even those of adopted forks)."""
        remembered = self._remembered_checkpoints()
        with self.database.reading() as connection:
            head = connection.execute(select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME)).one()
            frontier = Frontier(head.size, split_hashes(head.peaks))
            forked = [each for each, _ in fork_problems(connection, frontier, remembered)]
        return forked, [each for each in remembered if each not in forked]

    def adopt(self, entries: Sequence[LogEntry]) -> None:
        """Append the records that accept a fork, and replace the high-water mark by the current checkpoint.

        Raises:
            StoreUnavailable: It is unknown whether the records were written. They are written together or not at all.
        """
        self._adopting = True
        try:
            results = self.append(entries)
        finally:
            self._adopting = False
        for result in results:
            if isinstance(result, Exception):
                raise result
        # Replace the mark after the commit. If the process is killed before the replacement, the committed record
        # accepts the fork.
        self.high_water_mark.replace(self.last_frontier.size, self.sign_checkpoint(self.last_frontier))

    def _find_duplicates(
        self, connection: Connection, entries: Sequence[LogEntry]
    ) -> tuple[list[AppendResult | None], list[int]]:
        """Find the entries whose request was already recorded.

        Returns:
            The result of each entry, which is None for a new entry; and the positions of the new entries.
        """
        # The head is locked, so an earlier call of the same request has either committed its record or has not locked
        # the head yet.
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
            frontier: Frontier of the log.
            entries: All entries of the batch.
            new: Positions of the entries to seal.
            results: Results of the batch by position. The results of the new entries are set.

        Returns:
            The frontier after the new entries, and the rows to insert.
        """
        owners = {position: self._key_owner(entries[position]) for position in new}
        # Keys are committed to the key database first. A crash can therefore leave unused keys, but no unreadable
        # records.
        keys = self.key_store.ensure(set(owners.values())) if new else {}
        firsts: dict[RequestKey, int] = {}
        rows = []
        for position in new:
            entry = entries[position]
            request = (entry.caller, entry.request_id)
            # A batch can contain the same request several times. The first is appended. The others get its result, or
            # an error.
            first = firsts.setdefault(request, position) if entry.request_id else position
            if first != position:
                same = entries[first].content == entry.content
                results[position] = results[first] if same else request_id_reused(entry.request_id)
                continue
            try:
                header, sealed = self._seal(entry, owners[position], keys)
            except (ServerError, RecordError) as error:  # the other entries of the batch can still be sealed
                results[position] = error
                continue
            index = frontier.size
            results[position] = Record(index, header, entry.body)
            # Each record is stored with its leaf hash and the hashes of the larger subtrees that it completes.
            frontier, nodes = frontier.append(sealed.leaf_hash())
            rows.append(record_row(index, header, sealed, nodes))
        return frontier, rows

    def _key_owner(self, entry: LogEntry) -> str:
        """Return the owner of the key that seals an entry."""
        return LOG_OWNER if entry.customer is None else self.customer_tag(*entry.customer)

    def customer_tag(self, market: str, customer_id: str) -> str:
        """Return the tag of a customer in record headers: a keyed hash, 64 hexadecimal digits."""
        return customer_tag(market, customer_id, self.tags_key).hex()

    def _seal(self, entry: LogEntry, owner: str, keys: Mapping[str, WrappedKey]) -> tuple[Header, SealedRecord]:
        """Return the header and the sealed record of one entry, encrypted under the owner's key."""
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

    def _remember(self, size: int, note: str, newest: dt.datetime | None = None, *, probe: bool = False) -> None:
        """Update the high-water mark after a commit, before the commit is acknowledged.

        Args:
            size: The size of the log.
            note: The signed checkpoint of this size.
            newest: The time of the newest record; None if no record was appended.
            probe: Whether to write the mark even if it covers the log already.

        Raises:
            StoreUnavailable: The commit must not be acknowledged, because the mark cannot be written or a database file
                was deleted or replaced.
        """
        self._check_files()
        self.high_water_mark.advance(size, note, self.keys, self._read_keys, probe=probe)
        self._newest = newest or self._newest

    def _read_keys(self) -> KeyHistory:
        """Read the public keys of the log again. This process goes on to sign with its key until it locks the head again.

        Raises:
            StoreUnavailable: The records of the rotations cannot be read.
        """
        try:
            with self.database.reading() as connection:
                return read_key_history(connection, self.verifier)
        except LogRefused as error:
            self._report(str(error))
            raise StoreUnavailable(_LOG_DAMAGED) from error

    def _confirm_duplicates(self, results: Sequence[AppendResult | None], frontier: Frontier) -> None:
        """Check that records of earlier requests can be acknowledged, after a transaction that appended no record.

        The call that appended a record may have failed, or its process may have ended, before the mark was updated.

        Args:
            results: The results of the batch.
            frontier: The frontier of the log.

        Raises:
            StoreUnavailable: As for `_remember`.
        """
        last = max((result.index for result in results if isinstance(result, Record)), default=-1)
        if last < 0 or self.high_water_mark.covers(last, self.keys):
            self._check_files()
        else:
            self._remember(frontier.size, self.sign_checkpoint(frontier))

    def _check_files(self) -> None:
        """Raise StoreUnavailable if a database file was deleted or replaced, because its records are lost."""
        self.database.check_files()
        self.key_store.database.check_files()

    def _write_head(self, connection: Connection, frontier: Frontier) -> str:
        """Write the head with a signed checkpoint of the frontier; return the checkpoint."""
        # The head and the records are written in the same transaction, so a signed checkpoint covers every committed
        # record.
        peaks, note = b"".join(frontier.peaks), self.sign_checkpoint(frontier)
        run_sql(connection, _UPDATE_HEAD, (frontier.size, peaks, note, HEAD_NAME))
        return note

    def sign_checkpoint(self, frontier: Frontier) -> str:
        """Return the signed checkpoint of a frontier. Equal frontiers have equal bytes, as Ed25519 is deterministic."""
        return sign_checkpoint(Checkpoint(self.keys.name, frontier.size, frontier.root()), self._signing.signer)

    def probe(self) -> None:
        """Check that records can be appended, by updating rows of both databases and the high-water mark without changing them.

        Raises:
            StoreUnavailable: Records cannot be appended, or the clock is wrong.
        """
        self.key_store.probe()
        with self.database.writing() as connection:
            frontier = self.lock_head(connection)
            self._check_clock(connection, reread=True)
            # Writing the same size reaches the disk like any other write, but changes nothing.
            connection.execute(update(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME).values(size=frontier.size))
            note = self.sign_checkpoint(frontier)
            after_commit(connection, lambda: self._remember(frontier.size, note, probe=True))

    def close(self) -> None:
        """Close the key database and the high-water mark. The caller closes the log's database."""
        with suppress(OSError):
            self.high_water_mark.close()
        self.key_store.database.close()

    def find_by_id(self, record_id: str) -> Record | None:
        """Return a committed record by its id; see RecordReader.find_by_id."""
        return self.reader.find_by_id(record_id)

    def find_by_request(self, caller: str, request_id: str, content: bytes) -> Record | None:
        """Return the committed record of an earlier call of the same request; see RecordReader.find_by_request.

        Raises:
            StoreUnavailable: The record must not be acknowledged, because a database file was deleted or replaced, or because the
                high-water mark does not cover the record and cannot be written.
        """
        found = self.reader.find_by_request(caller, request_id, content)
        if found is not None and not self.high_water_mark.covers(found.index, self.keys):
            with self.database.writing() as connection:
                frontier = self.lock_head(connection)
                after_commit(connection, lambda: self._confirm_duplicates([found], frontier))
        elif found is not None:
            self._check_files()
        return found
