"""Starts, shares and ends the processes that run the graphs of untrusted bundles.

A process runs the graphs of one bundle only, so a bundle cannot change the results of another bundle. The number of
processes is limited. If a bundle needs a process and the limit is reached, the process that has been idle for the
longest time ends. A process also ends after it has been idle for `idle_seconds`. A bundle that exceeded a limit is
refused for a minute, so that repeated calls do not occupy all processes.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.errors import BundleInvalid, BundleNotRunnable
from models.isolation.frames import (
    FAILURE_BYTES_MAX,
    FrameKind,
    graph_parts,
    read_exactly,
    read_header,
    row_parts,
    write_frame,
)
from models.model import Model, open_model

# `python -I` ignores the environment and the working directory, so the third and later arguments state where the
# packages are.
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[3:]; from models.isolation.worker import main; main(*map(int, sys.argv[1:3]))"
)
_VARIABLES = {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"}
_INHERITED = ("LD_LIBRARY_PATH",)  # on some systems the interpreter finds its libraries through this variable
_REFUSE_SECONDS = 60.0
_DOUBLE_BYTES = 8
_STOPPING = "the server stops; retry on a different server"

_FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """The limits of the processes that run graphs of bundles.

    Attributes:
        memory_bytes: Address space of the process. The interpreter and its libraries need about 150 MB of it.
        cpu_seconds: Processor time for each request.
        wall_seconds: Elapsed time for each request, and also for the wait until a process is free.
        idle_seconds: Time after which an unused process ends.
        processes: Largest number of processes.
    """

    memory_bytes: int = 1024 * 1024 * 1024
    cpu_seconds: int = 10
    wall_seconds: float = 30.0
    idle_seconds: float = 60.0
    processes: int = 3


class GraphProcesses:
    """The processes that run untrusted graphs. The methods may be called from any thread."""

    def __init__(self, limits: ProcessLimits | None = None) -> None:
        self.limits = limits or ProcessLimits()
        self._changed = threading.Condition()
        self._idle: list[_GraphProcess] = []  # the least recently used one first
        self._busy: dict[str, _GraphProcess | None] = {}  # by bundle_id; None while the process starts
        self._refusals: dict[str, tuple[float, str]] = {}  # by bundle_id: end of the refusal, and its reason
        self._timer: threading.Timer | None = None  # ends idle processes
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def open_model(self, bundle: Bundle) -> Model:
        """Open a bundle's graphs in a process, and check that they reproduce its golden rows.

        Raises:
            BundleInvalid: A graph does not open, the results of a golden row differ, or a limit was exceeded.
        """
        return open_model(bundle, lambda score, explain: self._open_scorer(bundle.bundle_id, score, explain))

    def _open_scorer(self, bundle_id: str, score: bytes, explain: bytes) -> "IsolatedScorer":
        """Return the scorer of a bundle, after its graphs have been opened in a process."""
        scorer = IsolatedScorer(self, bundle_id, score, explain)
        with self._use_process(scorer):
            return scorer

    def close(self) -> None:
        """End all processes. A request in progress fails."""
        with self._changed:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            for process in [*self._idle, *self._busy.values()]:
                if process is not None:
                    process.kill()
            self._idle.clear()
            self._changed.notify_all()

    def run(self, scorer: "IsolatedScorer", kind: FrameKind, parts: tuple[bytes, ...], doubles: int) -> _FloatArray:
        """Send a request to the bundle's process, which is started if necessary, and return the numbers of the answer.

        Args:
            scorer: The scorer of the bundle.
            kind: The kind of the request.
            parts: The content of the request.
            doubles: How many numbers the answer must have.

        Raises:
            BundleInvalid: The graphs failed, for example because they need more memory than the process may have.
            BundleNotRunnable: The process exceeded a limit or crashed, or no process became free in time.
        """
        try:
            with self._use_process(scorer) as process:
                return self._request(process, kind, parts, doubles)
        except RuntimeError as error:
            raise BundleInvalid(f"its graphs failed: {error}") from error

    def _request(
        self, process: "_GraphProcess", kind: FrameKind, parts: tuple[bytes, ...], doubles: int
    ) -> _FloatArray:
        """Send a request. If the process exceeds a limit or crashes, refuse the bundle for a minute."""
        try:
            return process.request(kind, parts, doubles, self.limits)
        except BundleNotRunnable as error:
            with self._changed:
                if self._closed:
                    raise BundleNotRunnable(_STOPPING) from error
                now = time.monotonic()
                self._refusals = {name: each for name, each in self._refusals.items() if each[0] > now}
                self._refusals[process.bundle_id] = now + _REFUSE_SECONDS, str(error)
            raise

    @contextmanager
    def _use_process(self, scorer: "IsolatedScorer") -> "Iterator[_GraphProcess]":
        """Yield the process of a bundle, which no other thread uses during the block."""
        process = self._reserve(scorer.bundle_id)
        try:
            if process is None:
                process = self._start(scorer)
            yield process
        finally:
            self._release(scorer.bundle_id, process)

    def _reserve(self, bundle_id: str) -> "_GraphProcess | None":
        """Wait until this thread may use a process for the bundle; return the bundle's idle process, if one exists."""
        deadline = time.monotonic() + self.limits.wall_seconds
        with self._changed:
            while True:
                self._check_allowed(bundle_id)
                if bundle_id not in self._busy:
                    process = next((each for each in self._idle if each.bundle_id == bundle_id), None)
                    if process is not None:
                        self._idle.remove(process)
                        if not process.is_alive():  # for example, the system killed it to free memory
                            process.kill()
                            process = None
                    if process is not None or self._make_room():
                        self._busy[bundle_id] = process
                        return process
                if not self._changed.wait(deadline - time.monotonic()):
                    raise BundleNotRunnable(
                        f"all {self.limits.processes} processes for bundles that are not active are busy; retry later"
                    )

    def _check_allowed(self, bundle_id: str) -> None:
        """Raise BundleNotRunnable if the bundle exceeded a limit a short time ago, or if `close` was called."""
        if self._closed:
            raise BundleNotRunnable(_STOPPING)
        until, problem = self._refusals.get(bundle_id, (0.0, ""))
        if time.monotonic() < until:
            raise BundleNotRunnable(problem)

    def _make_room(self) -> bool:
        """Return whether one more process may start. If necessary, end the process that has been idle for longest."""
        if len(self._busy) + len(self._idle) < self.limits.processes:
            return True
        if self._idle:
            self._idle.pop(0).kill()
            return True
        return False

    def _start(self, scorer: "IsolatedScorer") -> "_GraphProcess":
        """Start a process, and open the bundle's graphs in it."""
        try:
            process = _GraphProcess(scorer.bundle_id, self.limits)
        except OSError as error:
            raise BundleNotRunnable(f"no process could be started: {error.strerror}") from error
        try:
            with self._changed:
                self._check_allowed(scorer.bundle_id)  # `close` may have been called after the reservation
                self._busy[scorer.bundle_id] = process
            self._request(process, FrameKind.OPEN, graph_parts(scorer.score, scorer.explain_graph), 0)
        except BaseException:
            process.kill()
            raise
        return process

    def _release(self, bundle_id: str, process: "_GraphProcess | None") -> None:
        """Make a process available to other threads. If the process has ended or `close` was called, discard it."""
        with self._changed:
            self._busy.pop(bundle_id, None)
            if process is not None and process.is_alive() and not self._closed:
                process.idle_since = time.monotonic()
                self._idle.append(process)
                self._watch_idle()
            elif process is not None:
                process.kill()
            self._changed.notify_all()

    def _watch_idle(self) -> None:
        """Start the timer that ends idle processes, unless it runs already."""
        if self._timer is None:
            self._timer = threading.Timer(self.limits.idle_seconds, self._end_idle)
            self._timer.daemon = True
            self._timer.start()

    def _end_idle(self) -> None:
        """End the processes that have been idle for `idle_seconds`."""
        with self._changed:
            self._timer = None
            before = time.monotonic() - self.limits.idle_seconds
            for process in [each for each in self._idle if each.idle_since <= before]:
                self._idle.remove(process)
                process.kill()
            if self._idle and not self._closed:
                self._watch_idle()


