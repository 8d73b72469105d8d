"""If a SQLite file is deleted or replaced while the server runs, no request is answered and the health check fails."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.config import Settings
from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.record_log.anchors import CheckpointAnchor
from server.stores.record_log.entries import Record
from tests.conftest import Serving
from tests.server.record_logs import entry, open_test_log
from tests.server.requests import score_request
from tests.server.servers import serve, wait_until


def _delete(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


def _delete_the_write_ahead_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def _replace_the_write_ahead_log(path: Path) -> None:
    _replace(path.with_name(f"{path.name}-wal"))


def _empty_the_write_ahead_log(path: Path) -> None:
    _delete_the_write_ahead_log(path)
    path.with_name(f"{path.name}-wal").touch(0o600)


def _move_the_write_ahead_log(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    log.rename(path.with_suffix(".moved"))
    log.touch(0o600)


def _replace_the_index(path: Path) -> None:
    _replace(path.with_name(f"{path.name}-shm"))


def _open_elsewhere_after_a_deletion(path: Path) -> None:
    """Delete the write-ahead log; another process then creates a new one."""
    _delete_the_write_ahead_log(path)
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sqlite3; sqlite3.connect({str(path)!r}).execute('SELECT * FROM sqlite_master')",
        ],
        check=False,
        capture_output=True,
    )


HOW = [
    *(_delete, _replace, _delete_the_write_ahead_log, _replace_the_write_ahead_log, _empty_the_write_ahead_log),
    *(_move_the_write_ahead_log, _replace_the_index, _open_elsewhere_after_a_deletion),
]


def test_a_write_ahead_log_that_sqlite_itself_created_anew_is_accepted(tmp_path: Path) -> None:
    """SQLite deletes the write-ahead log when the last connection is closed."""
    database = Database(f"sqlite:///{tmp_path / 'log.db'}")
    database.migrate()
    database.engine.dispose()
    wal = tmp_path / "log.db-wal"
    inodes = set()
    for name in ("one", "two", "three"):
        database.ensure_key(name)
        database.check_files()
        inodes.add(wal.stat().st_ino)
        database.engine.dispose()
        assert not wal.exists()
        for number in range(20):  # these files take the free inodes, so that the next write-ahead log has another one
            (tmp_path / f"{name}-{number}").touch()

    database.close()
    assert len(inodes) > 1


def test_a_database_behind_a_symbolic_link_is_checked(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "log.db").touch(0o600)
    (tmp_path / "log.db").symlink_to(tmp_path / "volume" / "log.db")
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry()])
        _empty_the_write_ahead_log(tmp_path / "volume" / "log.db")

        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            log.append([entry()])


@pytest.mark.parametrize("name", ["log.db", "keys.db"])
@pytest.mark.parametrize("change", HOW)
def test_an_append_to_a_deleted_or_replaced_file_is_not_acknowledged(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry()])
        change(tmp_path / name)

        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            log.append([entry()])
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            log.probe()


def _empty_in_place(path: Path) -> None:
    os.truncate(path, 0)


def _overwrite_in_place(path: Path) -> None:
    path.write_bytes(b"something else" * 2000)


def _empty_the_write_ahead_log_in_place(path: Path) -> None:
    os.truncate(path.with_name(f"{path.name}-wal"), 0)


def _overwrite_the_write_ahead_log_in_place(path: Path) -> None:
    path.with_name(f"{path.name}-wal").write_bytes(b"something else" * 2000)


@pytest.mark.parametrize("name", ["log.db", "keys.db"])
@pytest.mark.parametrize(
    "change",
    [
        *(_empty_in_place, _overwrite_in_place),
        *(_empty_the_write_ahead_log_in_place, _overwrite_the_write_ahead_log_in_place),
    ],
)
def test_an_append_to_a_file_that_was_emptied_or_overwritten_in_place_is_not_acknowledged(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry()])
        log.probe()
        change(tmp_path / name)

        with pytest.raises(StoreUnavailable):
            log.append([entry(customer=("DE", "C2"))])  # a new customer needs a new key
        with pytest.raises(StoreUnavailable):
            log.probe()


def _shorten_the_write_ahead_log(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    os.truncate(log, log.stat().st_size - 1)


def _keep_only_the_start_of_the_write_ahead_log(path: Path) -> None:
    os.truncate(path.with_name(f"{path.name}-wal"), 32)


def _overwrite_the_write_ahead_log_by_an_older_one(path: Path) -> None:
    """Write a log with a valid start, which is not the one that the index describes."""
    log = path.with_name(f"{path.name}-wal")
    content = bytearray(log.read_bytes())
    content[16:24] = bytes(8)  # the salts, which differ in every log
    with log.open("r+b") as file:
        file.write(content)


def _damage_the_checksum_of_the_write_ahead_log(path: Path) -> None:
    """SQLite ignores all frames of a log whose header has a wrong checksum."""
    with path.with_name(f"{path.name}-wal").open("r+b") as file:
        file.seek(24)
        file.write(bytes(8))


def _overwrite_the_newest_frame(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    with log.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))


def _zero_the_write_ahead_log_in_place(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size
    os.truncate(log, 0)
    os.truncate(log, size)


@pytest.mark.parametrize("name", ["log.db", "keys.db"])
@pytest.mark.parametrize(
    "change",
    [
        *(_empty_the_write_ahead_log_in_place, _overwrite_the_write_ahead_log_in_place),
        *(_shorten_the_write_ahead_log, _keep_only_the_start_of_the_write_ahead_log),
        *(_overwrite_the_write_ahead_log_by_an_older_one, _zero_the_write_ahead_log_in_place),
        *(_damage_the_checksum_of_the_write_ahead_log, _overwrite_the_newest_frame),
    ],
)
def test_an_append_for_a_known_customer_is_not_acknowledged_after_frames_of_a_write_ahead_log_were_lost(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    """A known customer needs no new key, so that nothing is written to the database of the keys."""
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry()])
        change(tmp_path / name)

        with pytest.raises(StoreUnavailable):
            log.append([entry()])


def _empty_log_of_a_checkpoint(path: Path) -> None:
    """Make another process move all frames into the database file and empty the write-ahead log, as SQLite does it."""
    program = (
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("(0, "), done.stdout
    assert path.with_name(f"{path.name}-wal").stat().st_size == 0


@pytest.mark.parametrize("name", ["log.db", "keys.db"])
def test_a_write_ahead_log_that_sqlite_emptied_after_its_frames_were_moved_is_accepted(
    tmp_path: Path, name: str
) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry()])
        _empty_log_of_a_checkpoint(tmp_path / name)

        log.database.check_files()
        log.key_store.database.check_files()
        results = log.append([entry(), entry(customer=("DE", "C2"))])

    assert [each.index for each in results if isinstance(each, Record)] == [1, 2]


def test_no_append_fails_while_sqlite_starts_the_write_ahead_log_again(tmp_path: Path) -> None:
    """SQLite overwrites the log from its start, without making the file shorter, once all frames were moved."""
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        for database in (log.database, log.key_store.database):
            with database.reading() as connection:
                connection.exec_driver_sql("PRAGMA wal_autocheckpoint=20")
        headers = set()
        for number in range(100):
            (record,) = log.append([entry(customer=("DE", f"C{number}"))])
            assert isinstance(record, Record)
            headers.update((name, (tmp_path / f"{name}-wal").read_bytes()[16:24]) for name in ("log.db", "keys.db"))

    assert len([name for name, _ in headers if name == "log.db"]) > 3
    assert len([name for name, _ in headers if name == "keys.db"]) > 3


def test_no_check_fails_while_other_processes_commit_and_empty_the_write_ahead_log(tmp_path: Path) -> None:
    """The index and the log are read one after the other, and both change meanwhile."""
    database = Database(f"sqlite:///{tmp_path / 'log.db'}")
    database.migrate()
    program = (
        "import sqlite3, sys, time\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)\n"
        "connection.execute('CREATE TABLE IF NOT EXISTS numbers (number INTEGER)')\n"
        "until = time.monotonic() + 2\n"
        "while time.monotonic() < until:\n"
        "    connection.execute('INSERT INTO numbers VALUES (1)')\n"
        "    connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "log.db")]) for _ in range(2)]
    checks = 0
    while any(each.poll() is None for each in others):
        database.check_files()
        checks += 1
    database.close()

    assert [each.returncode for each in others] == [0, 0]
    assert checks > 1000


def test_a_write_ahead_log_of_zeros_that_nothing_was_written_to_is_accepted(tmp_path: Path) -> None:
    """A crash can leave a file that has its size but not its content yet; SQLite reads no frame from it."""
    path = tmp_path / "log.db"
    with open_test_log(f"sqlite:///{path}", tmp_path) as log:
        log.append([entry()])
    path.with_name("log.db-wal").write_bytes(bytes(4096))

    with open_test_log(f"sqlite:///{path}", tmp_path) as log:
        log.database.check_files()
        retried = log.append([entry()])

    assert [each.index for each in retried if isinstance(each, Record)] == [1]


@pytest.mark.parametrize("change", HOW)
def test_a_record_that_only_a_deleted_or_replaced_file_has_is_not_returned_to_a_retry(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry()])
        change(tmp_path / "log.db")
        asked = entry()
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            log.append([asked])  # commits the record to the deleted file

        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            log.append([asked])
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            log.find_by_request(asked.caller, asked.request_id, asked.content)


@pytest.mark.parametrize("change", HOW)
def test_a_checkpoint_of_a_deleted_or_replaced_file_is_not_anchored(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    anchors = tmp_path / "anchors"
    anchors.mkdir()
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        anchor = CheckpointAnchor(log.database, anchors, None)
        log.append([entry()])
        anchor.push()
        change(tmp_path / "log.db")
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            log.append([entry()])
        anchor.push()

    assert [path.name for path in anchors.iterdir()] == ["checkpoint-00000000000000000001.txt"]
    assert anchor.failures == 1


def test_no_new_connection_creates_a_missing_file_so_no_record_of_its_write_ahead_log_is_lost(tmp_path: Path) -> None:
    path, aside = tmp_path / "log.db", tmp_path / "aside.db"
    with open_test_log(f"sqlite:///{path}", tmp_path) as log:
        log.append([entry()])
        path.rename(aside)
        with log.database.reading() as connection:  # the only connection is in use, so the next one is new
            connection.exec_driver_sql("SELECT 1")
            with pytest.raises(StoreUnavailable, match="deleted or replaced"), log.database.reading():
                pass
        restarted = Database(f"sqlite:///{path}")  # a server that starts while the file is missing
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            restarted.migrate()
        restarted.close()
        assert not path.exists()
        aside.rename(path)

        (record,) = log.append([entry()])
        assert isinstance(record, Record)
        assert record.index == 1


async def _status(serving: Serving) -> Any:
    request = health_pb2.HealthCheckRequest(service="grounds.credit.v1.CreditService")
    return (await health_pb2_grpc.HealthStub(serving.channel).Check(request)).status


@pytest.mark.parametrize("setting", ["database", "keys"])
async def test_a_server_whose_file_was_deleted_scores_no_request_and_is_not_serving(
    small_settings: Settings, setting: str
) -> None:
    path = Path(getattr(small_settings, setting).removeprefix("sqlite:///"))
    async with serve(small_settings) as serving:
        await serving.credit.ScoreCredit(score_request())
        _delete(path)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await serving.credit.ScoreCredit(score_request())
        await wait_until(lambda: _is(serving, health_pb2.HealthCheckResponse.NOT_SERVING))

    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def _is(serving: Serving, status: Any) -> bool:
    await asyncio.sleep(0)
    return bool(await _status(serving) == status)
