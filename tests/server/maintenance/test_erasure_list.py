"""A customer who was erased does not return when both databases are restored from older copies."""

import datetime as dt
import resource
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import func, select

from grounds_record.note import VerifierKey
from server.config import Settings
from server.errors import LogRefused, RecordRemoved, StoreUnavailable
from server.maintenance.doctor import check_log
from server.maintenance.erasure import apply_listed_erasures, erase_customers, find_erasure_problems
from server.maintenance.forks import adopt_fork
from server.stores.clock import utc_now
from server.stores.database import Database
from server.stores.erasure_list import ErasureList, ListedErasure
from server.stores.record_log.erased_customers import read_erased_customers
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.log import RecordLog
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.tables import FEATURES
from tests.server.record_logs import NOW, entry, key_locations, open_test_log
from tests.server.servers import serve

C1, C2 = ("DE", "C1"), ("DE", "C2")
ERASURE = ListedErasure("019adf31-0000-7000-8000-000000000001", 1, "a" * 64, ("b" * 32, "c" * 32))


@pytest.fixture
def copy_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return a function that copies an idle database, as a backup does, and returns the URL of the copy."""

    def copy(url: str) -> str:
        if url.startswith("sqlite"):
            return f"sqlite:///{shutil.copy(url.removeprefix('sqlite:///'), tmp_path / 'backup.db')}"
        source = sqlalchemy.make_url(url)
        target = f"{source.database}_backup"
        engine: sqlalchemy.Engine = request.getfixturevalue("postgres")
        with engine.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{target}" TEMPLATE "{source.database}"')
        return source.set(database=target).render_as_string(hide_password=False)

    return copy


def erase(log: RecordLog, customer: tuple[str, str]) -> None:
    """Erase a customer as the command `erase` does."""
    assert len(list(erase_customers(log, [customer], "request 7", lambda: NOW, 7.0))) == 1


def feature_rows(database: Database, customer: tuple[str, str]) -> int:
    """Return the number of a customer's feature rows."""
    wanted = select(func.count()).where(FEATURES.c.market == customer[0], FEATURES.c.customer_id == customer[1])
    with database.reading() as connection:
        return connection.execute(wanted).scalar_one()


def test_after_a_restore_of_both_databases_the_customer_is_erased_again(
    database_url: str, tmp_path: Path, copy_database: Callable[[str], str]
) -> None:
    ids = {}
    with open_test_log(database_url, tmp_path) as log:
        for customer in (C1, C2):
            ids[customer] = (decision := entry(customer=customer)).record_id
            log.append([decision])
            row = {"market": customer[0], "customer_id": customer[1], "feature_set_digest": "d" * 64, "row": b""}
            with log.database.writing() as connection:
                connection.execute(FEATURES.insert().values(as_of=NOW - dt.timedelta(days=1), **row))
    backup, keys = copy_database(database_url), tmp_path / "keys.db"
    shutil.copy(keys, tmp_path / "keys.backup")
    with open_test_log(database_url, tmp_path) as log:
        erase(log, C1)
    shutil.copy(tmp_path / "keys.backup", keys)

    with open_test_log(backup, tmp_path) as log:
        returned = log.find_by_id(ids[C1])
        problems, _ = find_erasure_problems(log)
        with pytest.raises(LogRefused, match=r"1 erasures of the erasure list .* run adopt-fork"):
            apply_listed_erasures(log, lambda: NOW)
        adopt_fork(log, "restored the backup", NOW)
        applied = apply_listed_erasures(log, lambda: NOW)

        assert returned is not None
        assert ["the record log lost it" in problem for problem in problems] == [True]
        assert applied == 1
        with pytest.raises(RecordRemoved):
            log.find_by_id(ids[C1])
        assert log.find_by_id(ids[C2]) is not None
        assert (feature_rows(log.database, C1), feature_rows(log.database, C2)) == (0, 1)
        assert find_erasure_problems(log)[0] == []
        assert check_log(log.database, log.verifier, None)[0]
        assert apply_listed_erasures(log, lambda: NOW) == 0


def test_after_a_restore_of_the_key_database_alone_the_keys_of_erased_customers_are_destroyed_again(
    database_url: str, tmp_path: Path
) -> None:
    ids = {}
    with open_test_log(database_url, tmp_path) as log:
        for customer in (C1, C2):
            ids[customer] = (decision := entry(customer=customer)).record_id
            log.append([decision])
    shutil.copy(tmp_path / "keys.db", tmp_path / "keys.backup")
    with open_test_log(database_url, tmp_path) as log:
        erase(log, C1)
    shutil.copy(tmp_path / "keys.backup", tmp_path / "keys.db")

    with open_test_log(database_url, tmp_path) as log:
        assert log.find_by_id(ids[C1]) is not None, "the restored key decrypts the record again"
        assert apply_listed_erasures(log, lambda: NOW) == 1
        with pytest.raises(RecordRemoved):
            log.find_by_id(ids[C1])
        log.append([later := entry(customer=C1)])
        assert log.find_by_id(later.record_id) is not None
        assert log.find_by_id(ids[C2]) is not None
        assert find_erasure_problems(log)[0] == []
        assert apply_listed_erasures(log, lambda: NOW) == 0
        assert log.find_by_id(later.record_id) is not None


