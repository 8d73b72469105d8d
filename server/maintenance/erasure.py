"""Forgets a customer: destroys their keys, deletes their rows, and records that it was done.

    one transaction, the head of the log locked:
        no hold? -> ERASURE recorded -> feature and run rows deleted -> their keys retired: they seal nothing more -> commit
    then: keys destroyed -> files written anew

A kill between any two steps leaves a customer who can still be read, or one whose erasure is recorded and whose key is still
there; the same command again finishes. A decision made meanwhile is sealed under a new key.
"""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, select

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.header import Header
from server.errors import ErasureRefused
from server.stores.record_log.customer_keys import LOG_OWNER
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.erased_customers import ERASURE
from server.stores.record_log.holds import OPERATOR, Hold, append_entry, read_active_holds
from server.stores.record_log.log import RecordLog
from server.stores.record_log.related_records import read_related_headers
from server.stores.runs.erasure import erase_predictions
from server.stores.runs.records import RowDigest, read_customer_rows
from server.stores.secure_delete import rewrite_tables
from server.stores.tables import FEATURES, RECORDS

_KEY_LABEL = "key_"
_REASON_CHARACTERS_MAX = 500
# The tables that hold customers in the clear.
_PLAINTEXT_TABLES = ("features", "risks", "risk_chunks", "runs", "risk_tombstones")
CustomerKey = tuple[str, str]  # market, customer_id


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """What there is about a customer, and so what an erasure does.

    Attributes:
        records: Records under keys that are to be destroyed.
        unrecorded: Keys of the customer, there or not, of which no erasure is recorded.
        there: Keys of the customer that are still there.
        feature_rows: Rows of features.
        run_rows: Rows of runs.
        holds: What forbids it.
        erased_before: Whether an erasure is recorded.
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
        """Tell whether there is something to be recorded."""
        return bool(self.unrecorded_keys or self.feature_rows or self.run_rows)


def read_plan(connection: Connection, log: RecordLog, customer: CustomerKey) -> ErasurePlan:
    """Look at what there is; changes nothing."""
    tag = log.customer_tag(*customer)
    erasures = [header for _, header in read_related_headers(connection, tag, (ERASURE,))]
    sealed = select(RECORDS.c.key_id, func.count()).where(RECORDS.c.customer_tag == tag).group_by(RECORDS.c.key_id)
    # What is about the customer but under the log's own key, such as a hold, stays.
    own = log.key_store.find_by_owner({LOG_OWNER})[LOG_OWNER].key_id
    counts = {row[0]: row[1] for row in connection.execute(sealed) if row[0] != own}
    current = {key.key_id for key in log.key_store.find_by_owner({tag}).values()}
    there = current | set(log.key_store.find_by_id(counts.keys()))
    named = {key for header in erasures for key in _destroyed_keys(header)}
    features = select(func.count()).select_from(FEATURES).where(*_feature_condition(customer))
    return ErasurePlan(
        records=sum(count for key, count in counts.items() if key in there),
        unrecorded_keys=tuple(sorted((current | set(counts)) - named)),
        present_keys=tuple(sorted(there)),
        feature_rows=connection.execute(features).scalar_one(),
        run_rows=tuple(read_customer_rows(connection, log, *customer)),
        holds=tuple(read_active_holds(connection, tag)),
        erased_before=bool(erasures),
    )


def preview_erasure(log: RecordLog, customer: CustomerKey, reason: str) -> ErasurePlan:
    """Look at what an erasure would do; changes nothing.

    Raises:
        ErasureRefused: As `erase`.
    """
    check_reason(reason, customer)
    with log.database.reading() as connection:
        plan = read_plan(connection, log, customer)
    _check_allowed(plan, customer)
    return plan


def erase_customer(log: RecordLog, customer: CustomerKey, reason: str, at: dt.datetime) -> ErasurePlan:
    """Erase a customer; gives what there was. Finishes what an earlier erasure has left undone.

    Only while nobody loads (`alone`), and after `sweep`: the rows of a run that was never shown are in no record.
    The files still hold what was deleted, until `clean` has run.

    Raises:
        ErasureRefused: There is a hold, nothing is known of the customer, or the reason cannot be recorded.
        StoreUnavailable: A database does not answer; run it again.
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
        # The last before the commit: who appends after it finds no key of this customer, and makes a new one.
        log.key_store.retire(plan.present_keys)
    log.key_store.destroy(plan.present_keys)
    return plan