class IsolatedScorer:
    """A scorer with the methods of `Scorer`, whose graphs run in another process. Safe to share between threads.

    The process uses the same options of ONNX Runtime as `Scorer`, so the results are equal bit for bit.

    Attributes:
        bundle_id: The bundle's id.
        score: Bytes of score.onnx.
        explain_graph: Bytes of explain.onnx.
    """

    def __init__(self, processes: GraphProcesses, bundle_id: str, score: bytes, explain: bytes) -> None:
        self._processes = processes
        self.bundle_id, self.score, self.explain_graph = bundle_id, score, explain

    def margins(self, rows: _FloatArray) -> _FloatArray:
        """Return the margins without explanations; see `Scorer.margins`."""
        return self._processes.run(self, FrameKind.MARGINS, row_parts(rows), len(rows))

    def explain(self, rows: _FloatArray) -> tuple[_FloatArray, _FloatArray]:
        """Return margins and contributions; see `Scorer.explain`."""
        count, width = rows.shape
        numbers = self._processes.run(self, FrameKind.EXPLAIN, row_parts(rows), count * (1 + width))
        return numbers[:count], numbers[count:].reshape(count, width)

    def explain_one(self, row: _FloatArray) -> tuple[float, list[float]]:
        """Return margin and contributions of one row of shape (1, n_features); see `Scorer.explain_one`."""
        margins, contributions = self.explain(row)
        return float(margins[0]), contributions[0].tolist()

    def contributions(self, rows: _FloatArray) -> _FloatArray:
        """Return the contributions; see `Scorer.contributions`."""
        return self.explain(rows)[1]


