"""Erases customers: destroys their keys, deletes their rows, and records the erasure.

    in one transaction, with the head of the record log locked:
        check for holds -> append ERASURE -> delete feature and run rows -> retire the keys, so that they encrypt
        nothing more
    after the commit:
        add the erasure to the erasure list -> destroy the keys -> rewrite the database files

If the command is killed before the commit, nothing has changed. If it is killed after the commit, the erasure is
recorded but its keys may still exist. In both cases, running the same command again completes the erasure. A decision
that is made between the commit and the end of the command is encrypted under a new key.

The erasure list is a file outside the databases. If one or both databases are restored from older copies,
`apply_listed_erasures` erases the listed customers again before the server answers.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, select

from grounds.audit.v1 import bodies_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from grounds_record.printable_text import hidden_characters
from server.edges.validation import validate
from server.errors import ErasureRefused, LogRefused, RequestInvalid, StoreUnavailable
from server.stores.erasure_list import ListedErasure
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.erased_customers import ERASURE, KEY_LABEL, destroyed_keys, read_recorded_erasures
from server.stores.record_log.holds import OPERATOR, Hold, read_active_holds
from server.stores.record_log.key_store import LOG_OWNER
from server.stores.record_log.log import RecordLog
from server.stores.record_log.record_reader import read_related_headers
from server.stores.runs.erasure import delete_expired_tombstones, erase_predictions
from server.stores.runs.pruning import delete_unfinished_runs
from server.stores.runs.publication import lock_loading
from server.stores.runs.records import RowDigest, read_customer_rows
from server.stores.secure_delete import rewrite_tables
from server.stores.tables import FEATURES, RECORDS, RISKS, RUNS

_RESTORED_REASON = (
    "erased earlier; applied again from the erasure list, because the databases were restored from older copies"
)
_REASON_CHARACTERS_MAX = 500
_ROWS_PER_FETCH = 10_000
_KEYS_PER_QUERY = 1000
_KEY_TABLES = ("wrapped_keys",)
_PLAINTEXT_TABLES = (
    "features",
    "risks",
    "risk_chunks",
    "runs",
    "risk_tombstones",
)  # these tables contain unencrypted customer numbers
CustomerKey = tuple[str, str]  # market, customer_id


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """The data about a customer that an erasure removes.

    Attributes:
        records: Number of records that are encrypted under keys that still exist.
        unrecorded_keys: Ids of the customer's keys, existing or not, that no ERASURE record contains.
        present_keys: Ids of the customer's keys that still exist.
        feature_rows: Number of the customer's rows in the feature store.
        run_rows: The customer's rows in runs.
        holds: Legal holds that forbid the erasure.
        erased_before: Whether the customer has an ERASURE record.
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
        """Return whether the customer has data that no earlier erasure covers.

        If so, a new ERASURE record is needed.
        """
        return bool(self.unrecorded_keys or self.feature_rows or self.run_rows)


def check_customer(market: str, customer_id: str) -> CustomerKey:
    """Return (market, customer_id) if both are valid.

    No request or file can contain an invalid customer number, so an erasure or a hold for such a number would silently
    have no effect.

    Raises:
        ErasureRefused: The market or the number is invalid.
    """
    try:
        validate(Customer(market=market, customer_id=customer_id))
    except RequestInvalid as error:
        raise ErasureRefused(
            f"{market!r} {customer_id!r} is not a valid customer: the market must be two uppercase letters, "
            "and the customer number 1 to 64 letters, digits or . _ : -"
        ) from error
    return market, customer_id


def check_reason(reason: str, customer: CustomerKey | None, option: str = "--reason") -> None:
    """Raise ErasureRefused if a reason is empty, is too long, has hidden characters, or contains the customer's number.

    The reason is recorded permanently, so a customer number in it could never be erased.

    Args:
        reason: The reason for an erasure or a hold.
        customer: The customer whose number the reason must not contain; None skips this check.
        option: The command-line option that has the reason, for the error message.
    """
    if not reason.strip() or len(reason) > _REASON_CHARACTERS_MAX:
        raise ErasureRefused(f"{option} must contain 1 to {_REASON_CHARACTERS_MAX} characters that are not all spaces")
    if hidden := hidden_characters(reason):
        raise ErasureRefused(f"{option} must not contain control or invisible characters, found {', '.join(hidden)}")
    if customer is not None and customer[1] in reason:
        raise ErasureRefused(
            f"{option} must not contain the customer number, because the reason is never erased; state the case instead"
        )


