"""Retention removes content that is too old and records the removal; any other removal is detected."""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, update

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.header import parse_header
from server.decisions.retention import read_retention
from server.errors import RecordRemoved, RetentionRefused
from server.maintenance.doctor import check_log
from server.maintenance.erasure import erase_customer
from server.maintenance.retention import preview_retention, remove_due_content
from server.stores.record_log.entries import LogEntry
from server.stores.record_log.erased_customers import ERASURE
from server.stores.record_log.holds import OPERATOR, place_hold, release_hold
from server.stores.record_log.log import RecordLog
from server.stores.tables import RECORDS
from tests.server.decisions.test_retention import write_table
from tests.server.kills import Kill, Killed, at_every_step
from tests.server.record_logs import entry, open_test_log

NOW = dt.datetime(2036, 3, 1, 12, tzinfo=dt.UTC)
TEN, TWO = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC), dt.datetime(2034, 3, 1, 12, tzinfo=dt.UTC)
US = dt.timedelta(microseconds=1)


def decision(market: str, number: str, time: dt.datetime, **changes: Any) -> LogEntry:
    """Return the entry of a decision at a given time."""
    return entry(customer=(market, number), time=time, labels={"market": market}, **changes)


def fill(log: RecordLog) -> None:
    """Append records on both sides of every time limit; records 0, 3, 5 and 8 are due."""
    of_nobody: dict[str, Any] = {"customer": None, "request_id": "", "content": b""}
    log.append(
        [
            decision("DE", "C1", TEN - US),  # 0: due
            decision("DE", "C1", TEN),  # 1: not due, by one microsecond
            decision("FR", "C2", TWO),  # 2: not due; FR has its own line in the table
            decision("FR", "C2", TWO - US),  # 3: due
            decision("DE", "C3", TWO - US),  # 4: not due; the limit of FR does not apply to DE
            entry(kind="CHURN_RUN", time=NOW - dt.timedelta(3 * 366), labels={"run": "r"}, **of_nobody),  # 5: due
            entry(kind="CHURN_RUN", time=NOW - dt.timedelta(365), labels={"run": "r"}, **of_nobody),  # 6: not due
            entry(kind="EVIDENCE_READ", time=TEN - dt.timedelta(9999), labels={}, **of_nobody),  # 7: no line for it
            decision("DE", "C4", TEN - dt.timedelta(365)),  # 8: due
        ]
    )


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Open a filled log."""
    with open_test_log(database_url, tmp_path) as found:
        fill(found)
        yield found


def removed_records(log: RecordLog) -> list[int]:
    """Return the indexes of records without ciphertext."""
    wanted = select(RECORDS.c.record_index).where(RECORDS.c.ciphertext.is_(None)).order_by(RECORDS.c.record_index)
    with log.database.reading() as connection:
        return list(connection.execute(wanted).scalars())


def accounts(log: RecordLog) -> list[list[int]]:
    """Return the record indexes in each RETENTION record."""
    wanted = select(RECORDS.c.header).where(RECORDS.c.kind == "RETENTION").order_by(RECORDS.c.record_index)
    with log.database.reading() as connection:
        headers = [parse_header(header) for header in connection.execute(wanted).scalars()]
    return [[each.index for each in header.removed] for header in headers]


def problems(log: RecordLog) -> list[str]:
    """Return the faults that the verification finds; an empty list if the log is valid."""
    holds, sentences = check_log(log.database, log.verifier, None)
    return [] if holds else sentences


def test_due_content_is_removed_and_recorded_and_the_log_verifies(log: RecordLog, tmp_path: Path) -> None:
    table = read_retention(write_table(tmp_path))
    counted, without = preview_retention(log, table, NOW)
    before = removed_records(log)

    counts = list(remove_due_content(log, table, NOW))

    assert [(each.due_line.rule.market, each.due) for each in counted] == [("*", 2), ("FR", 1), ("*", 1)]
    assert without == {"EVIDENCE_READ": 1}
    assert before == []
    assert counts == [4]
    assert removed_records(log) == [0, 3, 5, 8]
    assert accounts(log) == [[0, 3, 5, 8]]
    assert problems(log) == []
    assert [each.due for each in preview_retention(log, table, NOW)[0]] == [0, 0, 0]
    assert list(remove_due_content(log, table, NOW)) == []


def test_a_removed_record_is_reported_as_removed_and_not_as_erased(log: RecordLog, tmp_path: Path) -> None:
    with log.database.reading() as connection:
        names = connection.execute(select(RECORDS.c.record_id).order_by(RECORDS.c.record_index)).scalars().all()

    list(remove_due_content(log, read_retention(write_table(tmp_path)), NOW))

    with pytest.raises(RecordRemoved) as caught:
        log.find_by_id(names[0])
    assert not caught.value.key_destroyed
    assert log.find_by_id(names[1]) is not None


def test_the_record_of_retention_names_the_table_and_its_lines(log: RecordLog, tmp_path: Path) -> None:
    table = read_retention(write_table(tmp_path))
    list(remove_due_content(log, table, NOW))
    with log.database.reading() as connection:
        name = connection.execute(select(RECORDS.c.record_id).where(RECORDS.c.kind == "RETENTION")).scalar_one()

    record = log.find_by_id(name)

    assert record is not None
    body = pb.RetentionRecord.FromString(record.body)
    assert (body.table_version, body.table_sha256) == ("test-1", table.sha256)
    assert {(line.market, line.kind, line.years): line.count for line in body.lines} == {
        ("*", "CREDIT_DECISION", 10): 2,
        ("FR", "CREDIT_DECISION", 2): 1,
        ("*", "CHURN_RUN", 3): 1,
    }
    assert body.lines[0].before_time.ToDatetime(dt.UTC) == TEN


def test_a_legal_hold_keeps_a_customers_records_until_it_is_released(log: RecordLog, tmp_path: Path) -> None:
    table = read_retention(write_table(tmp_path))
    hold = place_hold(log, "DE", "C1", "lawsuit", NOW)

    on_hold = preview_retention(log, table, NOW)[0][0]
    list(remove_due_content(log, table, NOW))
    while_held = removed_records(log)
    release_hold(log, hold, "settled", NOW)
    list(remove_due_content(log, table, NOW))

    assert (on_hold.due, on_hold.on_hold) == (1, 1)
    assert while_held == [3, 5, 8]
    assert removed_records(log) == [0, 3, 5, 8]
    assert accounts(log) == [[3, 5, 8], [0]]
    assert problems(log) == []


def test_records_of_retention_erasure_and_hold_are_never_removed(log: RecordLog, tmp_path: Path) -> None:
    erase_customer(log, ("DE", "C3"), "request 7", NOW)
    release_hold(log, place_hold(log, "DE", "C1", "lawsuit", NOW), "settled", NOW)
    list(remove_due_content(log, read_retention(write_table(tmp_path)), NOW))

    much_later = NOW.replace(year=2136)
    list(remove_due_content(log, read_retention(write_table(tmp_path)), much_later))

    with log.database.reading() as connection:
        rows = connection.execute(select(RECORDS.c.kind).where(RECORDS.c.ciphertext.is_not(None))).scalars()
        names = connection.execute(select(RECORDS.c.record_id).where(RECORDS.c.caller == OPERATOR)).scalars()
        assert {uuid.UUID(name).version for name in names} == {7}
        assert Counter(rows) == {
            "RETENTION": 2,
            ERASURE: 1,
            "LEGAL_HOLD": 1,
            "LEGAL_HOLD_RELEASE": 1,
            "EVIDENCE_READ": 1,
        }
    assert problems(log) == []


def test_many_records_are_removed_by_several_records_of_retention(log: RecordLog, tmp_path: Path) -> None:
    log.append([decision("DE", f"M{number}", TEN - US) for number in range(1003)])

    counts = list(remove_due_content(log, read_retention(write_table(tmp_path)), NOW))

    assert counts == [500, 500, 7]
    assert [len(account) for account in accounts(log)] == counts
    assert problems(log) == []


def test_while_the_head_is_locked_only_the_records_of_the_batch_are_searched(log: RecordLog, tmp_path: Path) -> None:
    """Statements under the lock only search the given records for due records, so no decision waits for a scan."""
    statements: list[str] = []

    def note(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if connection.get_execution_options().get("writing") and "records.time_us <" in statement:
            statements.append(statement)

    event.listen(log.database.engine, "before_cursor_execute", note)

    counts = list(remove_due_content(log, read_retention(write_table(tmp_path)), NOW, batch=2))

    assert counts == [2, 2]
    assert len(statements) == 2
    assert all("records.record_index IN (" in statement for statement in statements)


def test_a_hold_that_is_placed_while_retention_runs_is_kept(log: RecordLog, tmp_path: Path) -> None:
    """Due records are checked again after the head is locked."""
    running = remove_due_content(log, read_retention(write_table(tmp_path)), NOW, batch=2)
    first = next(running)
    place_hold(log, "DE", "C4", "lawsuit", NOW)

    rest = list(running)

    assert (first, rest) == (2, [1])
    assert removed_records(log) == [0, 3, 5]
    assert accounts(log) == [[0, 3], [5]]
    assert problems(log) == []


def test_content_that_another_retention_removes_meanwhile_is_not_removed_twice(log: RecordLog, tmp_path: Path) -> None:
    table = read_retention(write_table(tmp_path))
    running = remove_due_content(log, table, NOW, batch=2)
    next(running)
    other = list(remove_due_content(log, table, NOW, batch=2))

    assert (other, list(running)) == ([2], [])
    assert accounts(log) == [[0, 3], [5, 8]]
    assert problems(log) == []


@pytest.mark.parametrize(
    "damage", [{"market": "FR"}, {"header": b"{}"}, {"ciphertext": b"x" * 50}, {"nodes": b"x" * 32}]
)
def test_a_record_that_was_changed_is_not_removed(log: RecordLog, tmp_path: Path, damage: dict[str, object]) -> None:
    with log.database.writing() as connection:
        connection.execute(update(RECORDS).where(RECORDS.c.record_index == 0).values(**damage))

    with pytest.raises(RetentionRefused, match="record 0 is damaged"):
        list(remove_due_content(log, read_retention(write_table(tmp_path)), NOW))

    assert removed_records(log) == []
    assert accounts(log) == []


def test_ciphertext_that_was_removed_without_a_record_of_retention_is_found(log: RecordLog, tmp_path: Path) -> None:
    list(remove_due_content(log, read_retention(write_table(tmp_path)), NOW))
    with log.database.writing() as connection:
        connection.execute(update(RECORDS).where(RECORDS.c.record_index == 1).values(ciphertext=None))

    assert "record 1: its ciphertext is missing, and no retention record lists it" in problems(log)


def test_a_retention_killed_at_any_step_leaves_no_unexplained_gap_and_is_finished_by_the_same_command(
    tmp_path: Path,
) -> None:
    seen = set()
    table = read_retention(write_table(tmp_path))

    def killed_at(step: int) -> bool:
        folder = tmp_path / str(step)
        folder.mkdir()
        url, ended = f"sqlite:///{folder / 'log.db'}", True
        with open_test_log(url, folder) as log:
            fill(log)
            Kill(step, log.database, log.key_store.database)
            try:
                list(remove_due_content(log, table, NOW, batch=2))
            except Killed:
                ended = False
        with open_test_log(url, folder) as log:
            assert problems(log) == []
            assert removed_records(log) == [place for account in accounts(log) for place in account]
            seen.add(len(removed_records(log)))
            list(remove_due_content(log, table, NOW, batch=2))
            assert removed_records(log) == [0, 3, 5, 8]
            assert accounts(log) == [[0, 3], [5, 8]]
            assert problems(log) == []
        return ended

    at_every_step(killed_at)

    assert seen == {0, 2, 4}


def test_no_file_of_sqlite_contains_removed_content(tmp_path: Path) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        fill(log)
        log.append([entry(b"x" * 20_000, customer=("DE", "C1"), time=TEN - US, labels={"market": "DE"})])
        with log.database.reading() as connection:
            contents = connection.execute(select(RECORDS.c.ciphertext).order_by(RECORDS.c.record_index)).scalars().all()
        list(remove_due_content(log, read_retention(write_table(tmp_path)), NOW))
        pieces = [
            content[start : start + 40]
            for content in (contents[0], contents[9])
            for start in range(0, len(content) - 39, 40)
        ]

    files = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert removed_at_end(files, pieces) == []
    assert removed_at_end(files, [contents[1][:40]]) == [contents[1][:40]]


def removed_at_end(files: list[bytes], pieces: list[bytes]) -> list[bytes]:
    """Return the pieces that at least one file contains."""
    return [piece for piece in pieces if any(piece in content for content in files)]
