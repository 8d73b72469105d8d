"""Draws samples in a worker process: from each stratum the decisions with the smallest SHA-256(seed || decision_id).

The worker (server/stores/record_log/sample_worker.py) reads and hashes every decision of the population. It is a
separate process with a low priority, so that it does not delay the server. A standby worker, which has already loaded
its libraries, waits for the next sample.
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

_DRAW_SECONDS_MAX = 60.0  # five million decisions take two seconds
StratumKey = tuple[str, ...]  # the values of the key columns, which are equal for all decisions of a stratum
Strata = dict[StratumKey, tuple[int, list[str]]]  # for each stratum, its population and the drawn decision ids


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """The specification of a sample.

    Attributes:
        decisions: Query that selects the population.
        tree_size: Size of the tree. Records with this or a larger index are not part of the population.
        keys: Columns of RECORDS that define the strata. Without columns, there is one stratum.
        seed: Prefix of each decision id before hashing.
        size: Number of decisions to draw from each stratum.
    """

    decisions: DecisionQuery
    tree_size: int
    keys: tuple[str, ...]
    seed: str
    size: int


@dataclass(frozen=True, slots=True)
class SampleTask:
    """The input of the worker process: the SQLAlchemy URL of the database, and the sample to draw."""

    url: str
    query: SampleQuery


SAMPLE_TASK = TypeAdapter(SampleTask)
DRAWN_STRATA = TypeAdapter(list[tuple[StratumKey, int, list[str]]])  # the output of the worker process


class SampleDrawer:
    """Draws samples. Its methods may be called from any thread.

    Attributes:
        standby: The standby worker; None if there is none. Starting a worker takes one to two seconds.
    """

    def __init__(self, database: Database) -> None:
        self._url = database.engine.url.render_as_string(hide_password=False)
        self._lock = threading.Lock()
        self._closed = False
        self._drawing: set[subprocess.Popen[bytes]] = set()
        self.standby: subprocess.Popen[bytes] | None = None

    def start_standby(self) -> None:
        """Start a standby worker, unless there is one or the drawer is closed."""
        with self._lock:
            if self._closed:
                return
            if self.standby is not None and self.standby.poll() is not None:  # the worker was killed
                self.standby.communicate()  # closes the pipes
                self.standby = None
            self.standby = self.standby or _spawn_worker()

    def close(self) -> None:
        """Kill all workers. Killing them is safe, because they have no state."""
        with self._lock:
            self._closed = True
            for process in self._drawing:
                process.kill()
            if self.standby is not None:
                self.standby.kill()
                self.standby.communicate()
                self.standby = None

    def draw(self, query: SampleQuery) -> Strata:
        """Draw a sample from every stratum.

        Returns:
            The population and the drawn decision ids of each stratum, sorted by stratum. The ids are sorted by digest.

        Raises:
            StoreUnavailable: The worker failed, or took longer than a minute. The error omits the worker's output,
                which may contain a password.
        """
        self.start_standby()
        # A worker draws only one sample. The lock prevents two callers from using the same worker.
        with self._lock:
            process, self.standby = self.standby or _spawn_worker(), None
            self._drawing.add(process)
        answer = self._communicate(process, SAMPLE_TASK.dump_json(SampleTask(self._url, query)))
        with contextlib.suppress(OSError):  # return the sample even if the next worker cannot be started
            self.start_standby()
        if process.returncode:
            raise StoreUnavailable(
                "the sample could not be drawn; retry; if the problem persists, run: python -m server doctor"
            )
        return {stratum: (population, ids) for stratum, population, ids in DRAWN_STRATA.validate_json(answer)}

    def _communicate(self, process: subprocess.Popen[bytes], task: bytes) -> bytes:
        """Return the answer of a worker. If the worker exceeds the time limit, kill it."""
        try:
            return process.communicate(task, _DRAW_SECONDS_MAX)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0]
        finally:
            with self._lock:
                self._drawing.discard(process)


def _spawn_worker() -> subprocess.Popen[bytes]:
    """Start a process that draws one sample. It exits when its input ends, and so also if the server is killed."""
    command = [sys.executable, "-m", "server.stores.record_log.sample_worker"]
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    # Lower the priority immediately, because loading libraries is most of the work for a small sample.
    os.setpriority(os.PRIO_PROCESS, process.pid, WORKER_NICENESS)
    return process
