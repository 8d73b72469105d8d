"""Draws samples of decisions in the order of SHA-256(seed || decision_id).

Every decision of the population has to be hashed, so this is about reading little and often nothing else: the ids come from
one index, some 100,000 at a time as one text, which the database puts together while the digests of the former ones are
computed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import pairwise

from sqlalchemy import ColumnElement, Connection, String, func, literal, select, type_coerce

from server.stores.database import Database
from server.stores.decisions import Condition
from server.stores.tables import RECORDS

ID_BYTES = 36
CHUNK_ROWS = 100_000
BETWEEN, LINE = "/", "\n"  # in no code and no UUID of a header
ALL_DIGESTS = b"\xff" * 33  # above every digest
END = 2**62
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


class Samples:
    """Draws. Its methods may be called from any thread."""

    def __init__(self, database: Database, chunk_rows: int = CHUNK_ROWS) -> None:
        self.database, self.chunk_rows = database, chunk_rows

    def draw(
        self, condition: Condition, tree_size: int, keys: Sequence[str], seed: str, size: int
    ) -> dict[tuple[str, ...], tuple[int, list[str]]]:
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
        strata: dict[bytes, Stratum] = {}
        seeded = hashlib.sha256(seed.encode())
        with self.database.reading() as connection, ThreadPoolExecutor(1, thread_name_prefix="sample") as reader:
            clauses = [*condition.clauses(), RECORDS.c.record_index < tree_size]
            chunks = self.chunks(connection, clauses, keys)
            following = reader.submit(next, chunks, "")
            while text := following.result():
                following = reader.submit(next, chunks, "")
                take(strata, text.encode().split(LINE.encode()), seeded, size)
        return {
            tuple(key.decode().split(BETWEEN)[1:]): (
                each.population,
                [name.decode() for _, name in smallest(each, size)],
            )
            for key, each in sorted(strata.items())
        }

    def chunks(
        self, connection: Connection, clauses: Sequence[ColumnElement[bool]], keys: Sequence[str]
    ) -> Iterator[str]:
        """Give the population as texts of lines: decision_id, then the values of the keys."""
        line: ColumnElement[str] = type_coerce(RECORDS.c.record_id, String)
        for key in keys:
            line = line + literal(BETWEEN) + func.coalesce(RECORDS.c[key], "")
        text = select(func.aggregate_strings(line, LINE)).where(*clauses)
        for first, end in pairwise(self.bounds(connection, clauses)):
            between = (RECORDS.c.time_us >= first, RECORDS.c.time_us < end)
            if found := connection.execute(text.where(*between)).scalar():
                yield found

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


def take(strata: dict[bytes, Stratum], lines: Sequence[bytes], seeded: "hashlib._Hash", size: int) -> None:
    """Hash some decisions, and keep those that may be among the first of their stratum."""
    copy = seeded.copy
    for line in lines:
        digest = copy()
        digest.update(line[:ID_BYTES])
        found = digest.digest()
        stratum = strata.get(line[ID_BYTES:])
        if stratum is None:
            stratum = strata.setdefault(line[ID_BYTES:], Stratum())
        stratum.population += 1
        if found < stratum.bound:
            stratum.drawn.append((found, line[:ID_BYTES]))
            if len(stratum.drawn) >= 2 * size + 100:
                stratum.drawn = smallest(stratum, size)
                stratum.bound = stratum.drawn[-1][0]


def smallest(stratum: Stratum, size: int) -> list[Drawn]:
    """Give the first ones, smallest digest first."""
    return nsmallest(size, stratum.drawn)
