"""Concurrent calls are worked on together; each call gets its own result, or an error."""

import asyncio
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from models.schema import Schema
from server.edges.gathered_work import GatheredWork
from server.edges.thread_pool import StoreThreads
from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.features import FeatureStore, StoredFeatures, append_features
from server.stores.float_arrays import pack_doubles
from server.stores.tables import FEATURES
from tests.server.query_plans import sent_statements
from tests.small import SmallFamily

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
CUSTOMERS = [f"C{number}" for number in range(40)]


@dataclass
class Read:
    """A call that waits for a customer's features."""

    market: str
    customer_id: str
    found: StoredFeatures | None = None


class FeatureReads:
    """Reads the features of concurrent calls together."""

    def __init__(self, database: Database, schema: Schema, threads: StoreThreads) -> None:
        self._features, self._schema = FeatureStore(database), schema
        self._reads = GatheredWork(self._read_all, threads, group_max=256)
        self.sizes: list[int] = []

    async def find_newest(self, market: str, customer_id: str) -> StoredFeatures | None:
        """Return a customer's newest features."""
        read = Read(market, customer_id)
        await self._reads.run(read)
        return read.found

    def _read_all(self, reads: Sequence[Read]) -> None:
        """Read the features of a group."""
        self.sizes.append(len(reads))
        found = self._features.find_newest_each([(read.market, read.customer_id, self._schema) for read in reads])
        for read, each in zip(reads, found, strict=True):
            read.found = each


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


async def test_concurrent_calls_share_queries_and_each_gets_the_newest_row_of_its_own_customer(
    filled: Database, schema: Schema, threads: StoreThreads
) -> None:
    reads = FeatureReads(filled, schema, threads)
    wanted = [(market, customer) for market in ("DE", "FR") for customer in (*CUSTOMERS, "nobody", CUSTOMERS[0])]

    with sent_statements(filled) as statements:
        found = await asyncio.gather(*(reads.find_newest(*key) for key in wanted))

    alone = [FeatureStore(filled).find_newest(*key, schema) for key in wanted]
    assert found == alone
    assert sum(each is None for each in found) == 2
    assert {each.as_of for each in found if each is not None} == {NOW}
    assert len(statements) <= 4, "a call that arrives alone, and one query for each market"


async def test_a_cancelled_call_does_not_disturb_the_others_and_is_not_worked_on(
    filled: Database, schema: Schema, threads: StoreThreads
) -> None:
    reads = FeatureReads(filled, schema, threads)
    calls = [asyncio.create_task(reads.find_newest("DE", customer)) for customer in CUSTOMERS]
    await asyncio.sleep(0)
    calls[3].cancel()

    found = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(found.pop(3), asyncio.CancelledError)
    assert all(found)
    assert not any(isinstance(each, BaseException) for each in found)
    assert sum(reads.sizes) == len(CUSTOMERS) - 1


async def test_every_waiting_call_fails_if_the_database_fails_and_later_calls_work_again(
    filled: Database, schema: Schema, threads: StoreThreads
) -> None:
    reads = FeatureReads(filled, schema, threads)
    with filled.writing() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {FEATURES.name} RENAME TO elsewhere")
    failed = await asyncio.gather(
        *(reads.find_newest("DE", customer) for customer in CUSTOMERS), return_exceptions=True
    )
    with filled.writing() as connection:
        connection.exec_driver_sql(f"ALTER TABLE elsewhere RENAME TO {FEATURES.name}")

    assert all(isinstance(error, StoreUnavailable) for error in failed)
    assert len({id(error) for error in failed}) == len(CUSTOMERS)
    assert await reads.find_newest("DE", CUSTOMERS[0]) is not None
