"""A thread pool for work that waits for the database, so that the event loop never blocks."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from server.edges.call_deadline import ANSWER_SECONDS, remaining_seconds, restart_call
from server.errors import StoreUnavailable

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_NO_ANSWER = "the database does not answer in time; retry"


class _WorkCrashed(Exception):
    """Work in a thread raised a BaseException that is not an Exception, such as a panic of a Rust library."""


class StoreThreads:
    """A pool of at most `count` threads. Each thread may use one database connection."""

    def __init__(self, count: int, *, seconds_max: float = ANSWER_SECONDS, executor: Executor | None = None) -> None:
        """Create a pool.

        Args:
            count: Number of threads.
            seconds_max: Time limit in seconds for one call of `run`, including the wait for a free thread. A thread that
                works for longer than this on the same work is assumed to hang.
            executor: Executor that runs the work instead of a thread pool.
        """
        self._pool = executor or ThreadPoolExecutor(count, thread_name_prefix="store")
        self._count, self._seconds_max = count, seconds_max
        self._submitted = 0  # number of tasks that were submitted and have not ended
        self._started: dict[int, float] = {}  # start time of the present work, by busy thread

    @property
    def seconds_max(self) -> float:
        """Return the time limit in seconds for one call of `run`."""
        return self._seconds_max

    @property
    def busy(self) -> int:
        """Return the number of threads that work."""
        return len(self._started)

    @property
    def waiting(self) -> int:
        """Return the number of tasks that wait for a free thread."""
        return max(0, self._submitted - len(self._started))

    async def run(
        self, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """Run blocking work in a thread, and return its result.

        If the call is cancelled or the time limit is reached, work that has started still runs to its end, and work that
        has not started is dropped.

        Raises:
            StoreUnavailable: The time limit of the gRPC call or of the pool was reached, or every thread hangs.
        """
        seconds = remaining_seconds(self._seconds_max)
        if seconds <= 0 or self._hangs():
            raise StoreUnavailable(_NO_ANSWER)
        loop = asyncio.get_running_loop()
        done = self._submit(loop, lambda: work(*args, **kwargs))
        timer = loop.call_later(seconds, _expire, done)
        try:
            return await done
        finally:
            timer.cancel()

    async def run_long(
        self, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """Run work that may take longer than the time limit of the gRPC call. After the work, this time limit starts again.

        Raises:
            StoreUnavailable: Every thread has worked for longer than the time limit of the pool.
        """
        if self._hangs():
            raise StoreUnavailable(_NO_ANSWER)
        result = await self._submit(asyncio.get_running_loop(), lambda: work(*args, **kwargs))
        restart_call()
        return result

    def _submit(self, loop: asyncio.AbstractEventLoop, work: Callable[[], _Result]) -> asyncio.Future[_Result]:
        """Start work in a thread; return a future of its result. The caller may cancel the future or set an error in it."""
        done: asyncio.Future[_Result] = loop.create_future()

        def run() -> None:
            if done.done():  # nobody waits any longer
                return
            thread = threading.get_ident()
            self._started[thread] = loop.time()
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
                del self._started[thread]
                _call_soon(loop, _set_error, done, error)
            else:
                del self._started[thread]
                _call_soon(loop, _set_result, done, result)

        self._submitted += 1
        done.add_done_callback(self._count_end)
        self._pool.submit(run)
        return done

    def _count_end(self, _done: object) -> None:
        """Count a task that has ended, or whose caller no longer waits. The event loop calls this method."""
        self._submitted -= 1

    def _hangs(self) -> bool:
        """Return whether every thread has worked for longer than the time limit of the pool, so that new work would only wait."""
        if len(self._started) < self._count:
            return False
        now = asyncio.get_running_loop().time()
        return now - max(list(self._started.values()), default=now) > self._seconds_max

    def close(self, seconds: float | None = None) -> bool:
        """End the threads: drop work that has not started, and wait for work that has started.

        Args:
            seconds: The longest time in seconds to wait; None to wait without a limit.

        Returns:
            True if all threads have ended or will end immediately; False if a thread still works.
        """
        self._pool.shutdown(wait=seconds is None, cancel_futures=True)
        deadline = time.monotonic() + (seconds or 0)
        while self._started and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._started


def _call_soon(loop: asyncio.AbstractEventLoop, *call: object) -> None:
    """Call a function on the event loop, unless the loop was closed while the thread worked."""
    try:
        loop.call_soon_threadsafe(*call)  # type: ignore[arg-type] # a function and its arguments
    except RuntimeError:
        if not loop.is_closed():
            raise


def _set_result(done: asyncio.Future[_Result], result: _Result) -> None:
    """Set a result, unless nobody waits any longer."""
    if not done.done():
        done.set_result(result)


def _set_error(done: asyncio.Future[_Result], error: BaseException) -> None:
    """Set an error, unless nobody waits any longer.

    A future must not raise StopIteration, or a BaseException such as SystemExit. Such an error becomes the cause of a
    `_WorkCrashed`.
    """
    if done.done():
        return
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        done.set_exception(error)
    else:
        crash = _WorkCrashed(type(error).__name__)
        crash.__cause__ = error
        done.set_exception(crash)


def _expire(done: asyncio.Future[_Result]) -> None:
    """Raise StoreUnavailable where the result is awaited, because the time limit was reached."""
    if not done.done():
        done.set_exception(StoreUnavailable(_NO_ANSWER))