def test_the_list_contains_no_customer_number_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry(customer=("DE", "WHOLESALE-4711"))])
        erase(log, ("DE", "WHOLESALE-4711"))
        tag = log.customer_tag("DE", "WHOLESALE-4711")

    content = (tmp_path / "signing.erased").read_text()
    assert "4711" not in content
    assert tag in content
    assert stat.S_IMODE((tmp_path / "signing.erased").stat().st_mode) == 0o600


def test_a_file_does_not_load_a_customer_whose_erasure_only_the_list_contains(tmp_path: Path) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        tag = log.customer_tag(*C1)
        log.key_store.erasure_list.add([ListedErasure(ERASURE.record_id, 10**15, tag, ())])
        erased = read_erased_customers(log.database, key_locations(tmp_path))

    assert erased.covers(*C1, dt.datetime(2001, 1, 1, tzinfo=dt.UTC))
    assert not erased.covers(*C2, dt.datetime(2001, 1, 1, tzinfo=dt.UTC))


def test_an_erasure_that_an_earlier_release_recorded_is_added_to_the_list(tmp_path: Path) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry(customer=C1)])
        erase(log, C1)
        listed = log.key_store.erasure_list.read()
        log.key_store.erasure_list.path.unlink()

        assert apply_listed_erasures(log, lambda: NOW) == 0
        assert log.key_store.erasure_list.read() == listed != []


async def test_a_server_erases_the_listed_customers_before_it_answers(small_settings: Settings) -> None:
    locations, path = KeyLocations.from_settings(small_settings), small_settings.database.removeprefix("sqlite:///")
    database = Database(small_settings.database)
    log = open_log(database, locations)
    with database.reading() as connection:
        market, number = connection.execute(select(FEATURES.c.market, FEATURES.c.customer_id).limit(1)).one()
    log.close()
    database.close()
    shutil.copy(path, f"{path}.backup")
    database = Database(small_settings.database)
    log = open_log(database, locations)
    erase(log, (market, number))
    log.close()
    database.close()
    shutil.copy(f"{path}.backup", path)
    locations.high_water_mark().path.unlink()  # without this file, the server cannot know that the database is older

    async with serve(small_settings) as serving:
        assert feature_rows(serving.application.database, (market, number)) == 0
    assert utc_now() > NOW


def test_an_interrupted_append_is_overwritten_and_a_damaged_line_is_refused(tmp_path: Path) -> None:
    listed = ErasureList(tmp_path / "x.erased")
    listed.add([ERASURE])
    with listed.path.open("a") as file:
        file.write("019adf31-0000-7000-8000-000000000002 1 aaa")

    assert listed.read() == [ERASURE]
    listed.add([ListedErasure("019adf31-0000-7000-8000-000000000003", 2, "e" * 64, ())])
    assert len(listed.read()) == 2
    listed.path.write_text(listed.path.read_text().replace("a" * 64, "z" * 64))
    with pytest.raises(LogRefused, match="line 1 is damaged"):
        listed.read()


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Return a function that limits the size of files. As on a full disk, a write of more bytes is cut off."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_an_erasure_that_does_not_fit_on_the_disk_is_an_error_and_not_half_a_line(
    tmp_path: Path, small_disk: Callable[[int], None]
) -> None:
    listed = ErasureList(tmp_path / "x.erased")
    listed.add([ERASURE])
    small_disk(listed.path.stat().st_size + 50)

    with pytest.raises(StoreUnavailable, match="free its disk"):
        listed.add([ListedErasure("019adf31-0000-7000-8000-000000000003", 2, "e" * 64, ())])

    assert listed.read() == [ERASURE]


def test_a_high_water_mark_that_does_not_fit_on_the_disk_is_an_error(
    tmp_path: Path, small_disk: Callable[[int], None]
) -> None:
    mark, key = HighWaterMark(tmp_path / "x.mark"), VerifierKey("example.com/log", bytes(32))
    small_disk(60)

    with pytest.raises(StoreUnavailable, match="high-water mark"):
        mark.advance(1, "a checkpoint", key, lambda: key)
