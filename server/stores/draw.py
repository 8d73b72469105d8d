"""Draws from a part of the log: `python -m server.stores.draw` does it in a process of its own, for samples of large logs.

The question comes as JSON on standard input, so that no password stands in the list of processes; the answer goes to
standard output.
"""

import hashlib
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import repeat

from pydantic import TypeAdapter
from sqlalchemy import Connection, func, select

from server.stores.database import Database
from server.stores.decisions import Condition
from server.stores.tables import RECORDS

LINE = "\n"  # in no UUID
ALL_DIGESTS = b"\xff" * 33  # above every digest
SPARE = 100  # drawn beyond what is wanted before the list is cut: cutting costs
BEHIND = 10  # how much less urgent than the server's own work
Keys = tuple[str, ...]  # what makes a stratum
Drawn = tuple[bytes, bytes]  # digest, decision_id


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
class Part:
    """A question to the decisions of some times: [start, end) each, in microseconds since 1970."""

    url: str
    question: Question
    slices: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Draw:
    """A draw under way.

    Attributes:
        populations: Decisions of each stratum.
        drawn: What may be among the first of each stratum, in no order.
        bounds: A digest that is not below its stratum's is not among the first.
    """

    question: Question
    populations: Counter[Keys] = field(default_factory=Counter)
    drawn: dict[Keys, list[Drawn]] = field(default_factory=lambda: defaultdict(list))
    bounds: dict[Keys, bytes] = field(default_factory=lambda: defaultdict(lambda: ALL_DIGESTS))

    def take(self, names: Sequence[bytes], strata: Sequence[Keys]) -> None:
        """Hash some decisions, each with its stratum, and keep those that may be among the first."""
        self.populations.update(strata)
        copy, bounds = hashlib.sha256(self.question.seed.encode()).copy, self.bounds
        for name, stratum in zip(names, strata, strict=True):
            digest = copy()
            digest.update(name)
            found = digest.digest()
            if found < bounds[stratum]:
                self.keep(stratum, [(found, name)])

    def keep(self, stratum: Keys, found: Sequence[Drawn]) -> None:
        """Keep some that may be among the first; now and then leave out those that no longer are."""
        drawn, size = self.drawn[stratum], self.question.size
        drawn.extend(found)
        if len(drawn) >= 2 * size + SPARE:
            self.drawn[stratum] = first = nsmallest(size, drawn)
            self.bounds[stratum] = first[-1][0]

    def first(self, stratum: Keys) -> list[Drawn]:
        """Give what was drawn of a stratum, smallest digest first."""
        return nsmallest(self.question.size, self.drawn[stratum])


def drawn_from(connection: Connection, question: Question, slices: Sequence[tuple[int, int]]) -> Draw:
    """Draw from the decisions of some times."""
    draw = Draw(question)
    for names, strata in chunks(connection, question, slices):
        draw.take(names, strata)
    return draw


def chunks(
    connection: Connection, question: Question, slices: Sequence[tuple[int, int]]
) -> Iterator[tuple[list[bytes], list[Keys]]]:
    """Give the population slice by slice: decision_ids, and the stratum of each.

    The database puts a slice together as one text a column: 0.85 microseconds a record with two columns of strata on SQLite, against
    1.4 as rows, and 1.4 as texts that it has to group too.
    """
    # Aggregates of one scan take its rows in one order, so the lines of all texts belong together.
    columns = [RECORDS.c.record_id, *(func.coalesce(RECORDS.c[key], "") for key in question.keys)]
    population = (*question.condition.clauses(), RECORDS.c.record_index < question.tree_size)
    wanted = select(*(func.aggregate_strings(column, LINE) for column in columns)).where(*population)
    for start, end in slices:
        between = (RECORDS.c.time_us >= start, RECORDS.c.time_us < end)
        names, *values = connection.execute(wanted.where(*between)).one()
        if names is not None:
            found = names.encode().split(LINE.encode())
            strata = zip(*(text.split(LINE) for text in values), strict=True) if values else repeat((), len(found))
            yield found, list(strata)


def main() -> None:
    """Answer one question."""
    os.nice(BEHIND)
    part = TypeAdapter(Part).validate_json(sys.stdin.buffer.read())
    database = Database(part.url)
    with database.reading() as connection:
        draw = drawn_from(connection, part.question, part.slices)
    database.close()
    strata = [
        (stratum, count, [(digest.hex(), name.decode()) for digest, name in draw.first(stratum)])
        for stratum, count in draw.populations.items()
    ]
    json.dump(strata, sys.stdout)


if __name__ == "__main__":
    main()
