"""Backups of SQLite databases, which are made while servers write, and their restore.

A backup contains either the records or the customers' keys, never both: erasing a customer destroys the key, and a backup
with both would undo the erasure. The records are copied first. Their keys were committed before them, so the later copy
of the keys contains the key of every copied record.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy

from grounds_record.private_files import sync_path
from server.config import Settings
from server.errors import BackupRefused

_HEAD = "SELECT size FROM log_head"


def back_up(settings: Settings, records: Path, keys: Path) -> int:
    """Copy both databases to new files with mode 0600, and return the number of records in the copy.

    Args:
        settings: The settings of the servers, which may run.
        records: Path of the copy of the records.
        keys: Path of the copy of the customers' keys, in a different folder.

    Raises:
        BackupRefused: A database is not a SQLite file, both copies are in one folder, or a copy exists or failed.
    """
    if records.absolute().parent.resolve() == keys.absolute().parent.resolve():
        raise BackupRefused(
            f"{records} and {keys} are in the same folder: no backup may contain both databases; choose another folder for the keys"
        )
    sources = _sqlite_file(settings.database, "database"), _sqlite_file(settings.keys, "keys")
    for source, target in zip(sources, (records, keys), strict=True):
        _copy(source, target)
    return _read_size(records)


def restore(settings: Settings, records: Path, keys: Path) -> int:
    """Copy both backups to the configured paths, which must not exist, and return the number of records.

    Raises:
        BackupRefused: A database is not a SQLite file, a backup is missing or damaged, or a configured file exists.
    """
    targets = _sqlite_file(settings.database, "database"), _sqlite_file(settings.keys, "keys")
    size = _read_size(records)
    for target in targets:
        for path in (target, *(target.with_name(target.name + suffix) for suffix in ("-wal", "-shm"))):
            if path.exists():
                raise BackupRefused(
                    f"{path} exists: restore overwrites nothing; stop all servers, and move the file away"
                )
    for source, target in zip((records, keys), targets, strict=True):
        _copy(source, target)
    return size


def _sqlite_file(url: str, setting: str) -> Path:
    """Return the path of the SQLite file of a URL.

    Raises:
        BackupRefused: The URL is not that of a SQLite file.
    """
    parts = sqlalchemy.make_url(url)
    if not parts.drivername.startswith("sqlite") or parts.database in {None, "", ":memory:"}:
        raise BackupRefused(
            f"{setting}: is not a SQLite file; back up and restore PostgreSQL with its own tools, such as pg_dump and pg_restore"
        )
    return Path(str(parts.database))


def _copy(source: Path, target: Path) -> None:
    """Copy a SQLite database as of one moment to a new file, check the copy, and sync it to the disk.

    The source may be written at the same time. A copy that failed is deleted.

    Raises:
        BackupRefused: The source is missing or damaged, or the target exists or cannot be written.
    """
    if not source.is_file():
        raise BackupRefused(f"{source}: no such file; check the path")
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise BackupRefused(f"{target}: cannot be created: {error.strerror}; choose the path of a new file") from error
    problem = ""
    try:
        with closing(_open_read_only(source)) as reading, closing(sqlite3.connect(target)) as writing:
            reading.backup(writing)  # one read transaction for all pages, which does not wait for writers
            writing.execute("PRAGMA journal_mode=DELETE")  # so that the copy is a single file
            (found,) = writing.execute("PRAGMA quick_check(1)").fetchone()
            problem = "" if found == "ok" else f"the copy is damaged: {found}"
        sync_path(target)
        sync_path(target.absolute().parent)
    except (OSError, sqlite3.Error) as error:
        problem = str(error)
    if problem:
        _delete(target)
        raise BackupRefused(f"{source}: cannot be copied to {target}: {problem}; check both disks, and run doctor")


def _open_read_only(path: Path) -> sqlite3.Connection:
    """Open a SQLite database for reading."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _read_size(path: Path) -> int:
    """Return the number of records in a database of a record log.

    Raises:
        BackupRefused: The file is not such a database.
    """
    try:
        with closing(_open_read_only(path)) as connection:
            return int(connection.execute(_HEAD).fetchone()[0])
    except (sqlite3.Error, TypeError) as error:
        raise BackupRefused(f"{path}: is not a database with a record log; check the path") from error


def _delete(path: Path) -> None:
    """Delete a copy that failed, with SQLite's temporary files."""
    for each in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))):
        with suppress(OSError):
            each.unlink()
