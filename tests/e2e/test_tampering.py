"""A log that the real server wrote, changed in its database: found by the command line with the public key and a checkpoint."""

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
from server.stores.database import Database
from server.stores.tables import LOG_HEAD, RECORDS
from tests.conftest import Serving
from tests.server.record_logs import entry
from tests.server.requests import customer, score_request
from tests.server.servers import serve

SIZE, KEPT, PLACE = 20, 13, 6
COLUMNS = [column.name for column in RECORDS.columns]
RECORDS_BY_PLACE = RECORDS.c.record_index


async def run_client(*words: str) -> tuple[int, str]:
    """Run a client command beside the server's event loop; return its exit status and output."""
    done = await asyncio.to_thread(CliRunner().invoke, app, list(words))
    return done.exit_code, done.output


class Auditor:
    """Has the public key and the checkpoint of 13 records, kept when the log had 13."""

    def __init__(self, serving: Serving, folder: Path) -> None:
        self.serving, self.folder = serving, folder
        self.key, self.kept, self.export = folder / "key.pub", folder / "kept.txt", folder / "today.log"

    async def fetch(self) -> tuple[int, str]:
        """Export the whole log."""
        address = f"127.0.0.1:{self.serving.application.port}"
        return await run_client("export-log", str(self.export), "--checkpoint", str(self.kept), "--address", address)

    async def verify(self) -> tuple[int, str]:
        """Export and verify."""
        status, said = await self.fetch()
        assert status == 0, said
        return await run_client("verify", str(self.export), "--key", str(self.key), "--checkpoint", str(self.kept))


@pytest.fixture
async def auditor(small_settings: Settings, tmp_path: Path) -> AsyncIterator[Auditor]:
    """Record 20 decisions; keep the checkpoint of the first 13."""
    async with serve(small_settings) as serving:
        found = Auditor(serving, tmp_path)
        log = serving.application.log
        assert log is not None
        found.key.write_text(log.verifier.text() + "\n")
        for number in range(SIZE):
            await serving.credit.ScoreCredit(score_request(customer=customer("DE", f"C{2 * number:05d}")))
            if number + 1 == KEPT:
                with log.database.reading() as connection:
                    found.kept.write_text(connection.execute(select(LOG_HEAD.c.checkpoint)).scalar_one())
        yield found


def change(serving: Serving, how: Callable[[Connection], Any]) -> None:
    """Change the database as an attacker with access to it could."""
    engine = sqlalchemy.create_engine(serving.settings.database)
    with engine.begin() as connection:
        how(connection)
    engine.dispose()


def run_doctor(serving: Serving) -> tuple[bool, str]:
    """Run the doctor; return whether the log holds, and what it printed."""
    log = serving.application.log
    assert log is not None
    database = Database(serving.settings.database)
    holds, said = check_log(database, log.verifier, None)
    database.close()
    return holds, "\n".join(said)


