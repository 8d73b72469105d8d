"""After an erasure, on SQLite and PostgreSQL, no data of the customer can be decrypted, and the log is still valid."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.header import Header, parse_header
from server.errors import ErasureRefused, RecordRemoved
from server.maintenance.doctor import check_log
from server.maintenance.erasure import erase_customer, find_erasure_problems, read_plan, rewrite_files
from server.stores.key_tables import WRAPPED_KEYS
from server.stores.record_log.entries import Record
from server.stores.record_log.erased_customers import ERASURE
from server.stores.record_log.holds import place_hold, read_active_holds, read_tags_on_hold, release_hold
from server.stores.record_log.key_store import LOG_OWNER, TAGS_OWNER
from server.stores.record_log.log import RecordLog
from server.stores.tables import FEATURES, RECORDS
from tests.server.kills import Kill, Killed, at_every_step
from tests.server.record_logs import NOW, entry, open_test_log

C1, C2 = ("DE", "C1"), ("DE", "C2")


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Open a log in which each of two customers has two decisions and two feature rows."""
    with open_test_log(database_url, tmp_path) as found:
        fill(found)
        yield found


def fill(log: RecordLog) -> None:
    """Append two decisions and two feature rows for each of two customers."""
    log.append([entry(customer=customer) for customer in (C1, C2, C1, C2)])
    with log.database.writing() as connection:
        for market, customer_id in (C1, C2):
            line = {"market": market, "customer_id": customer_id, "feature_set_digest": "0" * 64, "row": b"\x00" * 8}
            connection.execute(FEATURES.insert(), [{**line, "as_of": NOW}, {**line, "as_of": NOW + dt.timedelta(1)}])


def ids(log: RecordLog, customer: tuple[str, str]) -> list[str]:
    """Return the ids of a customer's decisions."""
    wanted = select(RECORDS.c.record_id).where(RECORDS.c.customer_tag == log.customer_tag(*customer))
    with log.database.reading() as connection:
        found = connection.execute(wanted.where(RECORDS.c.kind == "CREDIT_DECISION").order_by(RECORDS.c.record_index))
        return list(found.scalars())


def erasures(log: RecordLog) -> list[pb.ErasureRecord]:
    """Return the bodies of all erasure records."""
    with log.database.reading() as connection:
        names = connection.execute(select(RECORDS.c.record_id).where(RECORDS.c.kind == ERASURE)).scalars().all()
    return [pb.ErasureRecord.FromString(record.body) for name in names if (record := log.find_by_id(name)) is not None]


def feature_rows(log: RecordLog) -> dict[str, int]:
    """Return the number of feature rows of each customer."""
    wanted = select(FEATURES.c.customer_id, func.count()).group_by(FEATURES.c.customer_id)
    with log.database.reading() as connection:
        return {row[0]: row[1] for row in connection.execute(wanted)}


def verifies(log: RecordLog) -> bool:
    """Return whether the verification of the log finds no fault."""
    return check_log(log.database, log.verifier, None)[0]


def test_an_erased_customer_cannot_be_read_the_log_verifies_and_another_customer_is_as_before(log: RecordLog) -> None:
    before = verifies(log)

    plan = erase_customer(log, C1, "request 7", NOW)
    rewrite_files(log)

    for record_id in ids(log, C1):
        with pytest.raises(RecordRemoved) as caught:
            log.find_by_id(record_id)
        assert caught.value.key_destroyed
    assert all(log.find_by_id(record_id) for record_id in ids(log, C2))
    assert (plan.records, plan.feature_rows, len(plan.present_keys)) == (2, 2, 1)
    assert feature_rows(log) == {"C2": 2}
    assert before
    assert verifies(log)
    assert find_erasure_problems(log) == ([], [])
    assert [(each.reason, each.feature_rows) for each in erasures(log)] == [("request 7", 2)]


def test_the_record_of_an_erasure_identifies_the_customer_only_by_a_tag_and_is_sealed_under_the_key_of_the_log(
    log: RecordLog,
) -> None:
    erase_customer(log, C1, "request 7", NOW)

    with log.database.reading() as connection:
        rows = connection.execute(select(RECORDS).order_by(RECORDS.c.record_index)).all()
    header = parse_header(rows[-1].header)
    assert header.kind == "ERASURE"
    assert header.customer_tag == rows[0].customer_tag
    assert header.key_id == log.key_store.find_by_owner({LOG_OWNER})[LOG_OWNER].key_id
    assert header.labels == {"market": "DE", "key_0": rows[0].key_id}


def test_erasing_again_changes_nothing_and_a_later_decision_gets_a_new_key_and_can_be_erased_too(
    log: RecordLog,
) -> None:
    erase_customer(log, C1, "request 7", NOW)
    again = erase_customer(log, C1, "request 7", NOW)
    (later,) = log.append([entry(customer=C1)])
    assert isinstance(later, Record)
    readable = log.find_by_id(later.header.record_id)

    erase_customer(log, C1, "request 8", NOW)

    assert not again.is_new
    assert readable == later
    assert later.header.key_id != parse_header_of(log, 0).key_id
    assert [each.reason for each in erasures(log)] == ["request 7", "request 8"]
    assert find_erasure_problems(log)[0] == []


def parse_header_of(log: RecordLog, place: int) -> Header:
    """Return the header of the record at an index."""
    with log.database.reading() as connection:
        return parse_header(
            connection.execute(select(RECORDS.c.header).where(RECORDS.c.record_index == place)).scalar_one()
        )


