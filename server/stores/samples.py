"""Draws samples of decisions in the order of SHA-256(seed || decision_id).

Every decision of the population has to be hashed, so this is about reading little and often nothing else: the ids come from
one index, some 100,000 at a time as one text for each stratum, which the database puts together while the digests of the
former ones are computed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import pairwise

from sqlalchemy import ColumnElement, Connection, func, select

from server.stores.database import Database
from server.stores.decisions import Condition
from server.stores.tables import RECORDS

CHUNK_ROWS = 100_000
LINE = "\n"  # in no UUID
ALL_DIGESTS = b"\xff" * 33  # above every digest
END = 2**62
SPARE = 100  # drawn beyond what is wanted before the list is cut: cutting costs
Keys = tuple[str, ...]  # what makes a stratum
Drawn = tuple[bytes, bytes]  # digest, decision_id


@dataclass(slots=True)
class Stratum:
    """One stratum while it is drawn.

    Attributes:
        population: Decisions in it.
        bound: A digest that is not below it is not drawn any more.
        drawn: What may be drawn, in no order.
    """

    population: int = 0
    bound: bytes = ALL_DIGESTS
    drawn: list[Drawn] = field(default_factory=list)

    def take(self, names: Sequence[bytes], seeded: "hashlib._Hash", size: int) -> None:
        """Hash some decisions, and keep those that may be among the first."""
        self.population += len(names)
        copy, bound, drawn = seeded.copy, self.bound, self.drawn
        for name in names:
            digest = copy()
            digest.update(name)
            found = digest.digest()
            if found < bound:
                drawn.append((found, name))
                if len(drawn) >= 2 * size + SPARE:
                    drawn = nsmallest(size, drawn)
                    bound = drawn[-1][0]
        self.bound, self.drawn = bound, drawn

    def first(self, size: int) -> list[str]:
        """Give what was drawn, smallest digest first."""
        return [name.decode() for _, name in nsmallest(size, self.drawn)]


class Samples:
    """Draws. Its methods may be called from any thread."""

    def __init__(self, database: Database, chunk_rows: int = CHUNK_ROWS) -> None:
        self.database, self.chunk_rows = database, chunk_rows

    def draw(
        self, condition: Condition, tree_size: int, keys: Sequence[str], seed: str, size: int
    ) -> dict[Keys, tuple[int, list[str]]]:
        """Draw from every stratum.

        Args:
            condition: Which decisions are the population.
            tree_size: Only records before this place.
            keys: Columns whose values make a stratum.
            seed: What is hashed in front of each decision_id.
            size: Decisions to draw from each stratum.

        Returns:
            By stratum, in the order of its values: population and the ids that were drawn, smallest digest first.
        """
        strata: dict[Keys, Stratum] = {}
        seeded = hashlib.sha256(seed.encode())
        with self.database.reading() as connection, ThreadPoolExecutor(1, thread_name_prefix="sample") as reader:
            clauses = [*condition.clauses(), RECORDS.c.record_index < tree_size]
            chunks = self.chunks(connection, clauses, keys)
            following = reader.submit(next, chunks, None)
            while (chunk := following.result()) is not None:
                following = reader.submit(next, chunks, None)
                for values, text in chunk:
                    names = text.encode().split(LINE.encode())
                    strata.setdefault(values, Stratum()).take(names, seeded, size)
        return {values: (each.population, each.first(size)) for values, each in sorted(strata.items())}

    def chunks(
        self, connection: Connection, clauses: Sequence[ColumnElement[bool]], keys: Sequence[str]
    ) -> Iterator[list[tuple[Keys, str]]]:
        """Give the population piece by piece, of each the decision_ids of every stratum as a text of lines."""
        columns = [func.coalesce(RECORDS.c[key], "") for key in keys]
        names = func.aggregate_strings(RECORDS.c.record_id, LINE)
        wanted = select(names, *columns).where(*clauses).group_by(*columns)
        for first, end in pairwise(self.bounds(connection, clauses)):
            between = (RECORDS.c.time_us >= first, RECORDS.c.time_us < end)
            rows = connection.execute(wanted.where(*between)).all()
            yield [(tuple(values), text) for text, *values in rows if text]

    def bounds(self, connection: Connection, clauses: Sequence[ColumnElement[bool]]) -> Iterator[int]:
        """Cut time so that about so many decisions lie between two cuts; the first and the last hold everything."""
        first = 0
        yield first
        times = select(RECORDS.c.time_us).where(*clauses).order_by(RECORDS.c.time_us)
        while True:
            following = times.where(RECORDS.c.time_us > first).offset(self.chunk_rows).limit(1)
            found = connection.execute(following).scalar()
            if found is None:
                break
            first = found
            yield first
        yield END
