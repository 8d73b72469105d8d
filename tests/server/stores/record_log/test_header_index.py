"""The header index on SQLite and PostgreSQL: samples are equal with and without chunks, and all damage is reported."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from sqlalchemy import delete, select, update

from server.application import Application
from server.config import Settings
from server.maintenance.doctor import check_log
from server.stores.database import Database
from server.stores.record_log.decision_index import DecisionQuery
from server.stores.record_log.header_chunks import build_chunks, check_chunks, decode_chunk, encode_chunk
from server.stores.record_log.header_index import HeaderIndexer, HeaderIndexFailed, missing_chunks, record_ranges
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader
from server.stores.record_log.sample_worker import draw_sample
from server.stores.record_log.sampling import SampleQuery
from server.stores.tables import LISTED_CHUNKS, RECORDS
from tests.conftest import START_RECORDS, Serving
from tests.server.audits import score_customer
from tests.server.query_plans import plans, sent_statements
from tests.server.record_logs import NOW, entry, open_test_log
from tests.server.servers import wait_until

LENGTH, SIZE = 16, 60
MINUTE = dt.timedelta(minutes=1)
DAMAGED = "the header chunk of records 16 to 31 does not match its records"


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Yield a log of three chunks and some records after them: decisions of two markets, and records of a different kind."""
    with open_test_log(database_url, tmp_path) as found:
        found.append(
            [
                entry(kind="EVIDENCE_READING", customer=None, labels={}, time=NOW + place * MINUTE)
                if place % 7 == 0
                else entry(labels={"market": ("DE", "FR")[place % 2], "grade": "A"}, time=NOW + place * MINUTE)
                for place in range(SIZE)
            ]
        )
        yield found


def chunks(database: Database) -> list[tuple[int, int]]:
    """Return the first record and the length of every chunk."""
    with database.reading() as connection:
        wanted = select(*LISTED_CHUNKS.c["first_index", "record_count"]).order_by(LISTED_CHUNKS.c.first_index)
        return [tuple(row) for row in connection.execute(wanted)]


def samples(log: RecordLog) -> list[Any]:
    """Draw samples with tree sizes within, at and after chunks, and with time ranges within, across and outside chunks."""
    queries = [
        DecisionQuery(),
        DecisionQuery(market="FR"),
        DecisionQuery(start=NOW + 20 * MINUTE, end=NOW + 33 * MINUTE),
        DecisionQuery(end=NOW + 16 * MINUTE),
        DecisionQuery(start=NOW + 90 * MINUTE),
    ]
    return [
        draw_sample(log.database, SampleQuery(query, size, ("market",), "tulip", 4))
        for query in queries
        for size in (0, 1, 16, 25, 48, 50, SIZE)
    ]


def test_samples_are_the_same_with_chunks_and_without(log: RecordLog) -> None:
    without = samples(log)

    assert build_chunks(log.database, LENGTH) == 3
    assert chunks(log.database) == [(0, LENGTH), (LENGTH, LENGTH), (2 * LENGTH, LENGTH)]

    assert samples(log) == without
    assert any(without)


def test_headers_in_chunks_are_not_read_from_records(log: RecordLog) -> None:
    before = samples(log)[6]
    build_chunks(log.database, LENGTH)

    with log.database.writing() as connection:
        connection.execute(update(RECORDS).where(RECORDS.c.record_index < 3 * LENGTH).values(market="XX"))

    assert samples(log)[6] == before


def test_a_chunk_outside_of_the_time_range_is_not_read(log: RecordLog) -> None:
    build_chunks(log.database, LENGTH)
    asked = SampleQuery(DecisionQuery(start=NOW + 20 * MINUTE, end=NOW + 30 * MINUTE), 3 * LENGTH, (), "tulip", 4)
    wanted = draw_sample(log.database, asked)

    with log.database.writing() as connection:
        connection.execute(update(LISTED_CHUNKS).where(LISTED_CHUNKS.c.first_index != LENGTH).values(content=b"?"))

    assert draw_sample(log.database, asked) == wanted != {}


