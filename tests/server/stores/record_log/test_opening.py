"""A record log opens only with its own keys. The first start creates the keys once, in files with mode 0600."""

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import delete

from server.errors import LogRefused
from server.stores.database import Database
from server.stores.key_tables import WRAPPED_KEYS
from server.stores.record_log.entries import Record
from server.stores.record_log.key_store import LOG_OWNER, TAGS_OWNER
from server.stores.tables import LOG_HEAD
from tests.server.record_logs import entry, newest_checkpoint, open_test_log


def test_the_first_start_creates_private_keys_and_the_second_uses_them(database_url: str, tmp_path: Path) -> None:
    with open_test_log(database_url, tmp_path) as log:
        first = log.verifier
        log.append([entry()])
    with open_test_log(database_url, tmp_path) as log:
        assert log.verifier == first
        assert newest_checkpoint(log).size == 1

    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("keys.db", "master.key", "signing.key")}
    assert set(modes.values()) == {0o600}, modes


def test_servers_that_start_together_on_an_empty_database_share_one_log(database_url: str, tmp_path: Path) -> None:
    def start(_number: int) -> tuple[str, object]:
        with open_test_log(database_url, tmp_path) as log:
            return log.verifier.text(), log.append([entry()])[0]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(start, range(3)))

    assert len({key for key, _ in found}) == 1
    assert sorted(outcome.index for _, outcome in found if isinstance(outcome, Record)) == [0, 1, 2]


def test_keys_that_sealed_records_of_another_log_are_refused_for_a_new_one(tmp_path: Path) -> None:
    """If the keys were accepted, a mistyped database URL would create a second log with the same name and keys."""
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry()])

    with (
        pytest.raises(LogRefused, match="belongs to another record log; check `database`"),
        open_test_log(f"sqlite:///{tmp_path / 'typo.db'}", tmp_path),
    ):
        pass

    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        assert newest_checkpoint(log).size == 1


def test_a_start_reuses_keys_that_a_killed_start_created(tmp_path: Path) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path):
        pass

    with open_test_log(f"sqlite:///{tmp_path / 'again.db'}", tmp_path) as log:
        assert newest_checkpoint(log).size == 0


def test_connections_that_open_a_new_sqlite_file_together_all_succeed(tmp_path: Path) -> None:
    """Three connections at a time switch a new file to write-ahead logging. Without retries, SQLite rejects 7 % of them."""
    together = threading.Barrier(3)

    def read(name: str) -> str:
        database = Database(f"sqlite:///{tmp_path / name}")
        together.wait()
        with closing(database), database.reading() as connection:
            return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())

    with ThreadPoolExecutor(3) as pool:
        modes = list(pool.map(read, [f"{number // 3}.db" for number in range(300)]))

    assert modes == ["wal"] * 300


def start_again(url: str, folder: Path, **changes: object) -> str:
    """Open a log with settings for which it must be refused; return the message of the error."""
    with pytest.raises(LogRefused) as caught, open_test_log(url, folder, **changes):
        pass
    return str(caught.value)


