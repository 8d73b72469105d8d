"""A loader as a process of its own that starts at once, for tests that kill it."""

import datetime as dt
import multiprocessing
from multiprocessing.process import BaseProcess
from pathlib import Path

from server import load_run
from server.load import load_file
from server.stores.database import Database
from server.stores.open_log import KeyPlaces
from tests.server.loading import keys_beside

STARTER = multiprocessing.get_context("forkserver")  # a child of a fresh process: no thread of the test is in it
STARTER.set_forkserver_preload(["tests.server.loader"])


def load(url: str, path: Path, load_time: dt.datetime, keys: KeyPlaces) -> None:
    """Load in small transactions, so that a kill finds the loader between and within many of them."""
    load_run.BATCH_ROWS = 20
    database = Database(url)
    load_file(database, path, load_time, keys)
    database.close()


def started(url: str, path: Path, load_time: dt.datetime) -> BaseProcess:
    """Start to load."""
    database = Database(url)
    keys = keys_beside(database)
    database.close()
    process = STARTER.Process(target=load, args=(url, path, load_time, keys))
    process.start()
    return process
