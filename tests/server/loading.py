"""Loading as a test does it: the keys of the log lie beside the database."""

import datetime as dt
from pathlib import Path

from server import load
from server.load import Loaded
from server.stores.database import Database
from server.stores.loading import Keep
from server.stores.open_log import KeyPlaces
from tests.conftest import key_places

FOLDERS: dict[str, Path] = {}  # of each test's database that is no file


def keys_beside(database: Database) -> KeyPlaces:
    """Say where the keys of a test's database are."""
    url = database.engine.url
    assert url.database is not None
    is_file = url.get_backend_name() == "sqlite"
    return key_places(Path(url.database).parent if is_file else FOLDERS[url.database])


def load_file(database: Database, path: Path, load_time: dt.datetime, keep: Keep | None = None) -> Loaded:
    """Load a file as `python -m server load` does."""
    return load.load_file(database, path, load_time, keys_beside(database), keep)
