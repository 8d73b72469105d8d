"""A loader as a process of its own that starts at once, for tests that kill it."""

import datetime as dt
import multiprocessing
from multiprocessing.process import BaseProcess
from pathlib import Path

from server import load_run
from server.load import load_file
from server.stores.database import Database

STARTER = multiprocessing.get_context("forkserver")  # a child of a fresh process: no thread of the test is in it
STARTER.set_forkserver_preload(["tests.server.loader"])


def load(url: str, path: Path, load_time: dt.datetime) -> None:
    """Load in small transactions, so that a kill finds the loader between and within many of them."""
    load_run.BATCH_ROWS = 20
    database = Database(url)
    load_file(database, path, load_time)
    database.close()


def started(url: str, path: Path, load_time: dt.datetime) -> BaseProcess:
    """Start to load."""
    process = STARTER.Process(target=load, args=(url, path, load_time))
    process.start()
    return process