def rewrite_files(log: RecordLog) -> None:
    """Write the files anew that held what was erased.

    Raises:
        StoreUnavailable: A database is busy for too long; run the command again.
    """
    rewrite_tables(log.key_store.database, ("wrapped_keys",))
    rewrite_tables(log.database, _PLAINTEXT_TABLES)


def _check_allowed(plan: ErasurePlan, customer: CustomerKey) -> None:
    """Refuse what must not be done, or cannot have been meant."""
    if plan.holds:
        names = "; ".join(f"{hold.hold_id} since {hold.since:%Y-%m-%d}" for hold in plan.holds)
        raise ErasureRefused(f"there is a legal hold on {' '.join(customer)}: {names}; nothing was erased")
    if not plan.is_new and not plan.erased_before:
        raise ErasureRefused(f"nothing is known of {' '.join(customer)}: look at the market and the number again")


def check_reason(reason: str, customer: CustomerKey) -> None:
    """Refuse a reason that would keep what is to be forgotten: it is recorded for as long as the log lives."""
    if not reason.strip() or len(reason) > _REASON_CHARACTERS_MAX:
        raise ErasureRefused(f"--reason must say why, in at most {_REASON_CHARACTERS_MAX} characters")
    if customer[1] in reason:
        raise ErasureRefused("--reason must not name the customer: it is kept for ever; name the case instead")


def _erasure_entry(plan: ErasurePlan, tag: str, market: str, reason: str, at: dt.datetime) -> LogEntry:
    """Give the entry that records an erasure: under the log's own key, the customer as a tag only."""
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
        labels={"market": market} | {f"{_KEY_LABEL}{place}": key for place, key in enumerate(plan.unrecorded_keys)},
    )


def _destroyed_keys(header: Header) -> list[str]:
    """Give the keys that an erasure destroyed."""
    return [key for name, key in header.labels.items() if name.startswith(_KEY_LABEL)]


def _feature_condition(customer: CustomerKey) -> tuple[ColumnElement[bool], ...]:
    """Give the condition for a customer's features."""
    return FEATURES.c.market == customer[0], FEATURES.c.customer_id == customer[1]


def find_erasure_problems(log: RecordLog) -> tuple[list[str], list[RowDigest]]:
    """Hold the keys against the erasures; gives what is wrong, and the rows of runs that erasures took."""
    rows: list[RowDigest] = []
    named: dict[str, int] = {}
    with log.database.reading() as connection:
        ids = connection.execute(select(RECORDS.c.record_id).where(RECORDS.c.kind == ERASURE)).scalars().all()
        sealing = set(connection.execute(select(RECORDS.c.key_id).distinct()).scalars())
    for record_id in ids:
        kept = log.find_by_id(record_id)
        assert kept is not None, "it was there a moment ago, and records are never deleted"
        named |= dict.fromkeys(_destroyed_keys(kept.header), kept.index)
        body = pb.ErasureRecord.FromString(kept.body)
        rows += [RowDigest(each.run_id, each.market, each.row_sha256) for each in body.run_rows]
    there = log.key_store.read_ids()
    unfinished = [
        f"record {place}: the key that it says was destroyed is there; erase this customer again"
        for key, place in sorted(named.items())
        if key in there
    ]
    unexplained = [
        f"key {key} is gone, and no erasure says why: restore the database of keys, or erase the customer"
        for key in sorted(sealing - there - set(named))
    ]
    return [*unfinished, *unexplained], rows
