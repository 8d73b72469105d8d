"""The threads that wait for the database, so that the event loop does not."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class StoreThreads:
    """A fixed number of threads."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="store")

    async def run(self, work: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        """Run something that waits. Once begun it is finished, also when the caller has gone away."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))
        return await asyncio.shield(future)

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown(wait=True)
