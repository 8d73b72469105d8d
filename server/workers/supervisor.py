"""The supervisor: reserves the port, starts the workers, replaces each worker that ends, and stops all of them.

The operating system distributes new connections among the workers, because all of them listen on the same port
(SO_REUSEPORT). The supervisor itself accepts no connection and opens no store.

    SIGTERM, SIGINT   drain and stop all workers
    SIGHUP            replace the workers one after the other, for example after an upgrade
"""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import structlog

from server.config import Settings
from server.errors import PortInUse
from server.monitoring.endpoint import MonitoringEndpoint, ProbeSources
from server.monitoring.worker_metrics import WorkerMetrics, worker_socket
from server.worker_status import WorkerTable
from server.workers.worker import run_worker

LOG = structlog.get_logger()
_HANG_SECONDS = 30.0  # a worker that has reported nothing for this time is killed and replaced
_POLL_SECONDS = 0.1
_PAUSE_SECONDS_MIN, _PAUSE_SECONDS_MAX = 0.5, 30.0  # pause before a worker that ended early is replaced
_EARLY_SECONDS = 10.0  # a worker that ends sooner after its start probably has a lasting problem, so the pause doubles
_STOP_SECONDS = 10.0  # time for closing the stores, in addition to the time for draining


class _Slot:
    """One worker of the server, which one process after another runs.

    Attributes:
        number: Number of the worker, from 0.
        process: The running process; None while no process runs.
        start_time: Time at which the process started, in seconds of the monotonic clock.
        pause: Pause before the next start, in seconds.
        retry_time: Earliest time of the next start, in seconds of the monotonic clock.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: SpawnProcess | None = None
        self.start_time = self.retry_time = 0.0
        self.pause = _PAUSE_SECONDS_MIN

    def schedule_restart(self) -> None:
        """Set the time of the next start, after the process has ended."""
        early = time.monotonic() - self.start_time < _EARLY_SECONDS
        self.pause = min(2 * self.pause, _PAUSE_SECONDS_MAX) if early else _PAUSE_SECONDS_MIN
        self.retry_time = time.monotonic() + self.pause


class Supervisor:
    """Runs the workers of a server. All methods run in the main thread, which receives the signals."""

    def __init__(
        self, settings: Settings, config: Path | None, workers: int, *, hang_seconds: float = _HANG_SECONDS
    ) -> None:
        """Create a supervisor, which starts nothing until `run` is called.

        Args:
            settings: The settings of every worker.
            config: Path of the configuration file, which every worker reads; None if there is none.
            workers: Number of workers, at least 1.
            hang_seconds: Time in seconds without a report, after which a worker is killed and replaced.
        """
        self._settings, self._config, self._hang_seconds = settings, config, hang_seconds
        self._context: SpawnContext = get_context("spawn")
        self._table = WorkerTable(workers, self._context)
        self._slots = [_Slot(number) for number in range(workers)]
        self._stopping = self._replacing = False
        self._port = 0
        self._folder: Path | None = None  # folder of the sockets from which the endpoint reads the workers' metrics
        self._beat_time = time.monotonic()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, and return the exit status.

        The first worker starts alone, because it may create the database and the keys. If it fails, nothing else
        starts, and its exit status is returned.

        Raises:
            PortInUse: Another process listens on the port.
        """
        for number, handler in (
            (signal.SIGTERM, self._stop),
            (signal.SIGINT, self._stop),
            (signal.SIGHUP, self._replace),
        ):
            signal.signal(number, handler)
        with _reserve_port(self._settings.host, self._settings.port) as reserved, self._monitoring():
            self._port = reserved.getsockname()[1]
            first = self._slots[0]
            self._start(first)
            if not self._wait_until(lambda: self._table.is_present(0) or not _is_running(first)) or not _is_running(
                first
            ):
                return self._stop_workers()
            for slot in self._slots[1:]:
                self._start(slot)
            if self._wait_until(lambda: all(self._table.is_present(slot.number) for slot in self._slots)):
                LOG.info("all workers serving", workers=len(self._slots), address=f"{self._settings.host}:{self._port}")
            while not self._stopping:
                self._supervise()
                self._wait(_POLL_SECONDS)
            return self._stop_workers()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Request the end of `run`; a signal handler."""
        del number, frame
        self._stopping = True

    def _replace(self, number: int, frame: FrameType | None) -> None:
        """Request the replacement of all workers; a signal handler."""
        del number, frame
        self._replacing = True

    def _start(self, slot: _Slot) -> None:
        """Start a process for a worker."""
        slot.process = self._context.Process(
            target=run_worker,
            args=(self._config, self._overrides(slot), slot.number, self._table),
            name=f"worker {slot.number}",
        )
        slot.start_time = time.monotonic()
        slot.process.start()

    def _overrides(self, slot: _Slot) -> dict[str, Any]:
        """Return the settings of a worker that differ from those of the server."""
        overrides: dict[str, Any] = {"port": self._port}
        if self._folder is not None:
            overrides["metrics_address"] = f"unix:{worker_socket(self._folder, slot.number)}"
        return overrides

    @contextmanager
    def _monitoring(self) -> Iterator[None]:
        """Serve the probes and metrics of all workers during the block, if an address is configured.

        Raises:
            PortInUse: The endpoint cannot listen on its address.
        """
        if self._settings.metrics_address is None:
            yield
            return
        with TemporaryDirectory(prefix="grounds-") as folder:  # only the user of the server can read it
            self._folder = Path(folder)
            workers = WorkerMetrics(self._folder, len(self._slots))
            sources = ProbeSources(self._is_alive, workers.readiness, workers.metrics)
            endpoint = MonitoringEndpoint(self._settings.metrics_address, sources)
            LOG.info("monitoring", address=endpoint.address)
            try:
                yield
            finally:
                endpoint.close()

    def _is_alive(self) -> bool:
        """Return whether the loop of `run` runs. A thread of the endpoint calls this method."""
        return time.monotonic() - self._beat_time < _HANG_SECONDS

    def _supervise(self) -> None:
        """Replace workers that have ended or do not respond, and those that a SIGHUP asks to replace."""
        for slot in self._slots:
            self._supervise_worker(slot)
        if self._replacing:
            self._replacing = False
            for slot in self._slots:
                self._replace_worker(slot)

    def _supervise_worker(self, slot: _Slot) -> None:
        """Reap or kill one worker if necessary, and start its successor when the pause is over."""
        if slot.process is None:
            if time.monotonic() >= slot.retry_time:
                LOG.warning("worker replaced", worker=slot.number)
                self._start(slot)
        elif not slot.process.is_alive():
            self._reap(slot)
            slot.schedule_restart()
        elif self._table.silent_seconds(slot.number) > self._hang_seconds:
            LOG.error("worker does not respond and is killed", worker=slot.number, pid=slot.process.pid)
            slot.process.kill()  # no acknowledged record is lost, because each was durable before it was acknowledged

    def _replace_worker(self, slot: _Slot) -> None:
        """Drain one worker, and start its successor; return when the successor accepts connections."""
        process = slot.process
        if process is None or self._stopping:
            return
        process.terminate()
        deadline = time.monotonic() + self._settings.drain_seconds_max + _STOP_SECONDS
        self._wait_until(lambda: not process.is_alive() or time.monotonic() > deadline)
        if process.is_alive():
            process.kill()
        self._reap(slot)
        self._start(slot)
        self._wait_until(lambda: self._table.is_present(slot.number) or not _is_running(slot))

    def _reap(self, slot: _Slot) -> None:
        """Remove the ended process of a worker, and log its exit status (negative: the number of a signal)."""
        assert slot.process is not None, "the worker was started"
        slot.process.join()
        self._table.clear(slot.number)
        if not self._stopping:
            LOG.warning("worker ended", worker=slot.number, pid=slot.process.pid, exit_status=slot.process.exitcode)
        slot.process = None

    def _stop_workers(self) -> int:
        """Drain and stop all workers; return 0, or the largest exit status of a worker if one failed.

        If SIGTERM ends a worker that is still starting, the worker has answered no call, so this does not count as a
        failure.
        """
        running = [slot.process for slot in self._slots if slot.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._settings.drain_seconds_max + _STOP_SECONDS
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                LOG.error("worker did not stop in time and is killed", pid=process.pid)
                process.kill()
                process.join()
        statuses = [process.exitcode or 0 for process in running]
        return max((abs(status) for status in statuses if status != -signal.SIGTERM), default=0)

    def _wait(self, seconds: float) -> None:
        """Wait until a worker ends, a signal arrives, or the time is over."""
        self._beat_time = time.monotonic()
        sentinels = [slot.process.sentinel for slot in self._slots if slot.process is not None]
        with suppress(InterruptedError):
            connection.wait(sentinels, seconds)

    def _wait_until(self, condition: Callable[[], bool]) -> bool:
        """Wait until a condition is true; return false if `run` must end first."""
        while not condition():
            if self._stopping:
                return False
            self._beat_time = time.monotonic()
            time.sleep(_POLL_SECONDS)
        return True


def _is_running(slot: _Slot) -> bool:
    """Return whether a worker's process has started and not ended."""
    return slot.process is not None and slot.process.is_alive()


def _reserve_port(host: str, port: int) -> socket.socket:
    """Bind a socket to the port without listening, and return it. It reserves the port until it is closed.

    Raises:
        PortInUse: Another process has the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = (host, port)
    # A socket with SO_REUSEPORT can be bound even if another server of the same user listens on the port. Therefore
    # bind a socket without SO_REUSEPORT first, which fails in this case.
    try:
        with socket.socket(family) as exclusive:
            exclusive.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            exclusive.bind(address)
            address = exclusive.getsockname()[:2]
        reserved = socket.socket(family)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        raise PortInUse(
            f"cannot listen on {host}:{port}: another process listens there; configure another port"
        ) from error
    return reserved
