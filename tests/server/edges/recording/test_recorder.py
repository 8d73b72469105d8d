"""The recorder bounds its queue, drops abandoned calls, keeps time limits, and survives failures of its own loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from server.background import BackgroundTasks
from server.config import Settings
from server.edges.call_deadline import start_call
from server.edges.recording.recorder import Recorder
from server.errors import Draining, ServerBusy, StoreUnavailable
from server.stores.record_log.entries import AppendResult, LogEntry
from server.stores.record_log.log import RecordLog
from server.stores.tables import RECORDS
from tests.conftest import Serving
from tests.server.record_logs import entry, open_test_log
from tests.server.requests import call_error, score_request
from tests.server.servers import record_count, wait_until
from tests.server.test_background import serve_fragile

PATIENCE_SECONDS = 10


class SlowLog:
    """A real record log whose appends wait while the event `open` is not set, as on a disk that hangs.

    Attributes:
        open: Event that is set while appends may proceed.
        began: Number of appends that have begun.
    """

    def __init__(self, log: RecordLog) -> None:
        self._log, self.open, self.began = log, threading.Event(), 0
        self.open.set()

    @property
    def append_seconds(self) -> tuple[float, float]:
        """Return the times of the real log."""
        return self._log.append_seconds

    def append(self, entries: Sequence[LogEntry]) -> list[AppendResult]:
        """Wait until `open` is set, then append."""
        self.began += 1
        self.open.wait(PATIENCE_SECONDS)
        return self._log.append(entries)

    def probe(self) -> None:
        """Probe the log."""
        self._log.probe()


class CancellingExecutor(ThreadPoolExecutor):
    """A thread pool that cancels all submitted work while `broken` is true, as a pool at shutdown does."""

    broken = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit the work, or return a cancelled future if the pool is broken."""
        if not self.broken:
            return super().submit(fn, *args, **kwargs)
        future: Future[Any] = Future()
        future.cancel()
        return future


async def ignore_change() -> None:
    """Do nothing."""


@asynccontextmanager
async def run_recorder(log: SlowLog, executor: ThreadPoolExecutor | None = None) -> AsyncIterator[Recorder]:
    """Run a recorder as a background task that restarts after failures; close the recorder at the end of the block."""
    recorder, tasks = Recorder(log, ignore_change, executor=executor), BackgroundTasks()
    tasks.repeat("recorder", recorder.step, seconds=0, until=lambda: recorder.is_finished)
    try:
        yield recorder
    finally:
        log.open.set()
        assert await recorder.close()
        await tasks.stop()


@pytest.fixture
def slow_log(database_url: str, tmp_path: Any) -> Any:
    """Return a slow log; the test runs once for each kind of database."""
    with open_test_log(database_url, tmp_path) as log:
        yield SlowLog(log)


def request_ids(log: SlowLog) -> set[str]:
    """Return the request_ids of all records."""
    with log._log.database.reading() as connection:
        return set(connection.execute(select(RECORDS.c.request_id)).scalars())


async def begin(recorder: Recorder, log: SlowLog, sent: LogEntry) -> "asyncio.Task[Any]":
    """Make the log hang, and record an entry; return the task when the append of the entry has begun."""
    log.open.clear()
    began = log.began
    call = asyncio.create_task(recorder.record(sent))
    await wait_until(lambda: asyncio.sleep(0, log.began == began + 1))
    return call


async def test_entries_of_abandoned_calls_are_not_recorded(slow_log: SlowLog) -> None:
    first, wanted, abandoned = entry(), entry(), [entry() for _ in range(20)]
    async with run_recorder(slow_log) as recorder:
        running = await begin(recorder, slow_log, first)
        calls = [asyncio.create_task(recorder.record(each)) for each in abandoned]
        last = asyncio.create_task(recorder.record(wanted))
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        slow_log.open.set()
        await asyncio.gather(running, last)

        assert recorder.dropped == 20
    assert request_ids(slow_log) == {first.request_id, wanted.request_id}


async def test_entries_of_calls_that_reached_their_time_limit_are_not_recorded(slow_log: SlowLog) -> None:
    first, late = entry(), [entry() for _ in range(20)]

    async def record_in_time(sent: LogEntry) -> None:
        start_call(0.05)
        await recorder.record(sent)

    async with run_recorder(slow_log) as recorder:
        running = await begin(recorder, slow_log, first)
        errors = await asyncio.gather(*map(record_in_time, late), return_exceptions=True)
        slow_log.open.set()
        await running

    assert {type(error) for error in errors} == {StoreUnavailable}
    assert "nothing was decided" in str(errors[0])
    assert request_ids(slow_log) == {first.request_id}


