"""The features of concurrent calls are read together; each call gets the values of its own customer, or an error."""

import asyncio
import datetime as dt
from collections.abc import Iterator

import pytest

from models.schema import Schema
from server.edges.credit.feature_reads import FeatureReads
from server.edges.thread_pool import StoreThreads
from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.features import FeatureStore, append_features
from server.stores.float_arrays import pack_doubles
from server.stores.tables import FEATURES
from tests.server.query_plans import sent_statements
from tests.small import SmallFamily

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
CUSTOMERS = [f"C{number}" for number in range(40)]


@pytest.fixture
def schema(small: SmallFamily) -> Schema:
    """Return the schema of the small family."""
    return small.bundle().schema


@pytest.fixture
def filled(database: Database, schema: Schema) -> Database:
    """Return a database with three rows for each customer in two markets, the newest row written first."""
    rows: list[dict[str, object]] = [
        {
            "market": market,
            "customer_id": customer,
            "feature_set_digest": schema.feature_set_digest,
            "as_of": NOW - dt.timedelta(days=days),
            "row": pack_doubles([float(number), float(days), None, 1.0 if market == "DE" else 2.0]),
        }
        for number, customer in enumerate(CUSTOMERS)
        for market in ("DE", "FR")
        for days in (0, 1, 2)
    ]
    with database.writing() as connection:
        append_features(connection, rows)
    return database


@pytest.fixture
def threads() -> Iterator[StoreThreads]:
    """Yield threads for the database."""
    opened = StoreThreads(2)
    yield opened
    opened.close()


async def test_concurrent_reads_share_queries_and_each_gets_the_newest_row_of_its_own_customer(
    filled: Database, schema: Schema, threads: StoreThreads
) -> None:
    reads = FeatureReads(FeatureStore(filled), threads)
    wanted = [(market, customer) for market in ("DE", "FR") for customer in (*CUSTOMERS, "nobody", CUSTOMERS[0])]

    with sent_statements(filled) as statements:
        found = await asyncio.gather(*(reads.find_newest(*key, schema) for key in wanted))

    alone = [FeatureStore(filled).find_newest(*key, schema) for key in wanted]
    assert found == alone
    assert sum(each is None for each in found) == 2
    assert {each.as_of for each in found if each is not None} == {NOW}
    assert len(statements) <= 4, "a call that arrives alone, and one query for each market"


async def test_a_cancelled_call_does_not_disturb_the_others(
    filled: Database, schema: Schema, threads: StoreThreads
) -> None:
    reads = FeatureReads(FeatureStore(filled), threads)
    calls = [asyncio.create_task(reads.find_newest("DE", customer, schema)) for customer in CUSTOMERS]
    await asyncio.sleep(0)
    calls[3].cancel()

    found = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(found.pop(3), asyncio.CancelledError)
    assert all(found)
    assert not any(isinstance(each, BaseException) for each in found)


async def test_every_waiting_call_fails_if_the_database_fails_and_later_calls_work_again(
    filled: Database, schema: Schema, threads: StoreThreads
) -> None:
    reads = FeatureReads(FeatureStore(filled), threads)
    with filled.writing() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {FEATURES.name} RENAME TO elsewhere")
    failed = await asyncio.gather(
        *(reads.find_newest("DE", customer, schema) for customer in CUSTOMERS), return_exceptions=True
    )
    with filled.writing() as connection:
        connection.exec_driver_sql(f"ALTER TABLE elsewhere RENAME TO {FEATURES.name}")

    assert all(isinstance(error, StoreUnavailable) for error in failed)
    assert len({id(error) for error in failed}) == len(CUSTOMERS)
    assert await reads.find_newest("DE", CUSTOMERS[0], schema) is not None
