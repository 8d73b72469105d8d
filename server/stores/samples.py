"""Draws samples of decisions in the order of SHA-256(seed || decision_id).

Every decision of the population has to be hashed, so this is about reading little and often nothing else: ids and what makes
their strata come from one index, some 100,000 at a time as one text a column, which the database puts together while the
digests of the former ones are computed. To let the database group them took twice as long as to tell the strata apart here.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import nsmallest
from itertools import pairwise, repeat

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


class Draw:
    """A draw under way.

    Attributes:
        populations: Decisions of each stratum.
        drawn: What may be among the first of each stratum, in no order.
        bounds: A digest that is not below its stratum's is not among the first.
    """

    def __init__(self, seed: str, size: int) -> None:
        self.seeded, self.size = hashlib.sha256(seed.encode()), size
        self.populations: Counter[Keys] = Counter()
        self.drawn: dict[Keys, list[Drawn]] = defaultdict(list)
        self.bounds: dict[Keys, bytes] = defaultdict(lambda: ALL_DIGESTS)

    def take(self, names: Sequence[bytes], keys: Sequence[Keys]) -> None:
        """Hash some decisions, each with its stratum, and keep those that may be among the first."""
        self.populations.update(keys)
        copy, bounds = self.seeded.copy, self.bounds
        for name, key in zip(names, keys, strict=True):
            digest = copy()
            digest.update(name)
            found = digest.digest()
            if found < bounds[key]:
                self.keep(key, (found, name))

    def keep(self, key: Keys, found: Drawn) -> None:
        """Keep one that may be among the first; now and then leave out those that no longer are."""
        drawn = self.drawn[key]
        drawn.append(found)
        if len(drawn) >= 2 * self.size + SPARE:
            self.drawn[key] = first = nsmallest(self.size, drawn)
            self.bounds[key] = first[-1][0]

    def first(self, key: Keys) -> list[str]:
        """Give what was drawn of a stratum, smallest digest first."""
        return [name.decode() for _, name in nsmallest(self.size, self.drawn[key])]


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
        draw = Draw(seed, size)
        with self.database.reading() as connection, ThreadPoolExecutor(1, thread_name_prefix="sample") as reader:
            clauses = [*condition.clauses(), RECORDS.c.record_index < tree_size]
            chunks = self.chunks(connection, clauses, keys)
            following = reader.submit(next, chunks, None)
            while (chunk := following.result()) is not None:
                following = reader.submit(next, chunks, None)
                draw.take(*chunk)
        return {key: (count, draw.first(key)) for key, count in sorted(draw.populations.items())}

    def chunks(
        self, connection: Connection, clauses: Sequence[ColumnElement[bool]], keys: Sequence[str]
    ) -> Iterator[tuple[list[bytes], list[Keys]]]:
        """Give the population piece by piece: decision_ids, and the stratum of each."""
        # Aggregates of one scan take its rows in one order, so the lines of all texts belong together.
        columns = [RECORDS.c.record_id, *(func.coalesce(RECORDS.c[key], "") for key in keys)]
        wanted = select(*(func.aggregate_strings(column, LINE) for column in columns)).where(*clauses)
        for first, end in pairwise(self.bounds(connection, clauses)):
            between = (RECORDS.c.time_us >= first, RECORDS.c.time_us < end)
            names, *values = connection.execute(wanted.where(*between)).one()
            if names is not None:
                found = names.encode().split(LINE.encode())
                strata = zip(*(text.split(LINE) for text in values), strict=True) if values else repeat((), len(found))
                yield found, list(strata)

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
