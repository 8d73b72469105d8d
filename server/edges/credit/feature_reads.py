"""Reads the stored features of concurrent calls in batches, so that calls that wait at the same time share one query.

While one batch is read, later calls wait and form the next batch. If no batch is being read, a call starts one
immediately.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from models.schema import Schema
from server.edges.call_deadline import remaining_seconds, start_call
from server.edges.thread_pool import StoreThreads
from server.errors import StoreUnavailable
from server.stores.features import FeatureStore, StoredFeatures

_BATCH_MAX = 256


@dataclass(frozen=True, slots=True)
class _Read:
    """A call that waits for a customer's features.

    Attributes:
        market: The customer's market.
        customer_id: The customer's id.
        schema: Schema of the model that needs the features.
        result: Receives the features, or None if none are stored.
    """

    market: str
    customer_id: str
    schema: Schema
    result: asyncio.Future[StoredFeatures | None]


class FeatureReads:
    """Reads customers' newest features. All state is used only on the event loop."""

    def __init__(self, features: FeatureStore, threads: StoreThreads) -> None:
        """Create an object that reads nothing until the first call.

        Args:
            features: The feature store.
            threads: The threads that wait for the database.
        """
        self._features, self._threads = features, threads
        self._waiting: list[_Read] = []
        self._task: asyncio.Task[None] | None = None

    async def find_newest(self, market: str, customer_id: str, schema: Schema) -> StoredFeatures | None:
        """Return the customer's newest features of the schema's feature set; None if no features are stored.

        Raises:
            StoreUnavailable: The database does not answer within the time limit of the call.
        """
        loop = asyncio.get_running_loop()
        read = _Read(market, customer_id, schema, loop.create_future())
        self._waiting.append(read)
        if self._task is None:
            self._task = loop.create_task(self._run())
        timer = loop.call_later(remaining_seconds(), _expire, read.result)
        try:
            return await read.result
        finally:
            timer.cancel()

    async def _run(self) -> None:
        """Read until no call waits."""
        try:
            while self._waiting:
                # A call that was cancelled or has reached its time limit no longer waits.
                waiting = [read for read in self._waiting if not read.result.done()]
                batch, self._waiting = waiting[:_BATCH_MAX], waiting[_BATCH_MAX:]
                if batch:
                    await self._read_batch(batch)
        finally:
            self._task = None

    async def _read_batch(self, batch: Sequence[_Read]) -> None:
        """Read the features of some calls, and wake these calls."""
        start_call()  # this task belongs to no single call, so every batch has its own time limit
        try:
            found = await self._threads.run(self._read, batch)
        except Exception as error:  # noqa: BLE001 - every waiting call raises the error
            _fail(batch, error)
            return
        for read, features in zip(batch, found, strict=True):
            if not read.result.done():
                read.result.set_result(features)

    def _read(self, batch: Sequence[_Read]) -> list[StoredFeatures | None]:
        """Return the features for each call of a batch, with one query for each market and schema."""
        if len(batch) == 1:
            return [self._features.find_newest(batch[0].market, batch[0].customer_id, batch[0].schema)]
        wanted: dict[tuple[str, Schema], set[str]] = {}
        for read in batch:
            wanted.setdefault((read.market, read.schema), set()).add(read.customer_id)
        found = {
            key: self._features.find_newest_of_several(key[0], customer_ids, key[1])
            for key, customer_ids in wanted.items()
        }
        return [found[read.market, read.schema].get(read.customer_id) for read in batch]


def _expire(result: asyncio.Future[StoredFeatures | None]) -> None:
    """End the wait of a call that has reached its time limit."""
    if not result.done():
        result.set_exception(StoreUnavailable("the database does not answer in time; retry"))


def _fail(batch: Sequence[_Read], error: Exception) -> None:
    """Raise an error in every call of a batch."""
    for read in batch:
        if not read.result.done():
            # Create one exception for each call, because a shared exception would collect the tracebacks of all calls.
            own = StoreUnavailable(str(error)) if isinstance(error, StoreUnavailable) else error
            read.result.set_exception(own)
