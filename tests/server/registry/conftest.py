"""Fixtures of the tests about what serves: a record log, and a catalog of bundles."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.stores.record_log.log import RecordLog
from tests.server.record_logs import open_test_log
from tests.small import SmallFamily


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Open an empty record log on a database of each kind."""
    with open_test_log(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def bundles(small: SmallFamily, tmp_path: Path) -> Path:
    """Return a copy of the catalog of the small family."""
    return shutil.copytree(small.bundles, tmp_path / "catalog")