class _GraphProcess:
    """One process, which runs the graphs of one bundle. Only one thread at a time may send requests.

    Attributes:
        bundle_id: The bundle whose graphs the process runs.
        idle_since: Time of the monotonic clock at which the last request ended.
    """

    def __init__(self, bundle_id: str, limits: ProcessLimits) -> None:
        self.bundle_id, self.idle_since = bundle_id, 0.0
        environment = _VARIABLES | {name: os.environ[name] for name in _INHERITED if name in os.environ}
        paths = [str(Path(__file__).parents[2]), *(path for path in sys.path if Path(path).is_absolute())]
        # The working directory is an empty folder, which is deleted as soon as the process has started.
        with tempfile.TemporaryDirectory(prefix="grounds-bundle-") as folder:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-c", _PROGRAM, str(limits.memory_bytes), str(limits.cpu_seconds), *paths],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=environment,
                close_fds=True,
                start_new_session=True,  # Ctrl-C in a terminal reaches only the server, which ends the process itself
            )

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the process and release its pipes. Killing it is safe, because it has no state."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError, ValueError):  # a pipe to a dead process cannot be flushed
                if stream is not None:
                    stream.close()

    def request(
        self, kind: FrameKind, parts: tuple[bytes, ...], doubles: int, limits: ProcessLimits
    ) -> NDArray[np.float64]:
        """Send a request, and return the numbers of the answer, which must be exactly `doubles`.

        Raises:
            BundleNotRunnable: The process exceeded a limit, crashed, or sent an invalid answer.
            RuntimeError: The process answered that the request failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timed_out = threading.Event()

        def end_slow_request() -> None:
            timed_out.set()
            self._process.kill()

        watchdog = threading.Timer(limits.wall_seconds, end_slow_request)
        watchdog.daemon = True
        watchdog.start()
        try:
            write_frame(self._process.stdin, kind, *parts)
            return _read_answer(self._process.stdout, doubles)
        except (EOFError, OSError, ValueError) as error:
            self._process.kill()
            raise BundleNotRunnable(self._describe_end(limits, timed_out=timed_out.is_set())) from error
        finally:
            watchdog.cancel()

    def _describe_end(self, limits: ProcessLimits, *, timed_out: bool) -> str:
        """Return why the process ended."""
        code = self._process.wait()
        if timed_out:
            return f"its graphs did not answer within {limits.wall_seconds:g} seconds"
        if code == -signal.SIGXCPU:
            return f"its graphs used more than {limits.cpu_seconds} seconds of processor time"
        return f"its graphs ended the process that ran them, which has {limits.memory_bytes // 2**20:,} MB of memory"


def _read_answer(stream: IO[bytes], doubles: int) -> NDArray[np.float64]:
    """Read an answer.

    Raises:
        EOFError, ValueError: The process ended, or sent an invalid answer.
        RuntimeError: The process answered that the request failed.
    """
    kind, length = read_header(stream)
    if kind == FrameKind.FAILURE and length <= FAILURE_BYTES_MAX:
        raise RuntimeError(read_exactly(stream, length).decode("ascii", "replace"))
    if kind != FrameKind.RESULT or length != doubles * _DOUBLE_BYTES:
        raise ValueError("not an answer")
    return np.frombuffer(read_exactly(stream, length), "<f8").astype(np.float64)


def check_bundle(bundle: Bundle) -> None:
    """Check, in a process that ends afterwards, that a bundle's graphs open and reproduce its golden rows.

    Raises:
        BundleInvalid: A graph does not open, the results of a golden row differ, or a limit was exceeded.
    """
    with GraphProcesses() as processes:
        processes.open_model(bundle)