async def test_an_entry_whose_batch_has_begun_gets_an_error_in_time_and_its_record_on_retry(slow_log: SlowLog) -> None:
    sent = entry()

    async def record_in_time() -> None:
        start_call(0.05)
        await recorder.record(sent)

    async with run_recorder(slow_log) as recorder:
        slow_log.open.clear()
        with pytest.raises(StoreUnavailable, match="retry with the same request_id"):
            await asyncio.create_task(record_in_time())
        slow_log.open.set()
        record = await recorder.record(sent)

    assert record.header.record_id == sent.record_id
    assert request_ids(slow_log) == {sent.request_id}


async def test_a_full_queue_rejects_further_entries_and_keeps_those_that_wait(slow_log: SlowLog) -> None:
    first, waiting, rejected = entry(), [entry(), entry()], entry()
    async with run_recorder(slow_log) as recorder:
        recorder.queue_max = 2
        running = await begin(recorder, slow_log, first)
        calls = [asyncio.create_task(recorder.record(each)) for each in waiting]
        await asyncio.sleep(0)
        with pytest.raises(ServerBusy):
            await recorder.record(rejected)
        slow_log.open.set()
        await asyncio.gather(running, *calls)

    assert recorder.rejected == 1
    assert request_ids(slow_log) == {each.request_id for each in (first, *waiting)}


async def test_a_caller_of_a_full_queue_gets_the_time_to_retry(serving: Serving) -> None:
    assert serving.application.recorder is not None
    serving.application.recorder.queue_max = 0
    error = await call_error(serving.credit.ScoreCredit(score_request()))
    serving.application.recorder.queue_max = 10
    answer = await serving.credit.ScoreCredit(score_request())

    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY")
    assert error.retry_seconds == 0.5
    assert answer.credit_decision.record_ref.decision_id


async def test_if_the_loop_of_the_recorder_fails_every_waiting_call_gets_an_error_and_the_loop_is_restarted(
    slow_log: SlowLog,
) -> None:
    executor = CancellingExecutor(1)
    with capture_logs() as lines:
        async with run_recorder(slow_log, executor) as recorder:
            executor.broken = True
            calls = [asyncio.create_task(recorder.record(entry())) for _ in range(3)]
            async with asyncio.timeout(PATIENCE_SECONDS / 2):
                errors = await asyncio.gather(*calls, return_exceptions=True)
            was_writable = recorder.writable
            executor.broken = False
            sent = entry()
            await recorder.record(sent)

            assert recorder.writable
    failed = [line for line in lines if line["event"] == "background task failed"]
    assert {type(error) for error in errors} == {StoreUnavailable}
    assert not was_writable
    assert (failed[0]["task"], failed[0]["error"]) == ("recorder", "CancelledError")
    assert failed[0]["location"]
    assert request_ids(slow_log) == {sent.request_id}


async def test_a_recorder_that_is_closed_while_the_log_hangs_fails_every_waiting_call(slow_log: SlowLog) -> None:
    tasks, recorder = BackgroundTasks(), Recorder(slow_log, ignore_change)
    tasks.repeat("recorder", recorder.step, seconds=0, until=lambda: recorder.is_finished)
    calls = [await begin(recorder, slow_log, entry()), asyncio.create_task(recorder.record(entry()))]
    await asyncio.sleep(0)

    in_time = await recorder.close(0.1)
    errors = await asyncio.gather(*calls, return_exceptions=True)
    with pytest.raises(Draining):
        await recorder.record(entry())
    slow_log.open.set()
    await asyncio.to_thread(recorder._pool.shutdown)  # waits for the thread, which still uses the log
    await tasks.stop()

    assert not in_time
    assert {type(error) for error in errors} == {StoreUnavailable}


async def test_decisions_whose_callers_gave_up_before_the_write_are_not_recorded(small_settings: Settings) -> None:
    async with serve_fragile(small_settings) as (application, serving):
        recorder, request = application.recorder, score_request()
        assert recorder is not None
        application.free.clear()
        first = asyncio.ensure_future(serving.credit.ScoreCredit(request))
        await wait_until(lambda: asyncio.sleep(0, bool(recorder._batch)))
        impatient = [serving.credit.ScoreCredit(score_request(), timeout=0.5) for _ in range(30)]
        errors = await asyncio.gather(*impatient, return_exceptions=True)
        await wait_until(lambda: asyncio.sleep(0, not recorder._queue))
        application.free.set()
        answer = await first
        last = await serving.credit.ScoreCredit(score_request())
        count = record_count(serving)

    assert {error.code() for error in errors if isinstance(error, grpc.aio.AioRpcError)} == {
        grpc.StatusCode.DEADLINE_EXCEEDED
    }
    assert answer.credit_decision.record_ref.request_id == request.request_id
    assert last.credit_decision.record_ref.decision_id
    assert count == 2
