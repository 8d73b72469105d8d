"""Erases a customer: destroys their keys, deletes their rows, and records the erasure.

    in one transaction, with the head of the record log locked:
        check for holds -> append ERASURE -> delete feature and run rows -> retire the keys, so that they encrypt nothing more
    after the commit:
        destroy the keys -> rewrite the database files

A kill between two steps leaves either a customer who can still be read, or a recorded erasure whose keys still exist; the
same command finishes it. A decision made meanwhile is encrypted under a new key.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, select

from grounds.audit.v1 import bodies_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from grounds_record.header import Header
from server.edges.validation import validate
from server.errors import ErasureRefused, RequestInvalid
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.erased_customers import ERASURE
from server.stores.record_log.holds import OPERATOR, Hold, append_entry, read_active_holds
from server.stores.record_log.key_store import LOG_OWNER
from server.stores.record_log.log import RecordLog
from server.stores.record_log.record_reader import read_related_headers
from server.stores.runs.erasure import delete_expired_tombstones, erase_predictions
from server.stores.runs.pruning import delete_unfinished_runs
from server.stores.runs.publication import lock_loading
from server.stores.runs.records import RowDigest, read_customer_rows
from server.stores.secure_delete import rewrite_tables
from server.stores.tables import FEATURES, RECORDS

_KEY_LABEL = "key_"  # labels key_0, key_1, ... of an ERASURE record name the destroyed keys
_REASON_CHARACTERS_MAX = 500
_PLAINTEXT_TABLES = ("features", "risks", "risk_chunks", "runs", "risk_tombstones")  # they hold customers unencrypted
CustomerKey = tuple[str, str]  # market, customer_id


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """The data about a customer that an erasure removes.

    Attributes:
        records: Number of records encrypted under keys that still exist.
        unrecorded_keys: Ids of the customer's keys, present or not, that no ERASURE record names.
        present_keys: Ids of the customer's keys that still exist.
        feature_rows: Number of feature rows.
        run_rows: The customer's rows in runs.
        holds: Legal holds that forbid the erasure.
        erased_before: Whether an ERASURE record exists.
    """

    records: int
    unrecorded_keys: tuple[str, ...]
    present_keys: tuple[str, ...]
    feature_rows: int
    run_rows: tuple[RowDigest, ...]
    holds: tuple[Hold, ...]
    erased_before: bool

    @property
    def is_new(self) -> bool:
        """Return whether there is anything to record."""
        return bool(self.unrecorded_keys or self.feature_rows or self.run_rows)


def check_customer(market: str, customer_id: str) -> CustomerKey:
    """Return the customer's key if a request or a file could name this customer; a hold on any other protects nobody.

    Raises:
        ErasureRefused: The market or the number breaks a rule of the contract.
    """
    try:
        validate(Customer(market=market, customer_id=customer_id))
    except RequestInvalid as error:
        raise ErasureRefused(
            f"{market!r} {customer_id!r} is not a customer: a market is two capital letters, "
            "a customer's number 1 to 64 letters, digits and . _ : -"
        ) from error
    return market, customer_id


def check_reason(reason: str, customer: CustomerKey | None) -> None:
    """Raise ErasureRefused for a reason that is empty, too long, or contains the customer's number.

    The reason is recorded for the life of the log, so a number in it could never be erased. None as the customer means that
    the number is known not to be in the reason.
    """
    if not reason.strip() or len(reason) > _REASON_CHARACTERS_MAX:
        raise ErasureRefused(f"--reason must state why, in 1 to {_REASON_CHARACTERS_MAX} characters")
    if customer is not None and customer[1] in reason:
        raise ErasureRefused("--reason must not name the customer, because it is never erased: name the case instead")


def read_plan(connection: Connection, log: RecordLog, customer: CustomerKey) -> ErasurePlan:
    """Read what an erasure would remove; change nothing."""
    tag = log.customer_tag(*customer)
    erasures = [header for _, header in read_related_headers(connection, tag, (ERASURE,))]
    sealed = select(RECORDS.c.key_id, func.count()).where(RECORDS.c.customer_tag == tag).group_by(RECORDS.c.key_id)
    # Records about the customer under the log's own key, such as holds, are not erased.
    own_key = log.key_store.find_by_owner({LOG_OWNER})[LOG_OWNER].key_id
    counts = {row[0]: row[1] for row in connection.execute(sealed) if row[0] != own_key}
    current = {key.key_id for key in log.key_store.find_by_owner({tag}).values()}
    present = current | set(log.key_store.find_by_id(counts.keys()))
    recorded = {key for header in erasures for key in _destroyed_keys(header)}
    features = select(func.count()).select_from(FEATURES).where(*_feature_condition(customer))
    return ErasurePlan(
        records=sum(count for key, count in counts.items() if key in present),
        unrecorded_keys=tuple(sorted((current | set(counts)) - recorded)),
        present_keys=tuple(sorted(present)),
        feature_rows=connection.execute(features).scalar_one(),
        run_rows=tuple(read_customer_rows(connection, log, *customer)),
        holds=tuple(read_active_holds(connection, tag)),
        erased_before=bool(erasures),
    )


def preview_erasure(log: RecordLog, customer: CustomerKey, reason: str) -> ErasurePlan:
    """Return what an erasure would remove; change nothing.

    Raises:
        ErasureRefused: As `erase_customer`.
    """
    check_reason(reason, customer)
    with log.database.reading() as connection:
        plan = read_plan(connection, log, customer)
    _check_allowed(plan, customer)
    return plan


def erase_customers(
    log: RecordLog,
    customers: Sequence[CustomerKey],
    reason: str,
    clock: Callable[[], dt.datetime],
    token_days: float,
) -> Iterator[tuple[CustomerKey, ErasurePlan]]:
    """Erase several customers, or none if one cannot be erased; yield each with what was removed.

    No load and no other erasure can run meanwhile. Afterwards the database files are rewritten, also after an error.

    Args:
        log: The record log.
        customers: (market, customer_id) of each.
        reason: Recorded for the life of the log.
        clock: Returns the time.
        token_days: How long page and delta tokens are honoured: expired tombstones are removed too.

    Raises:
        ErasureRefused: As `erase_customer`, for the first customer who cannot be erased.
        StoreUnavailable: A load or an erasure is running, or a database does not answer; run the command again.
    """
    with lock_loading(log.database):
        delete_unfinished_runs(
            log.database
        )  # rows of a run that was never published are named in no record, so no erasure would list them
        with log.database.writing() as connection:
            delete_expired_tombstones(connection, clock(), token_days)
        for customer in customers:
            preview_erasure(log, customer, reason)
        try:
            for customer in customers:
                yield customer, erase_customer(log, customer, reason, clock())
        finally:
            rewrite_files(log)


def erase_customer(log: RecordLog, customer: CustomerKey, reason: str, at: dt.datetime) -> ErasurePlan:
    """Erase one customer, or finish an earlier erasure that was interrupted; return what was removed.

    Call it inside `alone` and after `sweep`, as `erase_customers` does. The database files still contain the deleted bytes
    until `rewrite_files` has run.

    Raises:
        ErasureRefused: A hold forbids it, the customer has no data, or the reason cannot be recorded.
        StoreUnavailable: A database does not answer; run the command again.
    """
    check_reason(reason, customer)
    with log.database.writing() as connection:
        log.lock_head(connection)
        plan = read_plan(connection, log, customer)
        _check_allowed(plan, customer)
        if plan.is_new:
            append_entry(log, connection, _erasure_entry(plan, log.customer_tag(*customer), customer[0], reason, at))
            connection.execute(delete(FEATURES).where(*_feature_condition(customer)))
            erase_predictions(connection, *customer, at)
        # Last before the commit: a process that appends a record afterwards finds no key of this customer and creates one.
        log.key_store.retire(plan.present_keys)
    log.key_store.destroy(plan.present_keys)
    return plan


def rewrite_files(log: RecordLog) -> None:
    """Rewrite the database files, so that no file contains the erased bytes.

    Raises:
        StoreUnavailable: A database is busy for too long; run the command again.
    """
    rewrite_tables(log.key_store.database, ("wrapped_keys",))
    rewrite_tables(log.database, _PLAINTEXT_TABLES)


def find_erasure_problems(log: RecordLog) -> tuple[list[str], list[RowDigest]]:
    """Compare the existing keys with the ERASURE records.

    Returns:
        The problems, one sentence each, and the run rows that erasures removed.
    """
    run_rows: list[RowDigest] = []
    destroyed: dict[str, int] = {}  # key id -> index of the ERASURE record
    with log.database.reading() as connection:
        ids = connection.execute(select(RECORDS.c.record_id).where(RECORDS.c.kind == ERASURE)).scalars().all()
        used_keys = set(connection.execute(select(RECORDS.c.key_id).distinct()).scalars())
    for record_id in ids:
        record = log.find_by_id(record_id)
        assert record is not None, "read a moment ago, and records are never deleted"
        destroyed |= dict.fromkeys(_destroyed_keys(record.header), record.index)
        body = pb.ErasureRecord.FromString(record.body)
        run_rows += [RowDigest(row.run_id, row.market, row.row_sha256) for row in body.run_rows]
    present = log.key_store.read_ids()
    unfinished = [
        f"record {index}: it states that a key was destroyed, but the key still exists; erase this customer again"
        for key, index in sorted(destroyed.items())
        if key in present
    ]
    unexplained = [
        f"key {key} is missing, and no erasure explains it: restore the database of keys, or erase the customer"
        for key in sorted(used_keys - present - set(destroyed))
    ]
    return [*unfinished, *unexplained], run_rows


def _check_allowed(plan: ErasurePlan, customer: CustomerKey) -> None:
    """Raise ErasureRefused if a hold forbids the erasure, or if the customer has no data: probably a misspelt number."""
    if plan.holds:
        names = "; ".join(f"{hold.hold_id} since {hold.since:%Y-%m-%d}" for hold in plan.holds)
        raise ErasureRefused(f"{' '.join(customer)}: under a legal hold ({names}); nothing was erased")
    if not plan.is_new and not plan.erased_before:
        raise ErasureRefused(f"{' '.join(customer)}: no data of this customer; check the market and the number")


def _erasure_entry(plan: ErasurePlan, tag: str, market: str, reason: str, at: dt.datetime) -> LogEntry:
    """Return the ERASURE entry: encrypted under the log's own key, and naming the customer by tag only."""
    body = pb.ErasureRecord(reason=reason, feature_rows=plan.feature_rows)
    for row in plan.run_rows:
        body.run_rows.add(run_id=row.run_id, market=row.market, row_sha256=row.sha256)
    return LogEntry(
        kind=ERASURE,
        record_id=new_record_id(at),
        time=at,
        caller=OPERATOR,
        body=body.SerializeToString(deterministic=True),
        subject_tag=tag,
        labels={"market": market} | {f"{_KEY_LABEL}{number}": key for number, key in enumerate(plan.unrecorded_keys)},
    )


def _destroyed_keys(header: Header) -> list[str]:
    """Return the ids of the keys that an erasure destroyed."""
    return [key for name, key in header.labels.items() if name.startswith(_KEY_LABEL)]


def _feature_condition(customer: CustomerKey) -> tuple[ColumnElement[bool], ...]:
    """Return the condition that selects a customer's features."""
    return FEATURES.c.market == customer[0], FEATURES.c.customer_id == customer[1]
