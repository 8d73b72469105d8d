"""A thread pool for work that waits for the database, so that the event loop never blocks."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class StoreThreads:
    """A pool of at most `count` threads. Each thread may use one database connection."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="store")

    async def run(
        self, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """Run blocking work in a thread, and return its result. The work is completed even if the call is cancelled."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))
        return await asyncio.shield(future)

    def close(self) -> None:
        """Wait until all work in progress has ended, and end the threads."""
        self._pool.shutdown(wait=True)
