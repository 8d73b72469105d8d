"""A database that may lose acknowledged records is rejected, even if it is reconfigured while the server runs."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import event

from server.errors import ServerError, StoreUnavailable
from server.stores.database import Database
from server.stores.record_log.log import RecordLog
from tests.server.record_logs import entry, open_test_log

NEW_DATABASE = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@contextmanager
def change_postgresql(engine: sqlalchemy.Engine, statement: str, undo: str) -> Iterator[None]:
    """Change the configuration of a running PostgreSQL for the duration of the block."""
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        connection.exec_driver_sql("SELECT pg_sleep(0.3)")  # until all processes have read the configuration
    try:
        yield
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(undo)
            connection.exec_driver_sql("SELECT pg_reload_conf()")
            connection.exec_driver_sql("SELECT pg_sleep(0.3)")


@contextmanager
def observe_commits(database: Database, query: str) -> Iterator[list[object]]:
    """Yield a list. Just before each commit, the result of the query in the same transaction is added to the list."""
    found: list[object] = []

    def look(connection: sqlalchemy.Connection) -> None:
        found.append(connection.exec_driver_sql(query).scalar())

    event.listen(database.engine, "commit", look)
    yield found
    event.remove(database.engine, "commit", look)


@NEW_DATABASE
@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_postgresql_that_does_not_protect_its_files_is_rejected_at_start_and_while_running(
    database_url: str, postgres: sqlalchemy.Engine, tmp_path: Path, name: str
) -> None:
    switch = f"ALTER SYSTEM SET {name} = off", f"ALTER SYSTEM RESET {name}"
    with open_test_log(database_url, tmp_path) as log:
        log.append([entry()])
        with change_postgresql(postgres, *switch):
            for work in (lambda: log.append([entry()]), log.probe, lambda: _start(database_url, tmp_path)):
                with pytest.raises(ServerError, match=f"PostgreSQL runs with {name} = off .* set {name} = on"):
                    work()
        (record,) = log.append([entry()])

    assert not isinstance(record, Exception)
    assert record.index == 1


def _start(url: str, folder: Path) -> None:
    """Open the log as a server does at its start."""
    with open_test_log(url, folder):
        pass


@NEW_DATABASE
@pytest.mark.parametrize("table", ["records", "log_head"])
def test_a_table_that_a_crash_would_empty_is_rejected_at_start_and_while_running(
    database_url: str, tmp_path: Path, table: str
) -> None:
    plain = sqlalchemy.create_engine(database_url, isolation_level="AUTOCOMMIT")
    with open_test_log(database_url, tmp_path) as log, plain.connect() as connection:
        log.append([entry()])
        connection.exec_driver_sql(f"ALTER TABLE {table} SET UNLOGGED")
        for work in (lambda: log.append([entry()]), log.probe, lambda: _start(database_url, tmp_path)):
            with pytest.raises(
                ServerError, match=f"the table {table} is unlogged.* run ALTER TABLE {table} SET LOGGED"
            ):
                work()
        connection.exec_driver_sql(f"ALTER TABLE {table} SET LOGGED")
        (record,) = log.append([entry()])
    plain.dispose()

    assert not isinstance(record, Exception)
    assert record.index == 1


@NEW_DATABASE
def test_a_key_database_that_does_not_protect_its_files_is_rejected(
    database_url: str, postgres: sqlalchemy.Engine, tmp_path: Path
) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, keys=database_url) as log:
        log.append([entry()])
        with change_postgresql(postgres, "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM RESET fsync"):
            with pytest.raises(StoreUnavailable, match="fsync = off"):
                log.probe()
            with pytest.raises(StoreUnavailable, match="fsync = off"):
                log.append([entry(customer=("DE", "another customer"))])


@NEW_DATABASE
@pytest.mark.parametrize("where", ["SYSTEM", "DATABASE", "ROLE"])
def test_a_commit_waits_for_the_disk_although_synchronous_commit_is_switched_off_while_the_server_runs(
    database_url: str, postgres: sqlalchemy.Engine, tmp_path: Path, where: str
) -> None:
    name = sqlalchemy.make_url(database_url).database
    target = {"SYSTEM": "SYSTEM", "DATABASE": f'DATABASE "{name}"', "ROLE": "ROLE postgres"}[where]
    switch = f"ALTER {target} SET synchronous_commit = off", f"ALTER {target} RESET synchronous_commit"
    with open_test_log(database_url, tmp_path) as log, change_postgresql(postgres, *switch):
        plain = sqlalchemy.create_engine(database_url)
        with plain.connect() as connection:
            weak = connection.exec_driver_sql("SHOW synchronous_commit").scalar()
        plain.dispose()
        with observe_commits(log.database, "SHOW synchronous_commit") as found:
            log.append([entry()])
            log.database.engine.dispose()  # the next connection is new, so PostgreSQL applies the new default to it
            log.append([entry()])

    assert weak == "off"
    assert found == ["on", "on"]


@NEW_DATABASE
def test_a_stronger_synchronous_commit_is_kept(database_url: str, postgres: sqlalchemy.Engine, tmp_path: Path) -> None:
    name = sqlalchemy.make_url(database_url).database
    stronger = f'ALTER DATABASE "{name}" SET synchronous_commit = remote_apply'
    weaker = f'ALTER DATABASE "{name}" RESET synchronous_commit'
    with (
        change_postgresql(postgres, stronger, weaker),
        open_test_log(database_url, tmp_path) as log,
        observe_commits(log.database, "SHOW synchronous_commit") as found,
    ):
        log.append([entry()])

    assert found == ["remote_apply"]


def _databases(log: RecordLog) -> dict[str, Database]:
    """Return the database of the records and the database of the keys, by kind."""
    return {"log": log.database, "keys": log.key_store.database}


def _set_pragma(database: Database, pragma: str) -> None:
    """Execute a pragma on the pooled connection that the next transaction uses."""
    connection = database.engine.raw_connection()
    with suppress(Exception):
        connection.driver_connection.execute(f"PRAGMA {pragma}")  # type: ignore[union-attr]
    connection.close()


@pytest.mark.parametrize("kind", ["log", "keys"])
def test_a_commit_to_sqlite_waits_for_the_disk_although_synchronous_was_switched_off(tmp_path: Path, kind: str) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        database = _databases(log)[kind]
        for value in ("OFF", "NORMAL"):
            _set_pragma(database, f"synchronous={value}")
            with observe_commits(database, "PRAGMA synchronous") as found:
                log.append([entry(customer=("DE", value))])

            assert found == [2]  # FULL


@pytest.mark.parametrize("kind", ["log", "keys"])
@pytest.mark.parametrize("mode", ["DELETE", "MEMORY", "OFF"])
def test_a_sqlite_file_whose_journal_mode_is_changed_while_the_server_runs_is_rejected(
    tmp_path: Path, kind: str, mode: str
) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry()])
        database = _databases(log)[kind]
        database.engine.dispose()  # SQLite changes the mode only while no other connection uses the file
        _set_pragma(database, "journal_mode=DELETE")
        _set_pragma(database, f"journal_mode={mode}")
        with pytest.raises(StoreUnavailable, match=f"journal_mode = {mode.lower()} instead of wal"):
            log.append([entry(customer=("DE", "a new customer"))])
        with pytest.raises(StoreUnavailable, match=f"journal_mode = {mode.lower()} instead of wal"):
            log.probe()
        database.engine.dispose()  # a new connection switches the file back to WAL
        (record,) = log.append([entry()])

    assert not isinstance(record, Exception)
