"""Group commit: appends the entries of concurrent calls in batches, and wakes each call when its batch is durable.

While one batch is written, the entries of new calls wait in a queue. They become the next batch, so that all of them
share one fsync. If the recorder is idle, an entry is written immediately. Only one thread of the process writes.

An entry leaves the queue as soon as its call no longer waits, so nothing is recorded for a call that was abandoned
before its batch began. If the batch has begun, the entry may or may not be recorded. A retry with the same request_id
then returns the record, if there is one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Protocol, TypeVar, TypeVarTuple

import structlog

from server.edges.call_deadline import ANSWER_SECONDS, remaining_seconds
from server.errors import Draining, ServerBusy, StoreUnavailable
from server.monitoring.error_location import error_location
from server.monitoring.meters import COMMIT, SEAL, CallTimes, Meters
from server.stores.record_log.entries import AppendResult, LogEntry, Record

LOG = structlog.get_logger()
_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")
_Queue = dict[asyncio.Future[AppendResult], LogEntry]
_BATCH_MAX = 256
_QUEUE_MAX = 1024
_PROBE_SECONDS = 0.5  # pause between probes while the log is not writable
IDLE_PROBE_SECONDS = 2.0  # pause between probes while the log is writable and no entry arrives
_NOT_WRITTEN = "the record log does not accept records in time; nothing was decided; retry"
_UNKNOWN = "the record log does not answer in time; retry with the same request_id"
_FAILED = "the recorder failed; retry with the same request_id"


class AppendLog(Protocol):
    """A durable log; see server.stores.record_log.log.RecordLog."""

    @property
    def append_seconds(self) -> tuple[float, float]:
        """Return how long the last append sealed and inserted its records, and how long its commit took."""

    def append(self, entries: Sequence[LogEntry]) -> list[AppendResult]:
        """Append entries durably, and return one result for each entry."""

    def probe(self) -> None:
        """Raise StoreUnavailable if the log is not writable."""


class Recorder:
    """Appends the entries of all calls of this process. All state except the log is used only on the event loop.

    A background task must call `step` repeatedly until `closed` is true. Otherwise, every call of `record` fails at its
    time limit.

    Attributes:
        writable: True if the last write or probe succeeded. False if the last write or probe failed, or if one that is
            still running has exceeded `hang_seconds`.
        hang_seconds: Time in seconds after which a write or probe sets `writable` to False. The write or probe
            continues.
        queue_max: Number of entries that may wait. A further call is rejected.
        commits: Number of batches that were written.
        records: Number of entries in the batches that were written.
        dropped: Number of entries that left the queue unwritten, because their calls no longer waited.
        rejected: Number of entries that were rejected because the queue was full.
    """

    def __init__(
        self,
        log: AppendLog,
        report_change: Callable[[], Awaitable[None]],
        idle_probe_seconds: float = IDLE_PROBE_SECONDS,
        executor: Executor | None = None,
        meters: Meters | None = None,
    ) -> None:
        """Create a recorder, which writes nothing until `step` is called.

        Args:
            log: The log to which entries are appended.
            report_change: Called each time after `writable` has changed.
            idle_probe_seconds: Time without a write, in seconds, after which the log is probed.
            executor: Runs the writes one after another; None for a thread of the recorder.
            meters: Counts the commits; None for meters that nobody reads.
        """
        self._log, self._report_change, self._idle_probe_seconds = log, report_change, idle_probe_seconds
        self.hang_seconds, self.queue_max = ANSWER_SECONDS, _QUEUE_MAX
        self.writable = True
        self.commits = self.records = self.dropped = self.rejected = 0
        self._cause = ""  # why the log is not writable, as it was logged last
        self._meters = meters or Meters()
        self._times: dict[asyncio.Future[AppendResult], CallTimes] = {}
        self._queue: _Queue = {}
        self._batch: _Queue = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._finished = asyncio.Event()
        self._pool = executor or ThreadPoolExecutor(1, thread_name_prefix="recorder")

    @property
    def is_finished(self) -> bool:
        """Return true if the recorder was closed and has nothing left to write."""
        return self._finished.is_set()

    @property
    def queue_length(self) -> int:
        """Return the number of entries that wait. Any thread may read this property."""
        return len(self._queue)

    async def record(self, entry: LogEntry, times: CallTimes | None = None) -> Record:
        """Append an entry and return its record, or return the record of an earlier entry with the same request_id.

        Args:
            entry: The entry.
            times: Gets the times of sealing and commit; None if nobody reads them.

        Raises:
            StoreUnavailable: The entry was not written, or it is unknown whether it was. The caller must get an error.
            ServerBusy: Too many entries wait already. This entry is not recorded.
            Draining: The recorder is closed. The entry is not recorded.
            RequestIdReused, RecordRemoved, RecordDamaged, PreconditionFailed: See RecordLog.append.
        """
        (future,) = self._enqueue((entry,))
        if times is not None:
            self._times[future] = times
        timer = asyncio.get_running_loop().call_later(remaining_seconds(), self._expire, future)
        try:
            result = await future
        finally:
            timer.cancel()
            self._times.pop(future, None)
            if self._queue.pop(future, None) is not None:  # the call was cancelled
                self.dropped += 1
        if isinstance(result, Exception):
            raise result
        return result

    async def record_several(self, entries: Sequence[LogEntry]) -> list[AppendResult]:
        """Append entries; return for each entry what `record` would return or raise.

        Raises:
            ServerBusy: Too many entries wait already. None of these entries is recorded.
            Draining: The recorder is closed. None of these entries is recorded.
        """
        futures = self._enqueue(entries)
        timer = asyncio.get_running_loop().call_later(remaining_seconds(), self._expire_all, futures)
        try:
            # Most entries of a batch get their results at the same time, so most futures are done when they are awaited.
            return [await future for future in futures]
        finally:
            timer.cancel()
            self.dropped += sum(self._queue.pop(future, None) is not None for future in futures)

    def _enqueue(self, entries: Sequence[LogEntry]) -> list[asyncio.Future[AppendResult]]:
        """Append entries to the queue; return the futures of their results.

        Raises:
            ServerBusy: The queue has no room for all entries.
            Draining: The recorder is closed.
        """
        if self._closing:
            raise Draining("this server is stopping; retry")
        if len(self._queue) + len(entries) > self.queue_max:
            self.rejected += len(entries)
            raise ServerBusy("too many records wait to be written; retry later", retry_seconds=_PROBE_SECONDS)
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[AppendResult]] = [loop.create_future() for _ in entries]
        self._queue.update(zip(futures, entries, strict=True))
        self._wake.set()
        return futures

    def _expire_all(self, futures: Iterable[asyncio.Future[AppendResult]]) -> None:
        """End the wait of several entries; see `_expire`."""
        for future in futures:
            self._expire(future)

    def _expire(self, future: asyncio.Future[AppendResult]) -> None:
        """End the wait of a call that has reached its time limit. An entry that is still in the queue is dropped."""
        if not future.done():
            unwritten = self._queue.pop(future, None) is not None
            self.dropped += unwritten
            future.set_result(StoreUnavailable(_NOT_WRITTEN if unwritten else _UNKNOWN))

    async def step(self) -> None:
        """Wait for entries and write one batch. If none arrives in time, probe the log.

        If this raises an exception, every waiting call gets an error, and the next call of `step` continues.
        """
        try:
            await self._wait_for_work()
            if self._queue:
                await self._write_batch()
            elif not self._closing:
                await self.probe()
        except BaseException:
            self.writable = False  # until the next successful write or probe
            self._fail_waiting(_FAILED)
            raise
        if self._closing and not self._queue:
            self._finished.set()

    async def close(self, seconds: float = ANSWER_SECONDS) -> bool:
        """Write all entries in the queue, and stop. After `seconds`, fail the entries that are left.

        Returns:
            True if everything was written; False if the time limit was reached. A thread may then still write.
        """
        self._closing = True
        self._wake.set()
        try:
            async with asyncio.timeout(seconds):
                await self._finished.wait()
        except TimeoutError:
            self._fail_waiting(_UNKNOWN)
        in_time = self._finished.is_set()
        self._finished.set()
        self._pool.shutdown(wait=in_time)
        return in_time

    async def _write_batch(self) -> None:
        """Write the oldest entries whose calls still wait, and wake these calls."""
        waiting = [(future, entry) for future, entry in self._queue.items() if not future.done()]
        self.dropped += len(self._queue) - len(waiting)
        self._batch, self._queue = dict(waiting[:_BATCH_MAX]), dict(waiting[_BATCH_MAX:])
        if not waiting:
            return
        results = await self._append_batch(list(self._batch.values()))
        for future, result in zip(self._batch, results, strict=True):
            if not future.done():
                future.set_result(result)
        self._batch = {}

    def _fail_waiting(self, message: str) -> None:
        """End the wait of every call with an error, which is a new exception because exceptions collect tracebacks."""
        for future in (*self._batch, *self._queue):
            if not future.done():
                future.set_result(StoreUnavailable(message))
        self._batch, self._queue = {}, {}

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
            await self._set_writable(writable=False, cause=error.cause or str(error))
            # Create one exception for each caller, because a shared exception would collect the tracebacks of all
            # callers.
            return [error.copy() for _ in entries]
        except Exception as error:  # noqa: BLE001 - a bug: it is raised in every caller, and the recorder continues
            return [error for _ in entries]
        self.commits += 1
        self.records += len(entries)
        stages = dict(zip((SEAL, COMMIT), self._log.append_seconds, strict=True))
        self._meters.count_commit(len(entries), stages)
        for future in self._batch:
            if times := self._times.get(future):
                times.seconds |= stages
        await self._set_writable(writable=True)
        return results

    async def _run_in_thread(self, work: Callable[[*_Arguments], _Result], *args: *_Arguments) -> _Result:
        """Run blocking work in the recorder's thread. If it exceeds `hang_seconds`, set `writable` to False."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        done, _ = await asyncio.wait({future}, timeout=self.hang_seconds)
        if not done:
            await self._set_writable(
                writable=False, cause=f"the database has not answered for {self.hang_seconds:g} seconds"
            )
        return await future

    async def probe(self) -> None:
        """Probe the log, and update `writable`. Without probes, an idle recorder would not detect a failure."""
        try:
            await self._run_in_thread(self._log.probe)
        except StoreUnavailable as error:
            await self._set_writable(writable=False, cause=error.cause or str(error))
        except Exception as error:  # noqa: BLE001 - a bug: the recorder must continue
            LOG.error("bug", task="probe", error=type(error).__name__, location=error_location(error))
            await self._set_writable(writable=False)
        else:
            await self._set_writable(writable=True)

    async def _set_writable(self, *, writable: bool, cause: str = "") -> None:
        """Set `writable`. If its value changes, log and report the change. A new cause of the same outage is logged too."""
        if cause and cause != self._cause:
            LOG.error("record log", writable=False, cause=cause)
        elif writable != self.writable:
            LOG.warning("record log", writable=writable)
        self._cause = cause
        if writable != self.writable:
            self.writable = writable
            try:
                await self._report_change()
            except Exception as error:  # noqa: BLE001 - a bug: the recorder must continue
                LOG.error("bug", task="health", error=type(error).__name__, location=error_location(error))