def read_plan(connection: Connection, log: RecordLog, customer: CustomerKey) -> ErasurePlan:
    """Return what an erasure would remove. Change nothing."""
    tag = log.customer_tag(*customer)
    erasures = [header for _, header in read_related_headers(connection, tag, (ERASURE,))]
    key_counts = select(RECORDS.c.key_id, func.count()).where(RECORDS.c.customer_tag == tag).group_by(RECORDS.c.key_id)
    # Records about the customer that are encrypted under the log's own key, such as holds, are not erased.
    own_key = log.key_store.find_by_owner({LOG_OWNER})[LOG_OWNER].key_id
    counts = {row[0]: row[1] for row in connection.execute(key_counts) if row[0] != own_key}
    current = {key.key_id for key in log.key_store.find_by_owner({tag}).values()}
    present = current | set(log.key_store.find_by_id(counts.keys()))
    recorded = {key for header in erasures for key in destroyed_keys(header)}
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
    """Return what an erasure would remove, after the same checks. Change nothing.

    Raises:
        ErasureRefused: A hold forbids the erasure, the customer has no data, or the reason is invalid.
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
    """Erase several customers, and yield each customer with what was removed.

    All customers are checked before the first customer is erased, so no customer is erased if one of these checks
    fails. Expired tombstones are deleted too. Afterwards the database files are rewritten, even if an erasure failed.
    No load and no other erasure can run at the same time.

    Args:
        log: The record log.
        customers: Pairs (market, customer_id).
        reason: The reason, which is recorded permanently.
        clock: Function that returns the current time.
        token_days: Days for which page and delta tokens are valid. It determines which tombstones have expired.

    Raises:
        ErasureRefused: A hold forbids the erasure of a customer, a customer has no data, or the reason is invalid.
        StoreUnavailable: A load or an erasure is running, or a database does not respond. The operator can retry.
    """
    with lock_loading(log.database):
        # No record covers the rows of a run that was never published, so an erasure would not list them.
        delete_unfinished_runs(log.database)
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
    """Erase one customer, or complete an earlier erasure that was interrupted. Return what was removed.

    Call it under `lock_loading` and after `delete_unfinished_runs`, as `erase_customers` does. The database files
    contain the deleted bytes until `rewrite_files` has run.

    Raises:
        ErasureRefused: A hold forbids the erasure, the customer has no data, or the reason is invalid.
        StoreUnavailable: A database does not respond. The operator can retry.
    """
    check_reason(reason, customer)
    with log.database.writing() as connection:
        log.lock_head(connection)
        plan = read_plan(connection, log, customer)
        _check_allowed(plan, customer)
        if plan.is_new:
            log.append_or_raise(
                connection, [_erasure_entry(plan, log.customer_tag(*customer), customer[0], reason, at)]
            )
            connection.execute(delete(FEATURES).where(*_feature_condition(customer)))
            erase_predictions(connection, *customer, at)
        erasures = read_recorded_erasures(connection, log.customer_tag(*customer))
        # Retire the keys immediately before the commit, so that a process that appends a record after the commit
        # creates a new key.
        log.key_store.retire(plan.present_keys)
    log.key_store.erasure_list.add(erasures)
    log.key_store.destroy(plan.present_keys)
    return plan


def _read_missing_erasures(log: RecordLog) -> list[ListedErasure]:
    """Return the listed erasures that the record log lost because the databases were restored from older copies."""
    with log.database.reading() as connection:
        recorded = {each.record_id for each in read_recorded_erasures(connection)}
    return [each for each in log.key_store.erasure_list.read() if each.record_id not in recorded]


def apply_listed_erasures(log: RecordLog, clock: Callable[[], dt.datetime]) -> int:
    """Erase listed customers again if the log lacks their erasure or their key exists again; return their number.

    A key exists again if only the key database was restored, or if the erasure was interrupted before it destroyed
    the key. Erasures in the log that the list lacks, for example those of earlier releases, are added to the list.

    Raises:
        LogRefused: The erasure list is damaged, or the erasures cannot be applied now. The message states what to do.
    """
    with log.database.reading() as connection:
        recorded = read_recorded_erasures(connection)
    if recorded:
        log.key_store.erasure_list.add(recorded)
    missing = _read_missing_erasures(log)
    if not missing:
        return _destroy_returned_keys(log)
    try:
        with lock_loading(log.database):
            delete_unfinished_runs(log.database)
            customers = _find_customers(log, {each.customer_tag for each in missing})
            for each in missing:
                _erase_again(log, each, customers.get(each.customer_tag), clock())
            rewrite_files(log)
    except StoreUnavailable as error:
        raise LogRefused(
            f"{len(missing)} erasures of the erasure list {log.key_store.erasure_list.path} are missing from the record log, because "
            "the databases were restored from older copies, and they cannot be applied again now; if records are missing "
            f"too, run adopt-fork, otherwise correct the problem and start again: {error}"
        ) from error
    return len(missing) + _destroy_returned_keys(log)


def _destroy_returned_keys(log: RecordLog) -> int:
    """Destroy keys of erased customers that exist again; return the number of erasures that are concerned."""
    erasures = log.key_store.erasure_list.read()
    listed = [key for each in erasures for key in each.key_ids]
    returned: set[str] = set()
    for start in range(0, len(listed), _KEYS_PER_QUERY):
        returned |= set(log.key_store.find_by_id(listed[start : start + _KEYS_PER_QUERY]))
    if not returned:
        return 0
    try:
        log.key_store.destroy(returned)
        rewrite_tables(log.key_store.database, _KEY_TABLES)
    except StoreUnavailable as error:
        raise LogRefused(
            f"{len(returned)} keys of erased customers exist again, because the key database was restored from an older copy, and "
            f"they cannot be destroyed now; correct the problem and start again: {error}"
        ) from error
    return sum(not returned.isdisjoint(each.key_ids) for each in erasures)


def _erase_again(log: RecordLog, erasure: ListedErasure, customer: CustomerKey | None, at: dt.datetime) -> None:
    """Apply one listed erasure again, and record it under its first id. `customer` is None if there are no rows."""
    with log.database.writing() as connection:
        log.lock_head(connection)
        if erasure.record_id in {each.record_id for each in read_recorded_erasures(connection, erasure.customer_tag)}:
            return  # another process applied it
        labels = {f"{KEY_LABEL}{number}": key for number, key in enumerate(erasure.key_ids)}
        body = pb.ErasureRecord(reason=_RESTORED_REASON)
        if customer is not None:
            labels["market"] = customer[0]
            old = (*_feature_condition(customer), FEATURES.c.as_of <= erasure.time)
            body.feature_rows = connection.execute(select(func.count()).select_from(FEATURES).where(*old)).scalar_one()
            for row in read_customer_rows(connection, log, *customer):
                body.run_rows.add(run_id=row.run_id, market=row.market, row_sha256=row.sha256)
            connection.execute(delete(FEATURES).where(*old))
            erase_predictions(connection, *customer, at)
        entry = LogEntry(
            kind=ERASURE,
            record_id=erasure.record_id,
            time=at,
            caller=OPERATOR,
            body=body.SerializeToString(deterministic=True),
            subject_tag=erasure.customer_tag,
            labels=labels,
        )
        log.append_or_raise(connection, [entry])
        log.key_store.retire(erasure.key_ids)
    log.key_store.destroy(erasure.key_ids)


def _find_customers(log: RecordLog, tags: Collection[str]) -> dict[str, CustomerKey]:
    """Return the customers with these tags who have feature or run rows, by tag.

    A tag cannot be reversed, so the function computes the tag of every customer who has such rows.
    """
    features = select(FEATURES.c.market, FEATURES.c.customer_id).distinct()
    runs = select(RUNS.c.market, RISKS.c.customer_id).join_from(RISKS, RUNS).distinct()
    found: dict[str, CustomerKey] = {}
    with log.database.reading() as connection:
        for statement in (features, runs):
            for market, customer_id in connection.execute(statement, execution_options={"yield_per": _ROWS_PER_FETCH}):
                if (tag := log.customer_tag(market, customer_id)) in tags:
                    found[tag] = market, customer_id
    return found


def rewrite_files(log: RecordLog) -> None:
    """Rewrite the database files, so that no file contains the erased bytes.

    Raises:
        StoreUnavailable: A database is busy for too long. The operator can retry.
    """
    rewrite_tables(log.key_store.database, _KEY_TABLES)
    rewrite_tables(log.database, _PLAINTEXT_TABLES)


def find_erasure_problems(log: RecordLog) -> tuple[list[str], list[RowDigest]]:
    """Compare the existing keys with the ERASURE records.

    Returns:
        One sentence for each problem, and the digests of the run rows that erasures removed.
    """
    run_rows: list[RowDigest] = []
    destroyed: dict[str, int] = {}  # key id -> index of the ERASURE record
    with log.database.reading() as connection:
        ids = connection.execute(select(RECORDS.c.record_id).where(RECORDS.c.kind == ERASURE)).scalars().all()
        used_keys = set(connection.execute(select(RECORDS.c.key_id).distinct()).scalars())
    for record_id in ids:
        record = log.find_by_id(record_id)
        assert record is not None, "its id was just read, and records are never deleted"
        destroyed |= dict.fromkeys(destroyed_keys(record.header), record.index)
        body = pb.ErasureRecord.FromString(record.body)
        run_rows += [RowDigest(row.run_id, row.market, row.row_sha256) for row in body.run_rows]
    present = log.key_store.read_ids()
    unfinished = [
        f"record {index}: the ERASURE record states that a key was destroyed, but the key still exists; erase this customer again"
        for key, index in sorted(destroyed.items())
        if key in present
    ]
    unexplained = [
        f"key {key} is missing although no erasure destroyed it; restore the key database, or erase the customer"
        for key in sorted(used_keys - present - set(destroyed))
    ]
    lost = (
        f"record {each.record_id}: this erasure of {each.time:%Y-%m-%d} is in the erasure list, but the record log lost it, because "
        "the databases were restored from older copies; start the server to apply it again"
        for each in _read_missing_erasures(log)
    )
    return [*unfinished, *unexplained, *lost], run_rows


def _check_allowed(plan: ErasurePlan, customer: CustomerKey) -> None:
    """Raise ErasureRefused if a hold forbids the erasure, or if the customer has no data.

    If there is no data, the operator has probably mistyped the market or the number.
    """
    if plan.holds:
        holds = "; ".join(f"{hold.hold_id} since {hold.since:%Y-%m-%d}" for hold in plan.holds)
        raise ErasureRefused(
            f"{' '.join(customer)}: the customer is under a legal hold ({holds}), so nothing was erased; release the hold first"
        )
    if not plan.is_new and not plan.erased_before:
        raise ErasureRefused(
            f"{' '.join(customer)}: the database has no data of this customer; check the market and the number"
        )


def _erasure_entry(plan: ErasurePlan, tag: str, market: str, reason: str, at: dt.datetime) -> LogEntry:
    """Return the ERASURE entry.

    The entry is encrypted under the log's own key. It contains the customer's tag but not the customer number.
    """
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
        labels={"market": market} | {f"{KEY_LABEL}{number}": key for number, key in enumerate(plan.unrecorded_keys)},
    )


def _feature_condition(customer: CustomerKey) -> tuple[ColumnElement[bool], ...]:
    """Return the condition that selects a customer's features."""
    return FEATURES.c.market == customer[0], FEATURES.c.customer_id == customer[1]
