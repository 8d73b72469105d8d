"""Runs the work of concurrent calls together in a thread, so that the calls share queries and thread switches.

While one group is worked on, later calls wait and form the next group. If no group is being worked on, a call starts one
with all calls that arrive in the same iteration of the event loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from server.edges.call_deadline import remaining_seconds, start_call
from server.edges.thread_pool import StoreThreads
from server.errors import StoreUnavailable

_Item = TypeVar("_Item")


class GatheredWork(Generic[_Item]):
    """Runs one function for groups of items. All state is used only on the event loop."""

    def __init__(self, work: Callable[[Sequence[_Item]], object], threads: StoreThreads, group_max: int) -> None:
        """Create an object that does nothing until the first call.

        Args:
            work: Works on a group of items in a thread, and sets the results in the items. If it raises an exception,
                every call of the group raises it.
            threads: The threads.
            group_max: Largest number of items in a group.
        """
        self._work, self._threads, self._group_max = work, threads, group_max
        self._waiting: dict[asyncio.Future[None], _Item] = {}  # in the order of arrival
        self._task: asyncio.Task[None] | None = None

    async def run(self, item: _Item) -> None:
        """Wait until the work on an item is done. If the caller is cancelled before it has begun, it is not done.

        Raises:
            StoreUnavailable: The work did not end within the time limit of the call.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting[done] = item
        if self._task is None:
            self._task = loop.create_task(self._run())
        timer = loop.call_later(remaining_seconds(self._threads.seconds_max), _expire, done)
        try:
            await done
        finally:
            timer.cancel()

    async def _run(self) -> None:
        """Work until no call waits."""
        try:
            while self._waiting:
                # A call that was cancelled or has reached its time limit no longer waits.
                waiting = [(done, item) for done, item in self._waiting.items() if not done.done()]
                group, self._waiting = dict(waiting[: self._group_max]), dict(waiting[self._group_max :])
                if group:
                    await self._work_on(group)
        finally:
            self._task = None

    async def _work_on(self, group: dict[asyncio.Future[None], _Item]) -> None:
        """Work on a group, and wake its calls."""
        start_call(
            self._threads.seconds_max
        )  # this task belongs to no single call, so every group has its own time limit
        try:
            await self._threads.run(self._work, list(group.values()))
        except Exception as error:  # noqa: BLE001 - every waiting call raises the error
            for done in group:
                if not done.done():
                    # Create one exception for each call, because a shared exception would collect the tracebacks of
                    # all calls.
                    own = error.copy() if isinstance(error, StoreUnavailable) else error
                    done.set_exception(own)
            return
        for done in group:
            if not done.done():
                done.set_result(None)


def _expire(done: asyncio.Future[None]) -> None:
    """End the wait of a call that has reached its time limit."""
    if not done.done():
        done.set_exception(StoreUnavailable("the database does not answer in time; retry"))
