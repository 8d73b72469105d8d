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
from server.stores.record_log.decision_index import Condition
from server.stores.record_log.header_chunks import BEHIND

Keys = tuple[str, ...]  # what makes a stratum
Strata = dict[Keys, tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class Question:
    """What is drawn from.

    Attributes:
        condition: Which decisions are the population.
        tree_size: Only records before this place.
        keys: Columns whose values make a stratum.
        seed: What is hashed in front of each decision_id.
        size: Decisions to draw from each stratum.
    """

    condition: Condition
    tree_size: int
    keys: tuple[str, ...]
    seed: str
    size: int


@dataclass(frozen=True, slots=True)
class Order:
    """What the process is told: a question, and the URL of the database."""

    url: str
    question: Question


ORDER = TypeAdapter(Order)
DRAWN = TypeAdapter(list[tuple[Keys, int, list[str]]])


class Samples:
    """Draws. Its methods may be called from any thread.

    Attributes:
        spare: A process that has read its libraries, which takes a second or two, and waits for a question.
    """

    def __init__(self, database: Database) -> None:
        self.url = database.engine.url.render_as_string(hide_password=False)
        self.lock = threading.Lock()
        self.closed = False
        self.spare: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Have a process ready, unless nobody will ask any more."""
        with self.lock:
            if self.closed:
                return
            if self.spare is not None and self.spare.poll() is not None:
                self.spare.communicate()  # closes its pipes
                self.spare = None
            self.spare = self.spare or begun()

    def close(self) -> None:
        """End the process that waits; it holds nothing."""
        with self.lock:
            self.closed = True
            if self.spare is not None:
                self.spare.kill()
                self.spare.communicate()
                self.spare = None

    def draw(self, question: Question) -> Strata:
        """Draw from every stratum.

        Returns:
            By stratum, in the order of its values: population and the ids that were drawn, smallest digest first.

        Raises:
            StoreUnavailable: The database does not answer; the process's own words may hold a password and are not repeated.
        """
        self.prepare()
        with self.lock:
            process, self.spare = self.spare or begun(), None
        answer, _ = process.communicate(ORDER.dump_json(Order(self.url, question)))
        with contextlib.suppress(OSError):  # no more processes for now: what was drawn is given all the same
            self.prepare()
        if process.returncode:
            raise StoreUnavailable("the sample could not be drawn; try again, then run: python -m server doctor")
        return {stratum: (population, names) for stratum, population, names in DRAWN.validate_json(answer)}


def begun() -> subprocess.Popen[bytes]:
    """Begin a process that draws once. Where the server dies before it asks, the process finds its input at an end, and ends."""
    command = [sys.executable, "-m", "server.stores.record_log.sample_worker"]
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, BEHIND)  # from here on: reading its libraries is most of its work
    return process
