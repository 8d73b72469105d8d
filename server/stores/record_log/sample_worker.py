"""The worker process that draws one sample: `python -m server.stores.record_log.sample_worker`.

It reads a SampleTask as JSON from standard input and writes the drawn strata to standard output. The task is not passed as a
command line argument, because its URL may contain a password that other users could see. DuckDB hashes and counts the decisions;
each thread processes one range of the log at a time. Five million decisions take 2 seconds; a loop in Python took 4 to 7 seconds.
"""

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa

from models.isolation.core_dumps import forbid_core_dumps
from server.stores.database import Database
from server.stores.record_log.decision_index import CREDIT_DECISION, DecisionQuery
from server.stores.record_log.header_chunks import HEADER_SCHEMA, decode_chunk, encode_chunk, read_headers
from server.stores.record_log.header_index import RecordRange, record_ranges
from server.stores.record_log.sampling import DRAWN_STRATA, SAMPLE_TASK, SampleQuery, Strata, StratumKey

_RangeStratum = tuple[StratumKey, int, list[str], list[str]]  # key of the stratum, population, digests, decision ids


class _StrataMerge:
    """Merges the samples of ranges. If a digest is among the n smallest of the log, it is among the n smallest of its range."""

    def __init__(self, size: int) -> None:
        """Create an empty merge. `size` is the number of decisions to draw from each stratum."""
        self._size = size
        self._populations: Counter[StratumKey] = Counter()
        self._drawn: dict[StratumKey, list[tuple[str, str]]] = defaultdict(
            list
        )  # pairs of digest and decision id, sorted by digest

    def add(self, drawn: Iterable[_RangeStratum]) -> None:
        """Add the sample of a range."""
        for stratum, population, digests, ids in drawn:
            self._populations[stratum] += population
            both = self._drawn[stratum] + list(zip(digests, ids, strict=True))
            self._drawn[stratum] = sorted(both)[: self._size]

    def strata(self) -> Strata:
        """Return the merged sample, sorted by the keys of the strata."""
        return {
            stratum: (population, [decision_id for _, decision_id in self._drawn[stratum]])
            for stratum, population in sorted(self._populations.items())
        }


def draw_sample(database: Database, query: SampleQuery) -> Strata:
    """Draw a sample, with one thread for each processor."""
    with database.reading() as connection:
        ranges = [each for each in record_ranges(connection, query.tree_size) if _may_contain(each, query.decisions)]
    merge = _StrataMerge(query.size)
    with (
        duckdb.connect(config={"threads": 1, "enable_external_access": False}) as engine,
        ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="draw") as threads,
    ):
        for drawn in threads.map(lambda each: _draw_from_range(database, engine, query, each), ranges):
            merge.add(drawn)
    return merge.strata()


def _may_contain(records: RecordRange, decisions: DecisionQuery) -> bool:
    """Return whether a range may contain records in the time range of a query."""
    if records.times is None:
        return True
    start, end = decisions.time_range()
    return records.times[1] >= start and records.times[0] < end


def _draw_from_range(
    database: Database, engine: duckdb.DuckDBPyConnection, query: SampleQuery, records: RecordRange
) -> list[_RangeStratum]:
    """Draw the sample of one range."""
    with database.reading() as connection:
        headers = read_headers(connection, records)
    return _draw_from_headers(engine, query, headers)


def _draw_from_headers(engine: duckdb.DuckDBPyConnection, query: SampleQuery, headers: pa.Table) -> list[_RangeStratum]:
    """Draw the sample of a table of headers. Several threads may use the same engine."""
    start, end = query.decisions.time_range()
    equal = {"kind": CREDIT_DECISION, **query.decisions.column_values()}
    parameters = {"seed": query.seed, "start": start, "end": end, **equal}
    conditions = " AND ".join(["time_us >= $start", "time_us < $end", *(f"{name} = ${name}" for name in equal)])
    keys = "".join(f"{key}, " for key in query.keys)
    # min(x, n) and arg_min(y, x, n) return the n smallest digests and their ids without sorting the population.
    # SQL injection is impossible: the names of columns are constants of this program, and every value is a parameter.
    statement = f"""
        WITH hashed AS (SELECT {keys} record_id, sha256($seed || record_id) AS digest FROM records WHERE {conditions})
        SELECT {keys} count(*), min(digest, {query.size:d}), arg_min(record_id, digest, {query.size:d})
        FROM hashed GROUP BY ALL"""  # noqa: S608
    with engine.cursor() as cursor:
        cursor.register("records", headers)
        rows = cursor.execute(statement, parameters).fetchall()
    return [(tuple(stratum), population, digests, ids) for *stratum, population, digests, ids in rows if population]


def _warm_up() -> None:
    """Draw from an invented decision, so that the libraries are loaded before the first task arrives."""
    header: dict[str, str | int] = {field.name: 0 if field.type == pa.int64() else "" for field in HEADER_SCHEMA}
    headers = decode_chunk(encode_chunk(pa.Table.from_pylist([header], HEADER_SCHEMA)))
    with duckdb.connect() as engine:
        _draw_from_headers(engine, SampleQuery(DecisionQuery(), 1, ("decision", "grade"), "", 1), headers)


def main() -> None:
    """Read a task from standard input, and draw the sample. If the input is empty, do nothing."""
    forbid_core_dumps()
    _warm_up()
    content = sys.stdin.buffer.read()
    if not content:
        return
    task = SAMPLE_TASK.validate_json(content)
    database = Database(task.url, connections=os.cpu_count() or 1)
    strata = draw_sample(database, task.query)
    database.close()
    sys.stdout.buffer.write(DRAWN_STRATA.dump_json([(stratum, *drawn) for stratum, drawn in strata.items()]))


if __name__ == "__main__":
    main()