def flip_bit(value: Any) -> Any:
    """Return the value with one bit flipped in its middle."""
    if isinstance(value, int):
        return value ^ 64  # also of a place: no record is there
    if isinstance(value, str):
        at = len(value) // 2
        return value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
    content = bytearray(value)
    content[len(content) // 2] ^= 1
    return bytes(content)


async def test_an_honest_log_verifies(auditor: Auditor) -> None:
    status, said = await auditor.verify()

    assert status == 0, said
    assert f"{SIZE} records, 0 up to {SIZE}: verified" in said
    assert f"the checkpoint of {KEPT} records holds" in said
    assert f"the checkpoint of {SIZE} records holds" in said
    assert run_doctor(auditor.serving)[0]


async def test_one_flipped_byte_in_any_column_is_found_and_where(auditor: Auditor) -> None:
    with auditor.serving.application.database.reading() as connection:
        row = connection.execute(select(RECORDS).where(RECORDS_BY_PLACE == PLACE)).one()._asdict()
    assert None not in row.values(), "every column of a decision is filled"
    for column in COLUMNS:
        wrong, place = flip_bit(row[column]), row["record_index"]
        change(
            auditor.serving,
            lambda c, w=wrong, n=column: c.execute(update(RECORDS).where(RECORDS_BY_PLACE == PLACE).values({n: w})),
        )

        status, said = await auditor.verify()
        holds, report = run_doctor(auditor.serving)

        assert (status, holds) == (1, False), column
        assert f"record {place}: " in said, (column, said)
        assert f"record {place}: " in report, (column, report)
        now = wrong if column == "record_index" else place
        change(auditor.serving, lambda c, n=now: c.execute(update(RECORDS).where(n == RECORDS_BY_PLACE).values(row)))
    assert (await auditor.verify())[0] == 0


def empty_column(connection: Connection, column: str) -> None:
    """Empty a column of one record."""
    connection.execute(update(RECORDS).where(RECORDS_BY_PLACE == PLACE).values({column: None}))


async def test_an_emptied_column_is_found_and_where(auditor: Auditor) -> None:
    for column in (name for name in COLUMNS if RECORDS.c[name].nullable):
        with auditor.serving.application.database.reading() as connection:
            right = connection.execute(select(RECORDS.c[column]).where(RECORDS_BY_PLACE == PLACE)).scalar_one()
        change(auditor.serving, lambda c, n=column: empty_column(c, n))

        status, said = await auditor.verify()

        assert status == 1, column
        assert f"record {PLACE}: " in said, (column, said)
        if column == "ciphertext":
            assert "no retention record names it" in said
        change(
            auditor.serving,
            lambda c, n=column, r=right: c.execute(update(RECORDS).where(RECORDS_BY_PLACE == PLACE).values({n: r})),
        )


async def test_a_record_deleted_in_the_middle_is_found_and_where(auditor: Auditor) -> None:
    change(auditor.serving, lambda c: c.execute(delete(RECORDS).where(RECORDS_BY_PLACE == PLACE)))

    status, said = await auditor.verify()

    assert status == 1
    assert f"record {PLACE}: missing" in said
    assert f"record {PLACE}: missing" in run_doctor(auditor.serving)[1]


def cut(connection: Connection, serving: Serving, size: int) -> None:
    """Cut the tail and sign a matching head, as the log's owner could."""
    log = serving.application.log
    assert log is not None
    connection.execute(delete(RECORDS).where(size <= RECORDS_BY_PLACE))
    frontier = Frontier()
    for row in connection.execute(select(RECORDS).order_by(RECORDS_BY_PLACE)):
        frontier, _ = frontier.append(split_hashes(row.nodes)[0])
    note = sign_checkpoint(Checkpoint(log._signing_key.name, size, frontier.root()), log._signing_key)
    connection.execute(update(LOG_HEAD).values(size=size, peaks=b"".join(frontier.peaks), checkpoint=note))


async def test_a_cut_tail_is_found_and_where_though_the_owner_signed_the_shorter_log(auditor: Auditor) -> None:
    change(auditor.serving, lambda c: cut(c, auditor.serving, KEPT - 3))

    status, said = await auditor.verify()

    assert status == 1
    assert f"records {KEPT - 3} to {KEPT - 1}: missing at the end of the log" in said


async def test_a_day_rewritten_with_correct_hashes_and_signed_again_is_found_and_where(auditor: Auditor) -> None:
    log = auditor.serving.application.log
    assert log is not None
    change(auditor.serving, lambda c: cut(c, auditor.serving, 4))
    log.last_frontier = Frontier()  # as after a restart
    log.high_water_mark.path.unlink()  # an owner who rewrites the log removes its mark too; the auditor's checkpoint stays
    log.append([entry(customer=("DE", "C00000")) for _ in range(SIZE - 4)])

    status, said = await auditor.verify()

    assert status == 1
    assert f"records 0 to {KEPT - 1}: one or more were rewritten with all stored hashes" in said
    assert f"the checkpoint of {KEPT} records does not hold" in said
    assert f"the checkpoint of {SIZE} records holds" in said


def swap(connection: Connection, one: int, other: int) -> None:
    """Exchange two records with their hashes."""
    for now, then in ((one, -1), (other, one), (-1, other)):
        connection.execute(update(RECORDS).where(now == RECORDS_BY_PLACE).values(record_index=then))  # type: ignore[arg-type] # a column on the right makes a condition


async def test_two_swapped_records_are_found_and_where(auditor: Auditor) -> None:
    change(auditor.serving, lambda c: swap(c, 4, 8))

    status, said = await auditor.verify()

    assert status == 1
    assert "record 4: exchanged with record 8" in said
    assert "record 8: exchanged with record 4" in said


async def test_a_checkpoint_of_another_log_is_refused(auditor: Auditor, tmp_path: Path) -> None:
    assert (await auditor.fetch())[0] == 0
    folder = tmp_path / "other"
    folder.mkdir()
    key = ensure_signing_key(folder / "signing.key", "example.com/another")
    other = folder / "other.txt"
    other.write_text(sign_checkpoint(Checkpoint(key.name, 7, b"\x01" * 32), key))

    words = ("verify", str(auditor.export), "--key", str(auditor.key))
    status, said = await run_client(*words, "--checkpoint", str(other))
    of_its_key, refusal = await run_client("verify", str(auditor.export), "--key", key.verifier().text())

    assert (status, of_its_key) == (1, 1)
    assert "checkpoint 2 is rejected" in said
    assert "checkpoint 1 is rejected" in refusal


def write_truncated_export(export: Path, to: Path) -> Path:
    """Copy an export whose fourth line was cut."""
    lines = export.read_text().splitlines()
    to.write_text("\n".join([*lines[:3], lines[3][:50], *lines[4:]]) + "\n")
    return to


async def test_verify_says_what_cannot_be_read_in_one_sentence(auditor: Auditor, tmp_path: Path) -> None:
    assert (await auditor.fetch())[0] == 0
    broken = write_truncated_export(auditor.export, tmp_path / "broken.log")

    for file in (broken, tmp_path / "nowhere.log", auditor.key):
        done = await asyncio.to_thread(CliRunner().invoke, app, ["verify", str(file), "--key", str(auditor.key)])

        assert done.exit_code == 1
        assert done.exception is not None
        assert str(file) in str(done.exception)