def test_chunks_are_built_once_and_a_deleted_one_again(log: RecordLog) -> None:
    build_chunks(log.database, LENGTH)
    assert build_chunks(log.database, LENGTH) == 0

    log.append([entry() for _ in range(2 * LENGTH)])
    assert build_chunks(log.database, LENGTH) == 2
    before = samples(log)
    with log.database.writing() as connection:
        connection.execute(delete(LISTED_CHUNKS).where(LISTED_CHUNKS.c.first_index == LENGTH))

    assert samples(log) == before
    assert build_chunks(log.database, LENGTH) == 1
    assert samples(log) == before


def test_no_sample_scans_the_table_of_records(log: RecordLog) -> None:
    if log.database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's plan depends on its statistics")
    build_chunks(log.database, LENGTH)
    with sent_statements(log.database) as statements:
        samples(log)

    steps = str(plans(log.database, statements))
    assert "SEARCH records USING INTEGER PRIMARY KEY" in steps
    assert "SEARCH listed_chunks USING INTEGER PRIMARY KEY" in steps
    assert "SCAN records" not in steps


def with_market(content: bytes, place: int) -> bytes:
    """Return a chunk in which one record has a different market."""
    table = decode_chunk(content)
    markets = table["market"].cast(pa.string()).to_pylist()
    markets[place] = "XX"
    changed = pa.array(markets).cast(table.schema.field("market").type)
    return encode_chunk(table.set_column(table.schema.get_field_index("market"), table.schema.field("market"), changed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": b"?"}, DAMAGED),
        ({"content": None}, DAMAGED),
        ({"first_us": 0}, DAMAGED),
        ({"last_us": 2**60}, DAMAGED),
        ({"record_count": 15}, "the header chunk of records 16 to 30 does not match its records"),
        ({"record_count": 17}, "the header chunk of records 16 to 32 does not match its records"),
        ({"record_count": 0}, "the header chunk of records 16 to 15 does not belong to this log"),
        ({"first_index": SIZE}, f"the header chunk of records {SIZE} to {SIZE + 15} does not belong to this log"),
    ],
)
def test_a_chunk_that_does_not_match_its_records_is_reported(
    log: RecordLog, change: dict[str, Any], message: str
) -> None:
    build_chunks(log.database, LENGTH)
    assert check_log(log.database, log.verifier, None)[0]
    with log.database.writing() as connection:
        this = LISTED_CHUNKS.c.first_index == LENGTH
        stored = bytes(connection.execute(select(LISTED_CHUNKS.c.content).where(this)).scalar_one())
        values = {
            name: with_market(stored, 5) if name == "content" and value is None else value
            for name, value in change.items()
        }
        connection.execute(update(LISTED_CHUNKS).where(this).values(**values))

    holds, found = check_log(log.database, log.verifier, None)

    assert not holds
    assert message in found


def test_every_flipped_bit_and_truncation_of_a_chunk_is_handled(log: RecordLog) -> None:
    build_chunks(log.database, LENGTH)
    this = LISTED_CHUNKS.c.first_index == LENGTH
    with log.database.writing() as connection:
        stored = bytes(connection.execute(select(LISTED_CHUNKS.c.content).where(this)).scalar_one())
        records = list(ProofReader(log.database).read_all(SIZE))
        cut = [stored[:-1], stored[:-20], stored[:-200], stored[:8], b""]
        flipped = [
            stored[:place] + bytes([stored[place] ^ 1 << place % 8]) + stored[place + 1 :]
            for place in range(len(stored))
        ]
        for content in (*cut, *flipped[::13]):
            connection.execute(update(LISTED_CHUNKS).where(this).values(content=content))
            found: list[str] = []
            assert list(check_chunks(connection, records, SIZE, found)) == records
            assert found == [DAMAGED] or decode_chunk(content) == decode_chunk(stored)


