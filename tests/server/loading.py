"""Loading as a test does it: the keys of the log lie beside the database."""

import datetime as dt
from pathlib import Path
from tempfile import TemporaryDirectory

from server import load
from server.load import Loaded
from server.stores.database import Database
from server.stores.loading import Keep
from server.stores.open_log import KeyPlaces
from tests.conftest import key_places

OF_POSTGRESQL = TemporaryDirectory()  # a folder for each database that is no file


def keys_beside(database: Database) -> KeyPlaces:
    """Say where the keys of a test's database are."""
    url = database.engine.url
    assert url.database is not None
    if url.get_backend_name() == "sqlite":
        return key_places(Path(url.database).parent)
    folder = Path(OF_POSTGRESQL.name) / url.database
    folder.mkdir(exist_ok=True)
    return key_places(folder)


def load_file(database: Database, path: Path, load_time: dt.datetime, keep: Keep | None = None) -> Loaded:
    """Load a file as `python -m server load` does."""
    return load.load_file(database, path, load_time, keys_beside(database), keep)
