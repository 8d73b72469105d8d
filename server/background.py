"""Background tasks: work that the server repeats while it answers calls.

Every task is supervised. A failed iteration is logged with its location, and the task continues after a pause that
grows while the task keeps failing. A task that ends unexpectedly is started again. The state of each task is visible.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from server.monitoring.error_location import error_location

LOG = structlog.get_logger()
_FIRST_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.1, 5.0
_STALL_SECONDS = 60.0  # an iteration that takes longer hangs


@dataclass(slots=True)
class TaskStatus:
    """State and counters of one background task.

    Attributes:
        iterations: Number of iterations that have ended.
        failures: Number of iterations that have failed.
        failures_in_a_row: Number of iterations that have failed since the last successful one.
        location: Location of the last failure in the code; empty after a successful iteration.
        started_at: Start of the running iteration, on the clock of the event loop; None if none is running.
        stalled: Whether the running iteration takes longer than a minute.
    """

    iterations: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    location: tuple[str, ...] = ()
    started_at: float | None = None
    stalled: bool = False

    @property
    def healthy(self) -> bool:
        """Return true if the last iteration succeeded, and the running one does not hang."""
        return not self.failures_in_a_row and not self.stalled


class BackgroundTasks:
    """Starts tasks, supervises them, and stops them. Its methods must be called on the event loop.

    Attributes:
        statuses: The status of each task, by its name.
    """

    def __init__(self, report_change: Callable[[], Awaitable[None]] | None = None) -> None:
        """Create a supervisor without tasks.

        Args:
            report_change: Called each time after a task became healthy or unhealthy.
        """
        self._report_change = report_change
        self.statuses: dict[str, TaskStatus] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def attempt(self, task: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Run one iteration of a task, and log its failure. Return whether the iteration succeeded.

        If consecutive iterations fail at the same location, only the first failure is logged.

        Args:
            task: Name of the task in the application log.
            work: Runs the iteration. If the result is False, the iteration has failed and has logged the reason.
        """
        status = self.statuses.setdefault(task, TaskStatus())
        was_healthy, status.started_at = status.healthy, asyncio.get_running_loop().time()
        try:
            failed = await work() is False
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            self._record_failure(task, error)
        else:
            status.failures += failed
            status.failures_in_a_row = status.failures_in_a_row + 1 if failed else 0
            status.location = ()
        finally:
            status.iterations += 1
            status.started_at, status.stalled = None, False
        if status.healthy != was_healthy:
            await self._report()
        return status.healthy

    def repeat(
        self,
        task: str,
        work: Callable[[], Awaitable[object]],
        *,
        seconds: float,
        delay: float = 0.0,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start a task that waits for a delay, and then runs `work` repeatedly until `stop` is called.

        Args:
            task: Name of the task.
            work: Runs one iteration; see `attempt`.
            seconds: Pause between the end of one iteration and the start of the next, in seconds. After failures, the
                pause is longer.
            delay: Delay before the first iteration, in seconds.
            until: Returns whether the task is complete, which is checked before each iteration.
        """
        self.statuses.setdefault(task, TaskStatus())

        async def run(pause: float) -> None:
            await asyncio.sleep(pause)
            while not until():
                await self.attempt(task, work)
                if pause := max(seconds, self._back_off(task)):
                    await asyncio.sleep(pause)

        def start(pause: float) -> None:
            self._tasks[task] = asyncio.create_task(run(pause), name=task)
            self._tasks[task].add_done_callback(restart)

        def restart(ended: asyncio.Task[None]) -> None:
            if not self._stopping and not until():
                error = None if ended.cancelled() else ended.exception()
                self._record_failure(task, error or asyncio.CancelledError())
                start(max(seconds, self._back_off(task)))

        start(delay)

    async def check_stalled(self) -> None:
        """Log each task whose running iteration hangs, and update its status."""
        now, changed = asyncio.get_running_loop().time(), False
        for task, status in self.statuses.items():
            if status.started_at is not None and not status.stalled and now - status.started_at > _STALL_SECONDS:
                status.stalled = changed = True
                with suppress(Exception):
                    LOG.error("background task hangs", task=task, seconds=round(now - status.started_at))
        if changed:
            await self._report()

    async def stop(self) -> None:
        """Cancel all tasks, and wait until all of them have ended."""
        self._stopping = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _record_failure(self, task: str, error: BaseException) -> None:
        """Count a failure, and log it unless the previous iteration failed at the same location."""
        status, location = self.statuses[task], tuple(error_location(error))
        if not status.failures_in_a_row or status.location != location:
            # A failing log must not end the task.
            with suppress(Exception):
                LOG.error("background task failed", task=task, error=type(error).__name__, location=list(location))
        status.failures += 1
        status.failures_in_a_row += 1
        status.location = location

    def _back_off(self, task: str) -> float:
        """Return the pause in seconds after the last iteration of a task; 0 if it succeeded."""
        failures = self.statuses[task].failures_in_a_row
        return min(_FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10), _PAUSE_SECONDS_MAX) if failures else 0.0

    async def _report(self) -> None:
        """Report that a task became healthy or unhealthy."""
        if self._report_change is not None:
            try:
                await self._report_change()
            except Exception as error:  # noqa: BLE001 - a bug: the task must continue
                with suppress(Exception):
                    LOG.error("bug", task="health", error=type(error).__name__, location=error_location(error))


def _is_cancelled() -> bool:
    """Return whether the current task itself is cancelled, and not only work that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
