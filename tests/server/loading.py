"""Loads files for tests, in the test process or in a separate process that can be killed.

The keys of the log are in the same folder as the database.
"""

import datetime as dt
import multiprocessing
from multiprocessing.process import BaseProcess
from pathlib import Path

from server.config import read_settings
from server.load import files, runs
from server.load.files import LoadResult
from server.stores.database import Database
from server.stores.record_log.opening import KeyLocations
from server.stores.runs.pruning import RunRetention
from tests.conftest import key_places

KEEP = RunRetention.from_settings(read_settings())
STARTER = multiprocessing.get_context("forkserver")  # children of a fresh process have no threads of the test process
STARTER.set_forkserver_preload(["tests.server.loading"])
FOLDERS: dict[str, Path] = {}  # folder of the keys of each database that is not a file, by database name


def keys_beside(database: Database) -> KeyLocations:
    """Return the locations of the keys of a test's database."""
    url = database.engine.url
    assert url.database is not None
    is_file = url.get_backend_name() == "sqlite"
    return key_places(Path(url.database).parent if is_file else FOLDERS[url.database])


def load_file(database: Database, path: Path, load_time: dt.datetime, keep: RunRetention = KEEP) -> LoadResult:
    """Load a file in the same way as `python -m server load`."""
    return files.load_file(database, path, load_time, keys_beside(database), keep)


def load_little_by_little(url: str, path: Path, load_time: dt.datetime, keys: KeyLocations) -> None:
    """Load in many small transactions, so that a kill can hit the loader between two transactions or within one."""
    files.BATCH_ROWS = runs.BATCH_ROWS = 20
    database = Database(url)
    files.load_file(database, path, load_time, keys, KEEP)
    database.close()


def start_loading(url: str, path: Path, load_time: dt.datetime) -> BaseProcess:
    """Start loading a file in a separate process, and return the process."""
    database = Database(url)
    keys = keys_beside(database)
    database.close()
    process = STARTER.Process(target=load_little_by_little, args=(url, path, load_time, keys))
    process.start()
    return process
