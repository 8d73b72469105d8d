"""Group commit: appends the entries of concurrent calls in batches, and wakes each call when its batch is durable.

While one batch is written, the entries of new calls wait in a queue. They become the next batch, so that all of them
share one fsync. If the recorder is idle, an entry is written immediately. Only one thread of the process writes.
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
_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")
_BATCH_MAX = 256
_HANG_SECONDS = 15.0  # longer than the database's lock timeout of 10 seconds
_PROBE_SECONDS = 0.5  # pause between probes while the log is not writable
IDLE_PROBE_SECONDS = 2.0  # pause between probes while the log is writable and no entry arrives


class AppendLog(Protocol):
    """A durable log; see server.stores.record_log.log.RecordLog."""

    def append(self, entries: Sequence[LogEntry]) -> list[AppendResult]:
        """Append entries durably, and return one result for each entry."""

    def probe(self) -> None:
        """Raise StoreUnavailable if the log is not writable."""


class Recorder:
    """Appends the entries of all calls of this process. All state except the log is used only on the event loop.

    Attributes:
        writable: True if the last write or probe succeeded. False if it failed, or if one has exceeded `hang_seconds`
            and has not succeeded yet.
        hang_seconds: Time in seconds after which a write or probe sets `writable` to False. The write or probe
            continues.
        commits: Number of batches that were written.
        records: Number of entries in the batches that were written.
    """

    def __init__(
        self,
        log: AppendLog,
        report_change: Callable[[], Awaitable[None]],
        idle_probe_seconds: float = IDLE_PROBE_SECONDS,
    ) -> None:
        """Create a recorder, which writes nothing until `start` is called.

        Args:
            log: The log to which entries are appended.
            report_change: Called each time after `writable` has changed.
            idle_probe_seconds: Time without a write, in seconds, after which the log is probed.
        """
        self._log, self._report_change, self._idle_probe_seconds = log, report_change, idle_probe_seconds
        self.hang_seconds = _HANG_SECONDS
        self.writable = True
        self.commits = self.records = 0
        self._queue: list[tuple[LogEntry, asyncio.Future[AppendResult]]] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task that writes batches."""
        self._task = asyncio.create_task(self._run())

    async def record(self, entry: LogEntry) -> Record:
        """Append an entry and return its record, or return the record of an earlier entry with the same request_id.

        The recorder appends the entry even if the caller disconnects while it waits.

        Raises:
            StoreUnavailable: It is unknown whether the entry is durable, so the caller must get an error.
            RequestIdReused, RecordRemoved, RecordDamaged, PreconditionFailed: See RecordLog.append.
        """
        future: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        self._queue.append((entry, future))
        self._wake.set()
        # `shield` protects the future: if the call is cancelled, the wait ends, but the entry stays in its batch.
        result = await asyncio.shield(future)
        if isinstance(result, Exception):
            raise result
        return result

    async def close(self) -> None:
        """Write all entries in the queue, then stop the task and the thread."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._pool.shutdown(wait=True)

    async def _run(self) -> None:
        """Write batches until the recorder is closed; probe the log while the queue is empty."""
        while True:
            await self._wait_for_work()
            if not self._queue and self._closing:
                return
            batch, self._queue = self._queue[:_BATCH_MAX], self._queue[_BATCH_MAX:]
            if not batch:
                await self.probe()
                continue
            results = await self._append_batch([entry for entry, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _wait_for_work(self) -> None:
        """Wait until the queue has an entry, the next probe is due, or the recorder is closed."""
        if self._queue:
            return
        # No entry can arrive between the check above and clear(), because there is no await. A later entry sets the
        # event again.
        self._wake.clear()
        if self._closing:
            return
        try:
            async with asyncio.timeout(self._idle_probe_seconds if self.writable else _PROBE_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _append_batch(self, entries: list[LogEntry]) -> Sequence[AppendResult]:
        """Append a batch, and return one result per entry. If the whole batch fails, every result is an exception."""
        try:
            results = await self._run_in_thread(self._log.append, entries)
            assert len(results) == len(entries), "every entry has a result"
        except StoreUnavailable as error:
            await self._set_writable(writable=False)
            # Create one exception for each caller, because a shared exception would collect the tracebacks of all
            # callers.
            return [StoreUnavailable(str(error)) for _ in entries]
        except Exception as error:  # noqa: BLE001 - a bug: it is raised in every caller, and the recorder continues
            return [error for _ in entries]
        self.commits += 1
        self.records += len(entries)
        await self._set_writable(writable=True)
        return results

    async def _run_in_thread(self, work: Callable[[*_Arguments], _Result], *args: *_Arguments) -> _Result:
        """Run blocking work in the recorder's thread. If it exceeds `hang_seconds`, set `writable` to False."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        done, _ = await asyncio.wait({future}, timeout=self.hang_seconds)
        if not done:
            await self._set_writable(writable=False)
        return await future

    async def probe(self) -> None:
        """Probe the log, and update `writable`. Without probes, an idle recorder would not detect a failure."""
        try:
            await self._run_in_thread(self._log.probe)
        except StoreUnavailable:
            await self._set_writable(writable=False)
        except Exception as error:  # noqa: BLE001 - a bug: the recorder must continue
            LOG.error("bug", task="probe", error=type(error).__name__, location=error_location(error))
            await self._set_writable(writable=False)
        else:
            await self._set_writable(writable=True)

    async def _set_writable(self, *, writable: bool) -> None:
        """Set `writable`. If its value changes, log and report the change."""
        if writable != self.writable:
            self.writable = writable
            LOG.warning("record log", writable=writable)
            try:
                await self._report_change()
            except Exception as error:  # noqa: BLE001 - a bug: the recorder must continue
                LOG.error("bug", task="health", error=type(error).__name__, location=error_location(error))
