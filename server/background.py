"""Background tasks: work that a server repeats beside its calls, and that must not end with its first exception."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from server.edges.error_location import error_location

LOG = structlog.get_logger()
_Work = Callable[[], Awaitable[object]]


class BackgroundTasks:
    """Starts tasks, logs their failures, and stops them. Owned by the event loop."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._failures: dict[str, list[str]] = {}  # by task, where its last attempt failed

    async def attempt(self, task: str, work: Awaitable[object]) -> None:
        """Run one iteration of a background task; log a failure once until it changes.

        Args:
            task: Name for the application log.
            work: The iteration.
        """
        try:
            await work
        except Exception as error:  # noqa: BLE001 - a folder that is being moved, a full disk, or a bug
            location = error_location(error)
            if self._failures.get(task) != location:
                LOG.error("background task failed", task=task, error=type(error).__name__, place=location)
            self._failures[task] = location
        else:
            self._failures.pop(task, None)

    def repeat(self, work: _Work, *, seconds: float, delay: float = 0.0) -> None:
        """Start to run some work after a delay, and again some seconds after each time, until `stop`.

        Args:
            work: Makes each of its steps an `attempt`, so that it never raises.
            seconds: Between the end of one run and the start of the next.
            delay: In seconds, before the first run.
        """

        async def run() -> None:
            await asyncio.sleep(delay)
            while True:
                await work()
                await asyncio.sleep(seconds)

        self._tasks.append(asyncio.create_task(run()))

    def run_later(self, work: _Work, *, delay: float) -> None:
        """Run some work once, after a delay in seconds, unless `stop` comes first."""

        async def run() -> None:
            await asyncio.sleep(delay)
            await work()

        self._tasks.append(asyncio.create_task(run()))

    async def stop(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
