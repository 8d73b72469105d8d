"""Backups of SQLite databases: made while a server writes, restored to another state, and never overwriting a file."""

import asyncio
import stat
import uuid
from pathlib import Path

import pytest

from server.config import Settings
from server.errors import BackupRefused
from server.maintenance.backup import back_up, restore
from server.maintenance.doctor import diagnose
from server.maintenance.forks import find_lost_range
from server.stores.database import Database
from server.stores.record_log.opening import KeyLocations, open_log
from tests.conftest import START_RECORDS, Serving
from tests.server.requests import score_request
from tests.server.servers import serve


def copies(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the paths of a backup of the records and of a backup of the keys, in two folders that exist."""
    paths = folder / "records" / f"{name}.db", folder / "keys" / f"{name}.db"
    for path in paths:
        path.parent.mkdir(exist_ok=True)
    return paths


async def decide(serving: Serving, count: int) -> list[str]:
    """Request decisions; return their ids."""
    answers = [await serving.credit.ScoreCredit(score_request(request_id=str(uuid.uuid4()))) for _ in range(count)]
    return [answer.credit_decision.record_ref.decision_id for answer in answers]


def remove_databases(settings: Settings) -> None:
    """Delete the files of both databases, as a lost disk would."""
    for url in (settings.database, settings.keys):
        file = Path(url.removeprefix("sqlite:///"))
        for path in file.parent.glob(f"{file.name}*"):
            path.unlink()


async def test_a_backup_made_while_a_server_writes_is_restored_with_every_record(
    small_settings: Settings, tmp_path: Path
) -> None:
    records, keys = copies(tmp_path, "backup")
    async with serve(small_settings) as serving:
        before = await decide(serving, 3)
        writing = asyncio.create_task(decide(serving, 20))
        size = await asyncio.to_thread(back_up, small_settings, records, keys)
        await writing
        await decide(serving, 1)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (records, keys)}
    remove_databases(small_settings)

    restored = restore(small_settings, records, keys)
    database = Database(small_settings.database)
    log = open_log(database, KeyLocations.from_settings(small_settings))
    bodies = [log.find_by_id(decision_id) for decision_id in before]
    lost = find_lost_range(log)
    log.close()
    database.close()

    assert modes == {0o600}
    assert START_RECORDS + 3 <= restored == size < START_RECORDS + 24
    assert all(bodies)
    assert lost.stop - 2 == START_RECORDS + 23


async def test_a_restored_backup_of_the_newest_state_passes_doctor_and_serves(
    small_settings: Settings, tmp_path: Path
) -> None:
    async with serve(small_settings) as serving:
        await decide(serving, 2)
    records, keys = copies(tmp_path, "newest")
    back_up(small_settings, records, keys)
    remove_databases(small_settings)
    restore(small_settings, records, keys)
    database = Database(small_settings.database)
    diagnosis = diagnose(database, small_settings)
    database.close()
    async with serve(small_settings) as serving:
        decided = await decide(serving, 1)

    assert diagnosis.healthy, diagnosis.sentences
    assert decided


async def test_neither_backup_nor_restore_overwrites_a_file_or_joins_records_and_keys(
    small_settings: Settings, tmp_path: Path
) -> None:
    async with serve(small_settings) as serving:
        await decide(serving, 1)
    records, keys = copies(tmp_path, "first")
    back_up(small_settings, records, keys)
    content = records.read_bytes()

    for action, problem in (
        (lambda: back_up(small_settings, records, keys), "cannot be created: File exists"),
        (lambda: back_up(small_settings, tmp_path / "a.db", tmp_path / "b.db"), "in the same folder"),
        (lambda: restore(small_settings, records, keys), "restore overwrites nothing"),
        (lambda: restore(small_settings, tmp_path / "none.db", keys), "is not a database with a record log"),
        (
            lambda: back_up(small_settings.model_copy(update={"database": "postgresql://h/n"}), records, keys),
            "back up and restore PostgreSQL with its own tools",
        ),
    ):
        with pytest.raises(BackupRefused, match=problem):
            action()
    assert records.read_bytes() == content


def test_a_damaged_backup_leaves_no_file_behind(small_settings: Settings, tmp_path: Path) -> None:
    records, keys = copies(tmp_path, "damaged")
    source = Path(small_settings.database.removeprefix("sqlite:///"))
    content = bytearray(source.read_bytes())
    content[4096:8192] = b"\x99" * 4096
    source.write_bytes(content)

    with pytest.raises(BackupRefused, match="cannot be copied to"):
        back_up(small_settings, records, keys)

    assert list(records.parent.iterdir()) == list(keys.parent.iterdir()) == []
