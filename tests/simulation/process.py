"""A simulated server process: the real application without a network, in virtual time."""

import asyncio
import contextvars
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from server.application import Application
from server.config import Settings
from server.edges.recording.recorder import Recorder
from server.edges.thread_pool import StoreThreads
from server.registry.model_registry import ModelRegistry
from server.stores.database import Database
from server.stores.record_log.anchors import CheckpointAnchor
from server.stores.record_log.header_index import HeaderIndexer
from server.stores.record_log.log import RecordLog
from server.stores.record_log.sampling import SampleDrawer
from tests.simulation.in_process_server import CallEnded, InProcessServer
from tests.simulation.steps import DatabaseSteps
from tests.simulation.virtual_time import VirtualExecutor, VirtualTimeLoop

PROCESS: contextvars.ContextVar["ServerProcess | None"] = contextvars.ContextVar("process", default=None)
_HEALTH = "/grpc.health.v1.Health/Check"
_NEVER_SECONDS = 1e6


class VirtualStoreThreads(StoreThreads):
    """Threads for database work, in virtual time."""

    def __init__(self, process: "ServerProcess", count: int) -> None:
        self._executor = process.executor(count)
        self._process = process
        super().__init__(count, executor=self._executor)

    def close(self, seconds: float | None = None) -> bool:
        """Drop work that has not started; block the event loop while work is in progress, for at most `seconds`."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._executor.busy:
            self._process.loop.block(seconds or 0.0)
        return not self._executor.busy


class MigratedDatabase(Database):
    """A database whose tables are up to date."""

    def migrate(self) -> None:
        """Do nothing."""


class SimulatedApplication(Application):
    """The application with virtual threads and without a network. A test takes a mend out in a subclass."""

    idle_probe_seconds = 5.0
    standby_delay_seconds = _NEVER_SECONDS  # its worker is a real process
    database_class: type[Database] = MigratedDatabase

    def __init__(self, settings: Settings, models: ModelRegistry, process: "ServerProcess") -> None:
        super().__init__(settings)
        self._process = process
        # Each process has its own registry. The models are opened already, because opening them takes only real time.
        self.models.current = replace(models.current, activations={})
        self.models._entries, self.models._fingerprints = dict(models._entries), dict(models._fingerprints)
        self.database = self.database_class(settings.database, connections=self.database.connections)
        self.anchors = CheckpointAnchor(self.database, settings.anchor_folder, None)
        self.samples = SampleDrawer(self.database)
        self.threads, self.batch_threads, self.readers, self.replays, self.housekeepers = (
            VirtualStoreThreads(process, count) for count in (settings.store_threads, 1, 1, 1, 6)
        )
        self.chunker = HeaderIndexer(self.database, run_in_thread=self.housekeepers.run)
        process.steps.watch(self.database)

    def _open_log(self) -> RecordLog:
        """Open the log, whose key database is simulated too."""
        log = super()._open_log()
        self._process.steps.watch(log.key_store.database)
        return log

    def _create_recorder(self, log: RecordLog) -> Recorder:
        """Create a recorder with a virtual thread."""
        return Recorder(log, self._update_health, self.idle_probe_seconds, self._process.executor(1))

    def _create_server(self) -> grpc.aio.Server:
        """Create a server without a network."""
        self._process.server = InProcessServer(self.interceptor)
        return self._process.server  # type: ignore[return-value] # has the methods that the application uses

    def _warm_up(self, log: RecordLog) -> None:
        """Do nothing, because a warm-up changes only real time."""


class ServerProcess:
    """One life of a server process.

    Attributes:
        steps: The steps of its databases.
        loop: The event loop of the simulation.
        server: Receives the calls; set by the application.
        died: Is done after the death of the process.
    """

    server: InProcessServer

    def __init__(
        self,
        loop: VirtualTimeLoop,
        random_: random.Random,
        settings: Settings,
        models: ModelRegistry,
        application: Callable[[Settings, ModelRegistry, "ServerProcess"], SimulatedApplication] = SimulatedApplication,
    ) -> None:
        self.loop, self._random = loop, random_
        self._executors: list[VirtualExecutor] = []
        self.tasks: set[asyncio.Task[object]] = set()
        self.died: asyncio.Future[None] = loop.create_future()
        self.steps = DatabaseSteps(loop, random_, lambda: loop.call_soon(self.kill))  # type: ignore[arg-type]
        self.application = application(settings, models, self)

    def executor(self, count: int) -> VirtualExecutor:
        """Return an executor whose threads end with the process."""
        executor = VirtualExecutor(self.loop, self._random, count)
        self._executors.append(executor)
        return executor

    async def start(self) -> bool:
        """Start the application; return False if the process ended instead."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        starting = self.loop.create_task(self.application.start(), context=context)
        await asyncio.wait(_futures(starting, self.died), return_when=asyncio.FIRST_COMPLETED)
        if self.died.done():
            return False
        if starting.exception() is not None:
            self.kill()
            return False
        return True

    async def stop(self) -> float:
        """Stop the process as SIGTERM does; return the virtual seconds until it has ended."""
        context, start = contextvars.copy_context(), self.loop.time()
        context.run(PROCESS.set, self)
        stopping = self.loop.create_task(self.application.stop(), context=context)
        await asyncio.wait(_futures(stopping, self.died), return_when=asyncio.FIRST_COMPLETED)
        if not self.died.done():
            ended = stopping.result()
            while ended and any(executor.busy for executor in self._executors):  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.1)  # a process that exits normally waits for its threads
            self.kill()
        return self.loop.time() - start

    def kill(self) -> None:
        """End the process at once: its threads, its tasks and its connections."""
        if self.died.done():
            return
        self.steps.dead = True
        self.died.set_result(None)
        for executor in self._executors:
            executor.abandon()
        for supervisor in (self.application.background, self.application._recording):
            supervisor._stopping = True  # nobody restarts the tasks of a dead process
        for task in self.tasks:
            task.cancel()
        self.application.database.engine.dispose()
        if self.application.log is not None:
            self.application.log.key_store.database.engine.dispose()
            self.application.log.high_water_mark.close()

    async def call(self, method: str, request: bytes, seconds: float) -> bytes:
        """Call a method; raise CallEnded if the call fails, if the deadline passes, or if the process dies."""
        if self.died.done() or not hasattr(self, "server"):
            raise CallEnded(grpc.StatusCode.UNAVAILABLE, "no process listens")
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        call = context.run(self.server.call, method, request, seconds)
        await asyncio.wait(_futures(call, self.died), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if call.done() and not call.cancelled():
            return call.result()
        if self.died.done() or call.cancelled():
            raise CallEnded(grpc.StatusCode.UNAVAILABLE, "the connection was lost")
        call.cancel()
        raise CallEnded(grpc.StatusCode.DEADLINE_EXCEEDED)

    async def serves(self) -> bool:
        """Return whether the health of the server is SERVING."""
        try:
            answer = await self.call(_HEALTH, health_pb2.HealthCheckRequest().SerializeToString(), 1.0)
        except CallEnded:
            return False
        return health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.SERVING

    def end_task(self, number: int) -> None:
        """End one of the server's background tasks unexpectedly."""
        names = set(self.application.background.statuses) | {"recorder"}
        tasks = sorted((task for task in self.tasks if task.get_name() in names), key=lambda task: task.get_name())
        if tasks:
            tasks[number % len(tasks)].cancel()


def _futures(*futures: "asyncio.Future[Any]") -> "list[asyncio.Future[Any]]":
    """Return futures of different types as a list."""
    return list(futures)


def track_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Remember for each process the tasks that it created."""

    def create(loop: asyncio.AbstractEventLoop, coroutine: object, **options: object) -> "asyncio.Task[object]":
        task: asyncio.Task[object] = asyncio.Task(coroutine, loop=loop, **options)  # type: ignore[arg-type]
        context = options.get("context")
        process = context.get(PROCESS) if isinstance(context, contextvars.Context) else PROCESS.get()
        if process is not None:
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)
        return task

    loop.set_task_factory(create)  # type: ignore[arg-type]
