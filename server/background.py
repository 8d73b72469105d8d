"""Background tasks: work that the server repeats while it answers calls.

An exception in one iteration is logged, and the task continues with the next iteration.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from server.edges.error_location import error_location

LOG = structlog.get_logger()
_Work = Callable[[], Awaitable[object]]


class BackgroundTasks:
    """Starts tasks, logs their failures, and stops them. Its methods must be called on the event loop."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        # For each task whose last attempt failed: the location of the failure.
        self._failures: dict[str, list[str]] = {}

    async def attempt(self, task: str, work: Awaitable[object]) -> None:
        """Run one iteration of a background task, and log its failure.

        If consecutive iterations fail at the same location, only the first failure is logged.

        Args:
            task: Name of the task in the application log.
            work: The iteration to await.
        """
        try:
            await work
        except Exception as error:  # noqa: BLE001 - any error, such as a full disk or a bug: the task must continue
            location = error_location(error)
            if self._failures.get(task) != location:
                LOG.error("background task failed", task=task, error=type(error).__name__, location=location)
            self._failures[task] = location
        else:
            self._failures.pop(task, None)

    def repeat(self, work: _Work, *, seconds: float, delay: float = 0.0) -> None:
        """Start a task that waits for a delay, and then runs `work` repeatedly until `stop` is called.

        Args:
            work: Called for each run; returns the awaitable of the run. A run must pass each of its steps to `attempt`,
                because an exception that leaves the run would end the task.
            seconds: Pause between the end of one run and the start of the next, in seconds.
            delay: Delay before the first run, in seconds.
        """

        async def run() -> None:
            await asyncio.sleep(delay)
            while True:
                await work()
                await asyncio.sleep(seconds)

        self._tasks.append(asyncio.create_task(run()))

    def run_later(self, work: _Work, *, delay: float) -> None:
        """Start a task that runs `work` once after a delay in seconds, unless `stop` is called earlier."""

        async def run() -> None:
            await asyncio.sleep(delay)
            await work()

        self._tasks.append(asyncio.create_task(run()))

    async def stop(self) -> None:
        """Cancel all tasks, and wait until all of them have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