def test_a_customer_under_legal_hold_is_not_erased_until_every_hold_is_released(log: RecordLog) -> None:
    first, second = (place_hold(log, *C1, f"lawsuit {number}", NOW) for number in (1, 2))

    release_hold(log, first, "settled", NOW)
    with pytest.raises(ErasureRefused, match=second) as caught:
        erase_customer(log, C1, "request 7", NOW)
    with log.database.reading() as connection:
        on_hold = (
            read_tags_on_hold(connection),
            [hold.hold_id for hold in read_active_holds(connection, log.customer_tag(*C1))],
        )
    release_hold(log, second, "settled", NOW)
    erase_customer(log, C1, "request 7", NOW)

    assert first not in str(caught.value)
    assert on_hold == ({log.customer_tag(*C1)}, [second])
    assert len(erasures(log)) == 1
    assert verifies(log)
    for hold_id in (first, "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(ErasureRefused):
            release_hold(log, hold_id, "again", NOW)


def test_a_refused_erasure_changes_nothing(log: RecordLog) -> None:
    place_hold(log, *C2, "lawsuit", NOW)
    with log.database.reading() as connection:
        before = read_plan(connection, log, C2)

    for customer, reason, message in (
        (C2, "request 7", "legal hold"),
        (("DE", "C9"), "request 7", "no data of this customer"),
        (("FR", "C1"), "request 7", "no data of this customer"),
        (C1, "request of C1", "must not contain the customer number"),
        (C1, " ", "must contain 1 to 500 characters"),
        (C1, "x" * 501, "1 to 500"),
    ):
        with pytest.raises(ErasureRefused, match=message):
            erase_customer(log, customer, reason, NOW)

    with log.database.reading() as connection:
        assert read_plan(connection, log, C2) == before
    assert erasures(log) == []
    assert feature_rows(log) == {"C1": 2, "C2": 2}


def test_the_logs_own_keys_cannot_be_destroyed(log: RecordLog) -> None:
    own = log.key_store.find_by_owner({LOG_OWNER, TAGS_OWNER})

    log.key_store.retire([key.key_id for key in own.values()])
    log.key_store.destroy([key.key_id for key in own.values()])

    assert log.key_store.find_by_owner({LOG_OWNER, TAGS_OWNER}) == own


def test_a_missing_key_without_an_erasure_and_a_remaining_key_after_an_erasure_are_found(log: RecordLog) -> None:
    erase_customer(log, C1, "request 7", NOW)
    keys = log.key_store.find_by_owner({log.customer_tag(*C2)})
    destroyed = parse_header_of(log, 0).key_id

    log.key_store.destroy([key.key_id for key in keys.values()])
    missing, _ = find_erasure_problems(log)
    copied = {"key_id": destroyed, "owner": "restored", "wrapped": b"x" * 61}
    with log.key_store.database.writing() as connection:
        connection.execute(WRAPPED_KEYS.insert().values(**copied))
    both, _ = find_erasure_problems(log)

    assert len(missing) == 1
    assert next(iter(keys.values())).key_id in missing[0]
    assert sorted(both) == sorted(
        [
            *missing,
            "record 4: the ERASURE record states that a key was destroyed, but the key still exists; erase this customer again",
        ]
    )


@contextmanager
def fresh(url: str, folder: Path) -> Iterator[RecordLog]:
    """Open a new log with the decisions and features of both customers."""
    folder.mkdir()
    with open_test_log(url, folder) as log:
        fill(log)
        yield log


def test_an_erasure_killed_at_any_step_is_finished_by_the_same_command_and_recorded_once(tmp_path: Path) -> None:
    unfinished = []

    def killed_at(step: int) -> bool:
        folder = tmp_path / str(step)
        url = f"sqlite:///{folder / 'log.db'}"
        ended = True
        with fresh(url, folder) as log:
            Kill(step, log.database, log.key_store.database)
            try:
                erase_customer(log, C1, "request 7", NOW)
            except Killed:
                ended = False
        with open_test_log(url, folder) as log:
            unfinished.append(look_after_a_kill(log))
            finish(log)
        return ended

    steps = at_every_step(killed_at)

    assert steps > 15
    assert 1 in unfinished, "one of the kills was between the record and the key"


def look_after_a_kill(log: RecordLog) -> int:
    """Check that the erasure is recorded completely or not at all; return how many keys should not exist."""
    assert verifies(log)
    if not erasures(log):
        assert all(log.find_by_id(record_id) for record_id in ids(log, C1))
        assert feature_rows(log) == {"C1": 2, "C2": 2}
    return len(find_erasure_problems(log)[0])


def finish(log: RecordLog) -> None:
    """Append one more decision about the customer, and then repeat the erasure."""
    recorded = len(erasures(log))
    (later,) = log.append([entry(customer=C1)])
    assert isinstance(later, Record)

    erase_customer(log, C1, "request 7", NOW)
    rewrite_files(log)

    assert find_erasure_problems(log) == ([], [])
    assert len(erasures(log)) == recorded + 1, "the later decision's key is recorded too, and each key once"
    assert feature_rows(log) == {"C2": 2}
    others = log.key_store.find_by_owner({LOG_OWNER, TAGS_OWNER, log.customer_tag(*C2)})
    assert log.key_store.read_ids() == {key.key_id for key in others.values()}
    assert verifies(log)


def test_a_decision_that_is_made_while_a_customer_is_erased_is_never_lost(log: RecordLog) -> None:
    """After the erasure is committed, no record is sealed under the key that will be destroyed."""
    destroy = log.key_store.destroy
    between = []

    class Slow(type(log.key_store)):
        """Appends a decision before a key is destroyed."""

        def destroy(self, keys: object) -> None:
            between.extend(log.append([entry(customer=C1)]))
            destroy(keys)  # type: ignore[arg-type]

    log.key_store.__class__ = Slow
    erase_customer(log, C1, "request 7", NOW)

    (later,) = between
    assert isinstance(later, Record)
    assert log.find_by_id(later.header.record_id) == later
