"""Tampering with a record log is detected.

A real server writes a record log, and a test then changes its database. An auditor detects the change with the client's
commands, the public key and an earlier checkpoint.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection, delete, select, update
from typer.testing import CliRunner

from grounds_client.commands.app import app
from grounds_record.checkpoint import Checkpoint, sign_checkpoint
from grounds_record.key_files import ensure_signing_key
from grounds_record.merkle import Frontier, split_hashes
from server.config import Settings
from server.maintenance.doctor import check_log
from server.stores.clock import utc_now
from server.stores.database import Database
from server.stores.tables import LOG_HEAD, RECORDS
from tests.conftest import START_RECORDS, Serving
from tests.server.record_logs import entry
from tests.server.requests import customer, score_request
from tests.server.servers import serve

SIZE, CHECKPOINT_SIZE, CHANGED_INDEX = 20, 13, 6
COLUMNS = [column.name for column in RECORDS.columns]
RECORD_INDEX = RECORDS.c.record_index


async def run_client(*words: str) -> tuple[int, str]:
    """Run a client command in a thread, because the server runs in this event loop; return its exit status and output."""
    done = await asyncio.to_thread(CliRunner().invoke, app, list(words))
    return done.exit_code, done.output


class Auditor:
    """An auditor who has the public key, and a checkpoint from when the record log had 13 records."""

    def __init__(self, serving: Serving, folder: Path) -> None:
        self.serving, self.folder = serving, folder
        self.key, self.checkpoint, self.export = folder / "key.pub", folder / "checkpoint.txt", folder / "today.log"

    async def fetch(self) -> tuple[int, str]:
        """Export the whole record log; return exit status and output."""
        address = f"127.0.0.1:{self.serving.application.port}"
        return await run_client(
            "export-log", str(self.export), "--checkpoint", str(self.checkpoint), "--address", address
        )

    async def verify(self) -> tuple[int, str]:
        """Export and verify the record log; return exit status and output of the verification."""
        status, output = await self.fetch()
        assert status == 0, output
        return await run_client(
            "verify", str(self.export), "--key", str(self.key), "--checkpoint", str(self.checkpoint)
        )


@pytest.fixture
async def auditor(small_settings: Settings, tmp_path: Path) -> AsyncIterator[Auditor]:
    """Append 20 records, most of them decisions, and write the checkpoint of the first 13 to a file of the auditor."""
    async with serve(small_settings) as serving:
        found = Auditor(serving, tmp_path)
        log = serving.application.log
        assert log is not None
        found.key.write_text(log.verifier.text() + "\n")
        for number in range(START_RECORDS, SIZE):
            await serving.credit.ScoreCredit(score_request(customer=customer("DE", f"C{2 * number:05d}")))
            if number + 1 == CHECKPOINT_SIZE:
                with log.database.reading() as connection:
                    found.checkpoint.write_text(connection.execute(select(LOG_HEAD.c.checkpoint)).scalar_one())
        yield found


def change(serving: Serving, how: Callable[[Connection], Any]) -> None:
    """Change the database as an attacker with write access could."""
    engine = sqlalchemy.create_engine(serving.settings.database)
    with engine.begin() as connection:
        how(connection)
    engine.dispose()


def run_doctor(serving: Serving) -> tuple[bool, str]:
    """Run the doctor; return whether the record log is valid, and the report."""
    log = serving.application.log
    assert log is not None
    database = Database(serving.settings.database)
    valid, output = check_log(database, log.verifier, None)
    database.close()
    return valid, "\n".join(output)


def flip_bit(value: Any) -> Any:
    """Return the value with one bit flipped in its middle."""
    if isinstance(value, int):
        return value ^ 64  # no record has the resulting value as its record_index
    if isinstance(value, str):
        at = len(value) // 2
        return value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
    content = bytearray(value)
    content[len(content) // 2] ^= 1
    return bytes(content)


async def test_an_unchanged_log_verifies(auditor: Auditor) -> None:
    status, output = await auditor.verify()

    assert status == 0, output
    assert f"{SIZE} records, 0 up to {SIZE}: verified" in output
    assert f"the checkpoint of {CHECKPOINT_SIZE} records holds" in output
    assert f"the checkpoint of {SIZE} records holds" in output
    assert run_doctor(auditor.serving)[0]


async def test_a_flipped_bit_in_any_column_is_reported_with_the_record(auditor: Auditor) -> None:
    with auditor.serving.application.database.reading() as connection:
        row = connection.execute(select(RECORDS).where(RECORD_INDEX == CHANGED_INDEX)).one()._asdict()
    assert None not in row.values(), "every column of a decision must have a value"
    for column in COLUMNS:
        wrong, index = flip_bit(row[column]), row["record_index"]
        change(
            auditor.serving,
            lambda c, w=wrong, n=column: c.execute(update(RECORDS).where(RECORD_INDEX == CHANGED_INDEX).values({n: w})),
        )

        status, output = await auditor.verify()
        valid, report = run_doctor(auditor.serving)

        assert (status, valid) == (1, False), column
        assert f"record {index}: " in output, (column, output)
        assert f"record {index}: " in report, (column, report)
        now = wrong if column == "record_index" else index
        change(auditor.serving, lambda c, n=now: c.execute(update(RECORDS).where(n == RECORD_INDEX).values(row)))
    assert (await auditor.verify())[0] == 0


def empty_column(connection: Connection, column: str) -> None:
    """Set a column of one record to NULL."""
    connection.execute(update(RECORDS).where(RECORD_INDEX == CHANGED_INDEX).values({column: None}))


async def test_a_column_set_to_null_is_reported_with_the_record(auditor: Auditor) -> None:
    for column in (name for name in COLUMNS if RECORDS.c[name].nullable):
        with auditor.serving.application.database.reading() as connection:
            right = connection.execute(select(RECORDS.c[column]).where(RECORD_INDEX == CHANGED_INDEX)).scalar_one()
        change(auditor.serving, lambda c, n=column: empty_column(c, n))

        status, output = await auditor.verify()

        assert status == 1, column
        assert f"record {CHANGED_INDEX}: " in output, (column, output)
        if column == "ciphertext":
            assert "no retention record lists it" in output
        change(
            auditor.serving,
            lambda c, n=column, r=right: c.execute(update(RECORDS).where(RECORD_INDEX == CHANGED_INDEX).values({n: r})),
        )


async def test_a_record_deleted_in_the_middle_is_reported_as_missing(auditor: Auditor) -> None:
    change(auditor.serving, lambda c: c.execute(delete(RECORDS).where(RECORD_INDEX == CHANGED_INDEX)))

    status, output = await auditor.verify()

    assert status == 1
    assert f"record {CHANGED_INDEX}: missing" in output
    assert f"record {CHANGED_INDEX}: missing" in run_doctor(auditor.serving)[1]


def truncate_log(connection: Connection, serving: Serving, size: int) -> None:
    """Delete all records from index `size`, and sign a matching checkpoint, as the owner of the log could."""
    log = serving.application.log
    assert log is not None
    connection.execute(delete(RECORDS).where(size <= RECORD_INDEX))
    frontier = Frontier()
    for row in connection.execute(select(RECORDS).order_by(RECORD_INDEX)):
        frontier, _ = frontier.append(split_hashes(row.nodes)[0])
    note = sign_checkpoint(Checkpoint(log.keys.name, size, frontier.root()), log._signing.signer)
    connection.execute(update(LOG_HEAD).values(size=size, peaks=b"".join(frontier.peaks), checkpoint=note))


async def test_records_deleted_at_the_end_are_reported_although_the_owner_signed_the_shorter_log(
    auditor: Auditor,
) -> None:
    change(auditor.serving, lambda c: truncate_log(c, auditor.serving, CHECKPOINT_SIZE - 3))

    status, output = await auditor.verify()

    assert status == 1
    assert f"records {CHECKPOINT_SIZE - 3} to {CHECKPOINT_SIZE - 1}: missing at the end of the log" in output


async def test_rewritten_records_are_reported_although_the_owner_signed_correct_hashes(auditor: Auditor) -> None:
    log = auditor.serving.application.log
    assert log is not None
    change(auditor.serving, lambda c: truncate_log(c, auditor.serving, 4))
    log.last_frontier = Frontier()  # the state after a restart
    # The owner of the log can also delete its high-water mark, but not the auditor's checkpoint.
    log.high_water_mark.path.unlink()
    log.append([entry(customer=("DE", "C00000"), time=utc_now()) for _ in range(SIZE - 4)])

    status, output = await auditor.verify()

    assert status == 1
    assert f"records 0 to {CHECKPOINT_SIZE - 1}: one or more were rewritten with all stored hashes" in output
    assert f"the checkpoint of {CHECKPOINT_SIZE} records does not hold" in output
    assert f"the checkpoint of {SIZE} records holds" in output


def swap(connection: Connection, one: int, other: int) -> None:
    """Exchange the indices of two records, including their hashes."""
    for now, then in ((one, -1), (other, one), (-1, other)):
        connection.execute(update(RECORDS).where(now == RECORD_INDEX).values(record_index=then))  # type: ignore[arg-type] # a column on the right makes a condition


async def test_two_exchanged_records_are_reported(auditor: Auditor) -> None:
    change(auditor.serving, lambda c: swap(c, 4, 8))

    status, output = await auditor.verify()

    assert status == 1
    assert "record 4: exchanged with record 8" in output
    assert "record 8: exchanged with record 4" in output


async def test_a_checkpoint_of_a_different_log_is_rejected(auditor: Auditor, tmp_path: Path) -> None:
    assert (await auditor.fetch())[0] == 0
    folder = tmp_path / "other"
    folder.mkdir()
    key = ensure_signing_key(folder / "signing.key", "example.com/another")
    other = folder / "other.txt"
    other.write_text(sign_checkpoint(Checkpoint(key.name, 7, b"\x01" * 32), key))

    words = ("verify", str(auditor.export), "--key", str(auditor.key))
    status, output = await run_client(*words, "--checkpoint", str(other))
    of_its_key, refusal = await run_client("verify", str(auditor.export), "--key", key.verifier().text())

    assert (status, of_its_key) == (1, 1)
    assert "checkpoint 2 is rejected" in output
    assert "checkpoint 1 is rejected" in refusal


def write_truncated_export(export: Path, to: Path) -> Path:
    """Write a copy of an export whose fourth line is truncated; return its path."""
    lines = export.read_text().splitlines()
    to.write_text("\n".join([*lines[:3], lines[3][:50], *lines[4:]]) + "\n")
    return to


async def test_verify_reports_which_file_is_unreadable(auditor: Auditor, tmp_path: Path) -> None:
    assert (await auditor.fetch())[0] == 0
    broken = write_truncated_export(auditor.export, tmp_path / "broken.log")

    for file in (broken, tmp_path / "nowhere.log", auditor.key):
        done = await asyncio.to_thread(CliRunner().invoke, app, ["verify", str(file), "--key", str(auditor.key)])

        assert done.exit_code == 1
        assert done.exception is not None
        assert str(file) in str(done.exception)
