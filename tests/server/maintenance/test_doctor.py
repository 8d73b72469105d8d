"""The doctor checks a log while others write to it: it reports every fault, and no change that is not a fault."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, event, select, update
from structlog.testing import capture_logs

from grounds_record.merkle import HASH_BYTES, Frontier, split_hashes
from server.decisions.retention import read_retention
from server.maintenance.doctor import check_log
from server.maintenance.retention import remove_due_content
from server.stores.record_log.anchors import CheckpointAnchor
from server.stores.record_log.log import RecordLog
from server.stores.tables import CHECKPOINTS, LOG_HEAD, RECORDS
from tests.server.decisions.test_retention import write_table
from tests.server.record_logs import NOW, entry, open_test_log

FRONTIER = "the frontier in the head of the record log does not match its records"


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Open a log of seven records with a stored checkpoint."""
    with open_test_log(database_url, tmp_path) as found:
        found.append([entry() for _ in range(7)])
        CheckpointAnchor(found.database, None, None).push()
        yield found


def test_records_and_anchors_written_while_the_doctor_reads_are_no_fault(log: RecordLog, tmp_path: Path) -> None:
    """After each statement of the doctor, the log grows, and a new checkpoint is stored and anchored."""
    folder = tmp_path / "anchors"
    folder.mkdir()
    anchors, seen, busy = CheckpointAnchor(log.database, folder, None), set(), [False]

    def grow(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if not busy[0]:
            busy[0] = True
            log.append([entry()])
            anchors.push()
            seen.update(name for name in ("checkpoints", "log_head", "records") if f"FROM {name}" in statement)
            busy[0] = False

    event.listen(log.database.engine, "after_cursor_execute", grow)
    holds, sentences = check_log(log.database, log.verifier, folder)
    event.remove(log.database.engine, "after_cursor_execute", grow)

    assert holds, sentences
    assert seen == {"checkpoints", "log_head", "records"}
    assert anchors.failures == 0
    assert check_log(log.database, log.verifier, folder)[0]


def test_an_anchor_folder_that_does_not_exist_is_a_fault(log: RecordLog, tmp_path: Path) -> None:
    """Without the folder, nothing was compared with the anchors."""
    healthy, report = check_log(log.database, log.verifier, tmp_path / "unmounted")
    anchor = CheckpointAnchor(log.database, tmp_path / "unmounted", None)
    with capture_logs() as lines:
        assert not anchor.push()

    assert not healthy
    assert any("unmounted: the anchor folder does not exist" in line for line in report)
    assert "unmounted" in lines[-1]["problem"]
    assert "No such file" in lines[-1]["problem"]


def test_a_retention_that_runs_while_the_doctor_reads_is_no_fault(log: RecordLog, tmp_path: Path) -> None:
    """Retention runs after the doctor has read the head of the log, and before it reads the records."""
    running = remove_due_content(log, read_retention(write_table(tmp_path)), NOW + dt.timedelta(days=20 * 366))
    counts: list[int] = []

    def retain(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if "FROM log_head" in statement and not counts:
            counts.append(0)
            counts[0] = next(running)

    event.listen(log.database.engine, "after_cursor_execute", retain)
    holds, sentences = check_log(log.database, log.verifier, None)
    event.remove(log.database.engine, "after_cursor_execute", retain)

    assert counts == [7]
    assert holds, sentences
    assert check_log(log.database, log.verifier, None)[0]


def test_a_kept_checkpoint_that_is_larger_than_the_log_is_a_fault(log: RecordLog) -> None:
    """An attacker deletes the newest records and restores an earlier head of the log."""
    with log.database.reading() as connection:
        before = connection.execute(select(LOG_HEAD)).one()
    log.append([entry() for _ in range(2)])
    CheckpointAnchor(log.database, None, None).push()
    with log.database.writing() as connection:
        connection.execute(delete(RECORDS).where(RECORDS.c.record_index >= before.size))
        back = {"size": before.size, "peaks": before.peaks, "checkpoint": before.checkpoint}
        connection.execute(update(LOG_HEAD).values(**back))
        sizes = connection.execute(select(CHECKPOINTS.c.size)).scalars().all()

    holds, sentences = check_log(log.database, log.verifier, None)

    assert sorted(sizes) == [7, 9]
    assert not holds
    assert any("records 7 to 8" in sentence or "missing" in sentence for sentence in sentences), sentences


@pytest.mark.parametrize("damage", ["other", "short", "long", "none", "root"])
def test_a_frontier_that_does_not_match_the_records_is_found(log: RecordLog, damage: str) -> None:
    """This includes a frontier with a wrong number of hashes that leads to the right root."""
    with log.database.writing() as connection:
        peaks = bytes(connection.execute(select(LOG_HEAD.c.peaks)).scalar_one())
        wrong = {
            "other": b"x" * HASH_BYTES + peaks[HASH_BYTES:],
            "short": peaks[:-HASH_BYTES],
            "long": peaks + b"x" * HASH_BYTES,
            "none": b"",
            "root": Frontier(7, split_hashes(peaks)).root(),
        }
        connection.execute(update(LOG_HEAD).values(peaks=wrong[damage]))

    holds, sentences = check_log(log.database, log.verifier, None)

    assert (holds, sentences[-1]) == (False, FRONTIER)
