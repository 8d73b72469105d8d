"""Draws samples of decisions in the order of SHA-256(seed || decision_id).

Every decision of the population has to be read and hashed. A process of its own does it (server/stores/record_log/sample_worker.py), behind the
server's own work: the desk does not wait for the interpreter. One waits, its libraries read, for the next sample.
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

StratumKey = tuple[str, ...]  # what makes a stratum
Strata = dict[StratumKey, tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """What is drawn from.

    Attributes:
        condition: Which decisions are the population.
        tree_size: Only records before this place.
        keys: Columns whose values make a stratum.
        seed: What is hashed in front of each decision_id.
        size: Decisions to draw from each stratum.
    """

    condition: DecisionQuery
    tree_size: int
    keys: tuple[str, ...]
    seed: str
    size: int


@dataclass(frozen=True, slots=True)
class SampleTask:
    """What the process is told: a question, and the URL of the database."""

    url: str
    question: SampleQuery


SAMPLE_TASK = TypeAdapter(SampleTask)
DRAWN_STRATA = TypeAdapter(list[tuple[StratumKey, int, list[str]]])


class SampleDrawer:
    """Draws. Its methods may be called from any thread.

    Attributes:
        spare: A process that has read its libraries, which takes a second or two, and waits for a question.
    """

    def __init__(self, database: Database) -> None:
        self.url = database.engine.url.render_as_string(hide_password=False)
        self.lock = threading.Lock()
        self.closed = False
        self.standby: subprocess.Popen[bytes] | None = None

    def start_standby(self) -> None:
        """Have a process ready, unless nobody will ask any more."""
        with self.lock:
            if self.closed:
                return
            if self.standby is not None and self.standby.poll() is not None:
                self.standby.communicate()  # closes its pipes
                self.standby = None
            self.standby = self.standby or _spawn_worker()

    def close(self) -> None:
        """End the process that waits; it holds nothing."""
        with self.lock:
            self.closed = True
            if self.standby is not None:
                self.standby.kill()
                self.standby.communicate()
                self.standby = None

    def draw(self, question: SampleQuery) -> Strata:
        """Draw from every stratum.

        Returns:
            By stratum, in the order of its values: population and the ids that were drawn, smallest digest first.

        Raises:
            StoreUnavailable: The database does not answer; the process's own words may hold a password and are not repeated.
        """
        self.start_standby()
        with self.lock:
            process, self.standby = self.standby or _spawn_worker(), None
        answer, _ = process.communicate(SAMPLE_TASK.dump_json(SampleTask(self.url, question)))
        with contextlib.suppress(OSError):  # no more processes for now: what was drawn is given all the same
            self.start_standby()
        if process.returncode:
            raise StoreUnavailable("the sample could not be drawn; try again, then run: python -m server doctor")
        return {stratum: (population, names) for stratum, population, names in DRAWN_STRATA.validate_json(answer)}


def _spawn_worker() -> subprocess.Popen[bytes]:
    """Begin a process that draws once. Where the server dies before it asks, the process finds its input at an end, and ends."""
    command = [sys.executable, "-m", "server.stores.record_log.sample_worker"]
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    os.setpriority(
        os.PRIO_PROCESS, process.pid, WORKER_NICENESS
    )  # from here on: reading its libraries is most of its work
    return process
