"""Draws from a part of the log: `python -m server.stores.draw` does it in a process of its own, for samples of large logs.

The question comes as JSON on standard input, so that no password stands in the list of processes; the answer goes to
standard output.
"""

import hashlib
import json
import os
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import islice

from pydantic import TypeAdapter
from sqlalchemy import func, select

from server.stores.database import Database
from server.stores.decisions import Condition
from server.stores.tables import RECORDS

LINE = "\n"  # in no UUID
ALL_DIGESTS = b"\xff" * 33  # above every digest
SPARE = 100  # drawn beyond what is wanted before the list is cut: cutting costs
BEHIND = 10  # how much less urgent than the server's own work
READERS = 4  # of one process
Keys = tuple[str, ...]  # what makes a stratum
Slice = tuple[int, int]  # [start, end), microseconds since 1970
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
    slices: tuple[Slice, ...]


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


def drawn_from(database: Database, question: Question, slices: Sequence[Slice]) -> Draw:
    """Draw from the decisions of some times. While some slices wait for the disk, another one is hashed."""
    draw, left = Draw(question), iter(slices)
    with ThreadPoolExecutor(READERS, thread_name_prefix="slice") as reading:
        ahead = deque(reading.submit(read, database, question, each) for each in islice(left, READERS))
        while ahead:
            found = ahead.popleft().result()
            ahead.extend(reading.submit(read, database, question, each) for each in islice(left, 1))
            draw.take(*found)
    return draw


def read(database: Database, question: Question, between: Slice) -> tuple[list[bytes], list[Keys]]:
    """Give the population of a slice: decision_ids, and the stratum of each.

    The database puts it together as one text a column: 0.85 microseconds a record with two columns of strata on SQLite, against
    1.4 as rows, and 1.4 as texts that it has to group too.
    """
    # Aggregates of one scan take its rows in one order, so the lines of all texts belong together.
    columns = [RECORDS.c.record_id, *(func.coalesce(RECORDS.c[key], "") for key in question.keys)]
    times = (RECORDS.c.time_us >= between[0], RECORDS.c.time_us < between[1])
    population = (*question.condition.clauses(), RECORDS.c.record_index < question.tree_size, *times)
    wanted = select(*(func.aggregate_strings(column, LINE) for column in columns)).where(*population)
    with database.reading() as connection:
        names, *values = connection.execute(wanted).one()
    if not names:  # there is none
        return [], []
    found = names.encode().split(LINE.encode())
    return found, list(zip(*(text.split(LINE) for text in values), strict=True)) if values else [()] * len(found)


def main() -> None:
    """Answer one question."""
    os.nice(BEHIND)
    part = TypeAdapter(Part).validate_json(sys.stdin.buffer.read())
    database = Database(part.url)
    draw = drawn_from(database, part.question, part.slices)
    database.close()
    strata = [
        (stratum, count, [(digest.hex(), name.decode()) for digest, name in draw.first(stratum)])
        for stratum, count in draw.populations.items()
    ]
    json.dump(strata, sys.stdout)


if __name__ == "__main__":
    main()
