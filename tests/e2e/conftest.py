"""Configuration files for server processes that serve the small family, with one file for each kind of database."""

from pathlib import Path

import pytest

from server.config import Settings
from server.stores.database import Database
from tests.conftest import LOAD_TIME
from tests.e2e.processes import write_config
from tests.server.conftest import churn_family, database_url, other, postgres
from tests.server.loading import load_file
from tests.small import SmallFamily

__all__ = ["churn_family", "database_url", "other", "postgres"]


@pytest.fixture
def config(database_url: str, small: SmallFamily, small_settings: Settings, tmp_path: Path) -> Path:
    """Load the features of the small family into a database, and write the configuration of a server on this database."""
    database = Database(database_url)
    database.migrate()
    load_file(database, small.features, LOAD_TIME)
    database.close()
    names = ("bundles", "policy", "keys", "master_key", "signing_key")
    settings = {name: getattr(small_settings, name) for name in names}
    return write_config(tmp_path / "config.toml", {**settings, "database": database_url, "port": 0})
