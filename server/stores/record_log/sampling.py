"""Draws samples of decisions, ordered by SHA-256(seed || decision_id), in a worker process.

Every decision of the population is read and hashed. The worker (server/stores/record_log/sample_worker.py) does it at low
priority, so that decisions do not wait for the interpreter. One standby worker has its libraries loaded and waits for the
next sample.
"""

import contextlib
import os
import subprocess
import sys
import threading
from dataclasses import dataclass

from pydantic import TypeAdapter

from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.record_log.decision_index import DecisionQuery
from server.stores.record_log.header_index import WORKER_NICENESS

StratumKey = tuple[str, ...]  # the values that its decisions have in common
Strata = dict[StratumKey, tuple[int, list[str]]]  # population and sampled decision ids


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """A sample to draw.

    Attributes:
        decisions: The population.
        tree_size: Only records before this index.
        keys: Columns of RECORDS whose values make a stratum; none for one stratum.
        seed: Hashed before each decision id.
        size: Decisions to draw from each stratum.
    """

    decisions: DecisionQuery
    tree_size: int
    keys: tuple[str, ...]
    seed: str
    size: int


@dataclass(frozen=True, slots=True)
class SampleTask:
    """What the worker process reads on standard input: the URL of the database, and the sample to draw."""

    url: str
    query: SampleQuery


SAMPLE_TASK = TypeAdapter(SampleTask)
DRAWN_STRATA = TypeAdapter(list[tuple[StratumKey, int, list[str]]])  # what it writes to standard output


class SampleDrawer:
    """Draws samples. Its methods may be called from any thread.

    Attributes:
        standby: A worker process with its libraries loaded, which takes a second or two; None if there is none.
    """

    def __init__(self, database: Database) -> None:
        self._url = database.engine.url.render_as_string(hide_password=False)
        self._lock = threading.Lock()
        self._closed = False
        self.standby: subprocess.Popen[bytes] | None = None

    def start_standby(self) -> None:
        """Start a standby worker unless there is one or this is closed."""
        with self._lock:
            if self._closed:
                return
            if self.standby is not None and self.standby.poll() is not None:  # it was killed
                self.standby.communicate()  # closes its pipes
                self.standby = None
            self.standby = self.standby or _spawn_worker()

    def close(self) -> None:
        """Kill the standby worker; it has no state."""
        with self._lock:
            self._closed = True
            if self.standby is not None:
                self.standby.kill()
                self.standby.communicate()
                self.standby = None

    def draw(self, query: SampleQuery) -> Strata:
        """Draw a sample from every stratum.

        Returns:
            By stratum, in the order of its values: the population, and the ids drawn, the smallest digest first.

        Raises:
            StoreUnavailable: The worker failed; its output may contain a password and is not repeated.
        """
        self.start_standby()
        # A worker draws once. Taking it under the lock leaves the next caller one of its own.
        with self._lock:
            process, self.standby = self.standby or _spawn_worker(), None
        answer, _ = process.communicate(SAMPLE_TASK.dump_json(SampleTask(self._url, query)))
        with contextlib.suppress(OSError):  # the sample is returned even if no further process can be started
            self.start_standby()
        if process.returncode:
            raise StoreUnavailable("the sample could not be drawn; try again, then run: python -m server doctor")
        return {stratum: (population, ids) for stratum, population, ids in DRAWN_STRATA.validate_json(answer)}


def _spawn_worker() -> subprocess.Popen[bytes]:
    """Start a process that draws one sample; it ends by itself at the end of its input, also if the server dies."""
    command = [sys.executable, "-m", "server.stores.record_log.sample_worker"]
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    # At once, because loading libraries is most of the work of a small sample.
    os.setpriority(os.PRIO_PROCESS, process.pid, WORKER_NICENESS)
    return process
