"""Group commit: everything that waits is committed together, and nobody is answered before.

While one batch is on its way to the disk the next one gathers, so one fsync serves as many callers as there are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar, TypeVarTuple

import structlog

from server.edges.error_location import error_location
from server.errors import StoreUnavailable
from server.stores.record_log.entries import AppendResult, LogEntry, Record

LOG = structlog.get_logger()
Arguments = TypeVarTuple("Arguments")
Answer = TypeVar("Answer")
_BATCH_MAX = 256
_HANG_SECONDS = 15.0  # for a lock nobody waits for longer than 10
_PROBE_SECONDS = 0.5
IDLE_PROBE_SECONDS = 2.0  # where nothing is written, nothing else would show that nothing could be


class AppendLog(Protocol):
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
        self, log: AppendLog, tell: Callable[[], Awaitable[None]], idle_probe_seconds: float = IDLE_PROBE_SECONDS
    ) -> None:
        """Take a log, what to call when `writable` changes, and how long nothing may be written before a probe."""
        self._log, self._report_change, self._idle_probe_seconds = log, tell, idle_probe_seconds
        self.hang_seconds = _HANG_SECONDS
        self.writable = True
        self.commits = self.records = 0
        self._queue: list[tuple[LogEntry, asyncio.Future[AppendResult]]] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run())

    async def record(self, entry: LogEntry) -> Record:
        """Record an entry; gives what counts: this one, or the one that the same request got earlier.

        Once it waits here it is recorded, also when its caller goes away.

        Raises:
            StoreUnavailable: It may not be answered.
            RequestIdReused, RecordRemoved, RecordDamaged, PreconditionFailed: See RecordLog.append.
        """
        future: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        self._queue.append((entry, future))
        self._wake.set()
        outcome = await asyncio.shield(future)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _run(self) -> None:
        """Write batch after batch until closed."""
        while True:
            await self._wait_for_work()
            if not self._queue and self._closing:
                return
            batch, self._queue = self._queue[:_BATCH_MAX], self._queue[_BATCH_MAX:]
            if not batch:
                await self._probe()
                continue
            outcomes = await self._append_batch([entry for entry, _ in batch])
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)

    async def _wait_for_work(self) -> None:
        """Wait until something is to be written, or it is time to probe."""
        if self._queue:
            return
        self._wake.clear()
        if self._closing:
            return
        try:
            async with asyncio.timeout(self._idle_probe_seconds if self.writable else _PROBE_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _append_batch(self, entries: list[LogEntry]) -> Sequence[AppendResult]:
        """Write a batch; whatever fails, each of its callers is told."""
        try:
            outcomes = await self._run_in_thread(self._log.append, entries)
            assert len(outcomes) == len(entries), "every entry has an outcome"
        except StoreUnavailable as error:
            await self._set_writable(writable=False)
            # One exception object for each: a traceback grows with every caller that raises it.
            return [StoreUnavailable(str(error)) for _ in entries]
        except Exception as error:  # noqa: BLE001 - a bug: every caller gets an incident id; the writer goes on
            return [error for _ in entries]
        self.commits += 1
        self.records += len(entries)
        await self._set_writable(writable=True)
        return outcomes

    async def _run_in_thread(self, work: Callable[[*Arguments], Answer], *args: *Arguments) -> Answer:
        """Run something that waits; nothing is writable while it takes so long that the database must hang."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        done, _ = await asyncio.wait({future}, timeout=self.hang_seconds)
        if not done:
            await self._set_writable(writable=False)
        return await future

    async def _probe(self) -> None:
        """Look whether writing works; what is asked of an idle server, whose reads may all fail, depends on it."""
        try:
            await self._run_in_thread(self._log.probe)
        except StoreUnavailable:
            await self._set_writable(writable=False)
        except Exception as error:  # noqa: BLE001 - a bug; the writer goes on
            LOG.error("bug", task="probe", error=type(error).__name__, place=error_location(error))
            await self._set_writable(writable=False)
        else:
            await self._set_writable(writable=True)

    async def _set_writable(self, *, writable: bool) -> None:
        """Note it, and tell when it has changed."""
        if writable != self.writable:
            self.writable = writable
            LOG.warning("records", writable=writable)
            try:
                await self._report_change()
            except Exception as error:  # noqa: BLE001 - a bug; the writer goes on
                LOG.error("bug", task="health", error=type(error).__name__, place=error_location(error))

    async def close(self) -> None:
        """Write what waits, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._pool.shutdown(wait=True)