def test_a_chunk_without_an_integer_length_is_reported(log: RecordLog) -> None:
    build_chunks(log.database, LENGTH)
    with log.database.writing() as connection:
        if connection.dialect.name != "sqlite":
            pytest.skip("PostgreSQL stores only integers there")
        connection.exec_driver_sql("UPDATE listed_chunks SET record_count = 'many' WHERE first_index = 16")

    _, found = check_log(log.database, log.verifier, None)

    assert found[-1] == "the header chunk of records 16 to 15 does not belong to this log"


def test_a_missing_record_is_reported_for_its_chunk_only(log: RecordLog) -> None:
    build_chunks(log.database, LENGTH)
    with log.database.writing() as connection:
        connection.execute(delete(RECORDS).where(RECORDS.c.record_index == 20))

    _, found = check_log(log.database, log.verifier, None)

    assert [sentence for sentence in found if sentence.startswith("the header chunk")] == [DAMAGED]


async def test_the_worker_builds_exactly_the_missing_chunks(log: RecordLog) -> None:
    await HeaderIndexer(log.database, SIZE + 1).build_missing_chunks()
    assert chunks(log.database) == []

    await HeaderIndexer(log.database, LENGTH).build_missing_chunks()

    assert chunks(log.database) == [(0, LENGTH), (LENGTH, LENGTH), (2 * LENGTH, LENGTH)]
    assert not missing_chunks(log.database, LENGTH)


async def test_a_deleted_chunk_is_built_again_despite_foreign_rows(log: RecordLog) -> None:
    build_chunks(log.database, LENGTH)
    with log.database.writing() as connection:
        far = {"first_index": 10**6, "record_count": LENGTH, "first_us": 0, "last_us": 0, "content": b""}
        connection.execute(LISTED_CHUNKS.insert(), far)
        connection.execute(delete(LISTED_CHUNKS).where(LISTED_CHUNKS.c.first_index == LENGTH))

    await HeaderIndexer(log.database, LENGTH).build_missing_chunks()

    assert chunks(log.database) == [*((first * LENGTH, LENGTH) for first in range(3)), (10**6, LENGTH)]
    assert not missing_chunks(log.database, LENGTH)


async def test_concurrent_workers_build_each_chunk_once(log: RecordLog) -> None:
    await asyncio.gather(*(HeaderIndexer(log.database, 4).build_missing_chunks() for _ in range(3)))

    assert chunks(log.database) == [(first, 4) for first in range(0, SIZE, 4)]
    assert check_log(log.database, log.verifier, None)[0]


async def test_a_failed_worker_is_reported_without_its_output(log: RecordLog) -> None:
    with log.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE listed_chunks RENAME COLUMN content TO contents")

    with pytest.raises(HeaderIndexFailed) as caught:
        await HeaderIndexer(log.database, LENGTH).build_missing_chunks()

    assert str(caught.value) == ""


class Hurried(Application):
    """A server that continuously checks for missing chunks of four records."""

    header_chunk_seconds = 0.05

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.chunker.length = 4


async def test_a_server_builds_chunks_in_the_background(small_settings: Settings) -> None:
    application, decisions = Hurried(small_settings), 9
    expected = [(number * 4, 4) for number in range((START_RECORDS + decisions) // 4)]

    async def are_built() -> bool:
        return chunks(application.database) == expected

    await application.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{application.port}") as channel:
            for number in range(decisions):
                await score_customer(Serving(application, small_settings, channel), number)
            await wait_until(are_built)
    finally:
        await application.stop()


def test_ranges_cover_every_record_once(log: RecordLog) -> None:
    build_chunks(log.database, LENGTH)
    with log.database.writing() as connection:
        connection.execute(delete(LISTED_CHUNKS).where(LISTED_CHUNKS.c.first_index == LENGTH))
    with log.database.reading() as connection:
        for size in range(SIZE + 1):
            for length in (1, 5, 100):
                found = list(record_ranges(connection, size, length))
                assert [place for each in found for place in range(each.first, each.end)] == list(range(size))
                assert all(each.end - each.first <= length for each in found if not each.chunked)
