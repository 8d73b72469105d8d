"""Draws samples of decisions in the order of SHA-256(seed || decision_id).

Every decision of the population has to be read and hashed. A process of its own does it (server/stores/draw.py), behind the
server's own work: the desk does not wait for the interpreter.
"""

import subprocess
import sys
from dataclasses import dataclass

from pydantic import TypeAdapter

from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.decisions import Condition

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
    """Draws. Its methods may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self.url = database.engine.url.render_as_string(hide_password=False)

    def draw(self, question: Question) -> Strata:
        """Draw from every stratum.

        Returns:
            By stratum, in the order of its values: population and the ids that were drawn, smallest digest first.

        Raises:
            StoreUnavailable: The database does not answer; the process's own words may hold a password and are not repeated.
        """
        told = ORDER.dump_json(Order(self.url, question))
        command = [sys.executable, "-m", "server.stores.draw"]
        done = subprocess.run(command, input=told, capture_output=True, check=False)  # noqa: S603
        if done.returncode:
            raise StoreUnavailable("the sample could not be drawn; try again, then run: python -m server doctor")
        return {stratum: (population, names) for stratum, population, names in DRAWN.validate_json(done.stdout)}
