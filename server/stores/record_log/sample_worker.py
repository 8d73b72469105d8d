"""Draws a sample: `python -m server.stores.record_log.sample_worker`, in a process of its own.

The question comes as JSON on standard input, so that no password stands in the list of processes; the answer goes to
standard output. DuckDB hashes and counts, a stretch of the log after the other in each of its threads: of five million
decisions in 2 seconds, where a loop of Python took 4 to 7.
"""

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa

from server.stores.database import Database
from server.stores.record_log.decision_index import CREDIT_DECISION, DecisionQuery
from server.stores.record_log.header_chunks import HEADER_SCHEMA, decode_chunk, encode_chunk, read_headers
from server.stores.record_log.header_index import RecordRange, record_ranges
from server.stores.record_log.sampling import DRAWN_STRATA, SAMPLE_TASK, SampleQuery, Strata, StratumKey

Found = tuple[StratumKey, int, list[str], list[str]]  # a stratum, its population, digests and decision_ids


class Draw:
    """A draw under way.

    Attributes:
        populations: Decisions of each stratum.
        drawn: The first of each stratum, digest and decision_id, smallest digest first.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.populations: Counter[StratumKey] = Counter()
        self.drawn: dict[StratumKey, list[tuple[str, str]]] = defaultdict(list)

    def add(self, found: Iterable[Found]) -> None:
        """Add what was drawn from one more stretch."""
        for stratum, population, digests, names in found:
            self.populations[stratum] += population
            both = self.drawn[stratum] + list(zip(digests, names, strict=True))
            self.drawn[stratum] = sorted(both)[: self.size]

    def strata(self) -> Strata:
        """Give what was drawn, in the order of the strata's values."""
        return {
            stratum: (population, [name for _, name in self.drawn[stratum]])
            for stratum, population in sorted(self.populations.items())
        }


def draw_sample(database: Database, question: SampleQuery) -> Strata:
    """Draw, on every processor."""
    with database.reading() as connection:
        cut = [each for each in record_ranges(connection, question.tree_size) if may_hold(each, question.condition)]
    draw = Draw(question.size)
    with (
        duckdb.connect(config={"threads": 1, "enable_external_access": False}) as engine,
        ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="draw") as threads,
    ):
        for found in threads.map(lambda each: first_of(database, engine, question, each), cut):
            draw.add(found)
    return draw.strata()


def may_hold(stretch: RecordRange, condition: DecisionQuery) -> bool:
    """Tell whether a stretch may have records of the times that are asked for."""
    if stretch.times is None:
        return True
    start, end = condition.between()
    return stretch.times[1] >= start and stretch.times[0] < end


def first_of(
    database: Database, engine: duckdb.DuckDBPyConnection, question: SampleQuery, stretch: RecordRange
) -> list[Found]:
    """Draw from one stretch."""
    with database.reading() as connection:
        table = read_headers(connection, stretch)
    return first_in(engine, question, table)


def first_in(engine: duckdb.DuckDBPyConnection, question: SampleQuery, table: pa.Table) -> list[Found]:
    """Draw from some records; one engine may be asked by several threads."""
    start, end = question.condition.between()
    equal = {"kind": CREDIT_DECISION, **question.condition.equal()}
    asked = {"seed": question.seed, "start": start, "end": end, **equal}
    clauses = " AND ".join(["time_us >= $start", "time_us < $end", *(f"{name} = ${name}" for name in equal)])
    keys = "".join(f"{key}, " for key in question.keys)
    # The names of columns come from this code, and every value is a parameter.
    statement = f"""
        WITH hashed AS (SELECT {keys} record_id, sha256($seed || record_id) AS digest FROM records WHERE {clauses})
        SELECT {keys} count(*), min(digest, {question.size:d}), arg_min(record_id, digest, {question.size:d})
        FROM hashed GROUP BY ALL"""  # noqa: S608
    with engine.cursor() as cursor:
        cursor.register("records", table)
        rows = cursor.execute(statement, asked).fetchall()
    return [(tuple(stratum), population, digests, names) for *stratum, population, digests, names in rows if population]


def _warm_up() -> None:
    """Draw from one decision that there is not: what of the libraries is not in memory is read now, before anybody waits."""
    line: dict[str, str | int] = {field.name: 0 if field.type == pa.int64() else "" for field in HEADER_SCHEMA}
    table = decode_chunk(encode_chunk(pa.Table.from_pylist([line], HEADER_SCHEMA)))
    with duckdb.connect() as engine:
        first_in(engine, SampleQuery(DecisionQuery(), 1, ("decision", "grade"), "", 1), table)


def main() -> None:
    """Answer one question, if one comes."""
    _warm_up()
    told = sys.stdin.buffer.read()
    if not told:
        return
    order = SAMPLE_TASK.validate_json(told)
    database = Database(order.url, connections=os.cpu_count() or 1)
    drawn = draw_sample(database, order.question)
    database.close()
    sys.stdout.buffer.write(DRAWN_STRATA.dump_json([(stratum, *found) for stratum, found in drawn.items()]))


if __name__ == "__main__":
    main()