@pytest.mark.parametrize("name", ["signing.key", "master.key"])
def test_a_missing_key_file_is_not_created_again(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with open_test_log(url, tmp_path):
        pass
    (tmp_path / name).unlink()

    message = start_again(url, tmp_path)

    assert str(tmp_path / name) in message
    assert "restore" in message
    assert not (tmp_path / name).exists()


def test_each_key_of_another_log_is_refused_by_name(tmp_path: Path) -> None:
    url, other = f"sqlite:///{tmp_path / 'log.db'}", tmp_path / "other"
    other.mkdir()
    with open_test_log(url, tmp_path), open_test_log(f"sqlite:///{other / 'log.db'}", other):
        pass

    assert "belongs to a different log" in start_again(url, tmp_path, signing_key=other / "signing.key")
    assert "master_key" in start_again(url, tmp_path, master_key=other / "master.key")
    assert "keys: is a database without the keys of this log" in start_again(
        url, tmp_path, keys=f"sqlite:///{other / 'keys.db'}"
    )
    assert "of the log 'example.com/log'" in start_again(url, tmp_path, origin="example.com/another")


def test_an_empty_key_store_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with open_test_log(url, tmp_path) as log, log.key_store.database.writing() as connection:
        connection.execute(delete(WRAPPED_KEYS))

    assert "keys: is a database without the keys of this log" in start_again(url, tmp_path)


@pytest.mark.parametrize("owner", [LOG_OWNER, TAGS_OWNER])
def test_a_key_store_without_a_key_of_the_log_itself_is_refused_and_creates_none(tmp_path: Path, owner: str) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with open_test_log(url, tmp_path) as log:
        log.append([entry(customer=None)])
        with log.key_store.database.writing() as connection:
            connection.execute(delete(WRAPPED_KEYS).where(WRAPPED_KEYS.c.owner == owner))

    assert "keys: is a database without the keys of this log" in start_again(url, tmp_path)
    assert "keys: is a database without the keys of this log" in start_again(url, tmp_path)


def test_keys_readable_by_others_in_memory_or_in_the_logs_database_are_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"

    assert "must be in a separate database" in start_again(url, tmp_path, keys=url)
    assert "in memory" in start_again(url, tmp_path, keys="sqlite://")
    assert "URL" in start_again(url, tmp_path, keys="keys.db")
    assert "cannot be created" in start_again(url, tmp_path, keys=f"sqlite:///{tmp_path}/nowhere/keys.db")
    with open_test_log(url, tmp_path):
        pass
    for name in ("keys.db", "signing.key", "master.key"):
        (tmp_path / name).chmod(0o640)
        assert "0640" in start_again(url, tmp_path)
        (tmp_path / name).chmod(0o600)


def test_a_postgresql_without_synchronous_commit_is_refused(postgres: sqlalchemy.Engine, tmp_path: Path) -> None:
    with postgres.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE careless")
        connection.exec_driver_sql("ALTER DATABASE careless SET synchronous_commit = off")
    url = postgres.url.set(database="careless").render_as_string(hide_password=False)

    assert "synchronous_commit" in start_again(url, tmp_path)


def test_a_database_with_records_but_no_head_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with open_test_log(url, tmp_path) as log:
        log.append([entry()])
        with log.database.writing() as connection:
            connection.execute(delete(LOG_HEAD))

    assert "restore it from its backup" in start_again(url, tmp_path)


def test_a_given_signing_key_is_used(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    with open_test_log(f"sqlite:///{given / 'log.db'}", given) as log:
        verifier = log.verifier

    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, signing_key=given / "signing.key") as log:
        assert log.verifier == verifier


def test_a_destroyed_key_is_overwritten_in_the_key_database(tmp_path: Path) -> None:
    url, keys = f"sqlite:///{tmp_path / 'log.db'}", tmp_path / "keys.db"
    with open_test_log(url, tmp_path) as log:
        log.append([entry(customer=("DE", f"C{number}")) for number in range(50)])
        with log.key_store.database.reading() as connection:
            wrapped = [bytes(row.wrapped) for row in connection.execute(sqlalchemy.select(WRAPPED_KEYS))]
        with log.key_store.database.writing() as connection:
            connection.execute(delete(WRAPPED_KEYS).where(WRAPPED_KEYS.c.owner.not_like("log/%")))
        with log.key_store.database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        content = b"".join(path.read_bytes() for path in (keys, Path(f"{keys}-wal")) if path.exists())

    assert sum(each in content for each in wrapped) == 2


def test_key_migrations_create_exactly_the_declared_table(database_url: str, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from server.stores.key_tables import METADATA
    from server.stores.record_log.key_store import open_key_database

    log = Database(f"sqlite:///{tmp_path / 'log.db'}")
    url = f"sqlite:///{tmp_path / 'keys.db'}" if database_url.startswith("sqlite") else database_url
    keys = open_key_database(url, log.engine.url.render_as_string(hide_password=False))
    with keys.reading() as connection:
        differences = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA)
    keys.close()
    log.close()

    assert differences == []
