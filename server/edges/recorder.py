"""Group commit: everything that waits is committed together, and nobody is answered before.

While one batch is on its way to the disk the next one gathers, so one fsync serves as many callers as there are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar, TypeVarTuple

import structlog

from server.edges.places import place_of
from server.errors import StoreUnavailable
from server.stores.record_log.entries import AppendResult, LogEntry, Record

LOG = structlog.get_logger()
Arguments = TypeVarTuple("Arguments")
Answer = TypeVar("Answer")
BATCH_MAX = 256
HANG_SECONDS = 15.0  # for a lock nobody waits for longer than 10
PROBE_SECONDS = 0.5
IDLE_PROBE_SECONDS = 2.0  # where nothing is written, nothing else would show that nothing could be


class Log(Protocol):
    """Where records are durable; see server.stores.record_log.log.RecordLog."""

    def append(self, entries: Sequence[LogEntry]) -> list[AppendResult]:
        """Append durably; gives for each entry what counts."""

    def probe(self) -> None:
        """Raise StoreUnavailable if a record could not be written."""


class Recorder:
    """Appends for all calls of this process. Owned by the event loop.

    Attributes:
        writable: False after a write or a probe has failed, until one succeeds.
        hang_seconds: A write that takes longer makes `writable` False until it ends.
        commits: Batches that were written.
        records: Entries in them.
    """

    def __init__(
        self, log: Log, tell: Callable[[], Awaitable[None]], idle_probe_seconds: float = IDLE_PROBE_SECONDS
    ) -> None:
        """Take a log, what to call when `writable` changes, and how long nothing may be written before a probe."""
        self.log, self.tell, self.idle_probe_seconds = log, tell, idle_probe_seconds
        self.hang_seconds = HANG_SECONDS
        self.writable = True
        self.commits = self.records = 0
        self.waiting: list[tuple[LogEntry, asyncio.Future[AppendResult]]] = []
        self.something = asyncio.Event()
        self.closing = False
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self.task = asyncio.create_task(self.run())

    async def keep(self, entry: LogEntry) -> Record:
        """Record an entry; gives what counts: this one, or the one that the same request got earlier.

        Once it waits here it is recorded, also when its caller goes away.

        Raises:
            StoreUnavailable: It may not be answered.
            RequestIdReused, RecordRemoved, RecordDamaged, PreconditionFailed: See RecordLog.append.
        """
        future: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        self.waiting.append((entry, future))
        self.something.set()
        outcome = await asyncio.shield(future)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def run(self) -> None:
        """Write batch after batch until closed."""
        while True:
            await self.wait()
            if not self.waiting and self.closing:
                return
            batch, self.waiting = self.waiting[:BATCH_MAX], self.waiting[BATCH_MAX:]
            if not batch:
                await self.probe()
                continue
            outcomes = await self.written([entry for entry, _ in batch])
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)

    async def wait(self) -> None:
        """Wait until something is to be written, or it is time to probe."""
        if self.waiting:
            return
        self.something.clear()
        if self.closing:
            return
        try:
            async with asyncio.timeout(self.idle_probe_seconds if self.writable else PROBE_SECONDS):
                await self.something.wait()
        except TimeoutError:
            pass

    async def written(self, entries: list[LogEntry]) -> Sequence[AppendResult]:
        """Write a batch; whatever fails, each of its callers is told."""
        try:
            outcomes = await self.in_thread(self.log.append, entries)
            assert len(outcomes) == len(entries), "every entry has an outcome"
        except StoreUnavailable as error:
            await self.now_writable(writable=False)
            # One exception object for each: a traceback grows with every caller that raises it.
            return [StoreUnavailable(str(error)) for _ in entries]
        except Exception as error:  # noqa: BLE001 - a bug: every caller gets an incident id; the writer goes on
            return [error for _ in entries]
        self.commits += 1
        self.records += len(entries)
        await self.now_writable(writable=True)
        return outcomes

    async def in_thread(self, work: Callable[[*Arguments], Answer], *args: *Arguments) -> Answer:
        """Run something that waits; nothing is writable while it takes so long that the database must hang."""
        future = asyncio.get_running_loop().run_in_executor(self.pool, work, *args)
        done, _ = await asyncio.wait({future}, timeout=self.hang_seconds)
        if not done:
            await self.now_writable(writable=False)
        return await future

    async def probe(self) -> None:
        """Look whether writing works; what is asked of an idle server, whose reads may all fail, depends on it."""
        try:
            await self.in_thread(self.log.probe)
        except StoreUnavailable:
            await self.now_writable(writable=False)
        except Exception as error:  # noqa: BLE001 - a bug; the writer goes on
            LOG.error("bug", task="probe", error=type(error).__name__, place=place_of(error))
            await self.now_writable(writable=False)
        else:
            await self.now_writable(writable=True)

    async def now_writable(self, *, writable: bool) -> None:
        """Note it, and tell when it has changed."""
        if writable != self.writable:
            self.writable = writable
            LOG.warning("records", writable=writable)
            try:
                await self.tell()
            except Exception as error:  # noqa: BLE001 - a bug; the writer goes on
                LOG.error("bug", task="health", error=type(error).__name__, place=place_of(error))

    async def close(self) -> None:
        """Write what waits, then stop."""
        self.closing = True
        self.something.set()
        if self.task is not None:
            await asyncio.gather(self.task, return_exceptions=True)
        self.pool.shutdown(wait=True)
