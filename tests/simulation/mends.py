"""Applications without one of the mends: the simulation must find what each mend prevents."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Connection

from grounds_record.merkle import Frontier
from server.background import BackgroundTasks
from server.config import Settings
from server.edges.call_deadline import start_call
from server.edges.interceptor import CallInterceptor
from server.edges.limits import CallClass
from server.registry.model_registry import ModelRegistry
from server.stores.record_log.log import RecordLog
from tests.simulation.process import MigratedDatabase, ServerProcess, SimulatedApplication

_NEVER_SECONDS = 1e6


class ForkBlindLog(RecordLog):
    """A record log that is not compared with any checkpoint outside the database."""

    def _fork_problem(self, _connection: Connection, _frontier: Frontier) -> str:
        """Find no fork."""
        return ""


class ForkBlindApplication(SimulatedApplication):
    """Does not notice that its database lost records."""

    def _open_log(self) -> RecordLog:
        """Open a log without the fork check."""
        log = super()._open_log()
        return ForkBlindLog(log.database, log.key_store, log._signing, log.tags_key, log.high_water_mark)


class FileBlindDatabase(MigratedDatabase):
    """A database whose files are not checked."""

    def check_files(self) -> None:
        """Do nothing."""


class FileBlindApplication(SimulatedApplication):
    """Does not notice that its database file was deleted or replaced."""

    database_class = FileBlindDatabase


class PatientInterceptor(CallInterceptor):
    """An interceptor without the time limit of a call."""

    def _thread_runner(self, call_class: CallClass) -> Callable[..., Awaitable[Any]]:
        """Make the call wait as long as the database does. This is called when the time limit has just begun."""
        start_call(_NEVER_SECONDS)
        return super()._thread_runner(call_class)


class PatientApplication(SimulatedApplication):
    """Lets calls wait as long as the database does."""

    def __init__(self, settings: Settings, models: ModelRegistry, process: ServerProcess) -> None:
        super().__init__(settings, models, process)
        self.interceptor = PatientInterceptor(settings.request_bytes_max)
        for threads in (self.threads, self.readers):
            threads._seconds_max = _NEVER_SECONDS


class UnsupervisedTasks(BackgroundTasks):
    """Background tasks that end at their first failure."""

    def repeat(
        self,
        task: str,
        work: Callable[[], Awaitable[object]],
        *,
        seconds: float,
        delay: float = 0.0,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start a task that nobody supervises."""

        async def run() -> None:
            await asyncio.sleep(delay)
            while not until():
                await work()
                await asyncio.sleep(seconds)

        self._tasks[task] = asyncio.create_task(run(), name=task)


class UnsupervisedApplication(SimulatedApplication):
    """Does not restart a background task that has ended."""

    def __init__(self, settings: Settings, models: ModelRegistry, process: ServerProcess) -> None:
        super().__init__(settings, models, process)
        self.background = UnsupervisedTasks(self._update_health)
        self._recording = UnsupervisedTasks(self._update_health)
