"""The application log: one JSON object per line, on standard error. No line contains customer data.

Logging never raises and never blocks: a full disk, a closed pipe or a reader that stops must not stop decisions. Lines
are queued in memory, and a thread writes them. A line that does not fit into the queue, or that cannot be written, is
dropped. As soon as writing works again, a line reports how many lines were dropped.
"""

import atexit
import json
import logging
import os
import queue
import sys
import threading
import time
from typing import Any

import structlog

_LINES_MAX = 10_000  # the queue then uses a few MB of memory
# The wait at exit is limited, because otherwise a reader that has stopped would keep the process alive.
_FLUSH_SECONDS_MAX = 1.0
_RETRY_SECONDS = 0.2


class LogWriter:
    """Writes lines to a file descriptor, in a separate thread.

    Attributes:
        dropped: Number of lines that were dropped and have not been reported yet.
    """

    def __init__(self, descriptor: int, lines_max: int = _LINES_MAX) -> None:
        """Start the thread; at most `lines_max` lines wait for it."""
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes] = queue.Queue(lines_max)
        self.dropped = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="application-log", daemon=True).start()

    def write(self, text: str) -> None:
        """Queue a line of ASCII JSON that ends in a newline, or drop it if the queue is full. JSON leaves only DEL unescaped."""
        try:
            self._lines.put_nowait(text.replace("\x7f", "\\u007f").encode("utf-8", "backslashreplace"))
        except queue.Full:
            self.count_dropped(1)

    def flush(self) -> None:
        """Do nothing, because the thread buffers nothing. To wait for the queue, call `wait_until_written`."""

    def count_dropped(self, lines: int) -> None:
        """Add to the number of dropped lines."""
        with self._lock:
            self.dropped += lines

    def wait_until_written(self, seconds: float = _FLUSH_SECONDS_MAX) -> None:
        """Wait until the queue is empty, for at most `seconds`."""
        deadline = time.monotonic() + seconds
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.005)

    def _run(self) -> None:
        """Write queued lines until the process ends."""
        while True:
            line = self._lines.get()
            if not self._write_whole(line):
                self.count_dropped(1)
                # A write to a full disk or a closed pipe fails immediately, so pause before the next one.
                time.sleep(_RETRY_SECONDS)
            elif self.dropped:
                self._report_dropped()
            self._lines.task_done()

    def _report_dropped(self) -> None:
        """Write one line with the number of dropped lines."""
        with self._lock:
            count, self.dropped = self.dropped, 0
        event = {"event": "log lines dropped", "count": count, "level": "warning"}
        if not self._write_whole(json.dumps(event).encode() + b"\n"):
            self.count_dropped(count)

    def _write_whole(self, line: bytes) -> bool:
        """Write a line; return whether all of it was written."""
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError:
            return False
        return True


def configure_logging(worker: int | None = None) -> LogWriter:
    """Configure structlog to write every event of level INFO or above as one line. Call this once, at startup.

    Args:
        worker: Number of the worker, which every line contains; None if the process is not one of several workers.

    Returns:
        The writer, which writes the queued lines at exit.
    """
    writer = LogWriter(sys.stderr.fileno())
    atexit.register(writer.wait_until_written)

    class NeverRaising(structlog.make_filtering_bound_logger(logging.INFO)):  # type: ignore[misc] # built at run time
        """Drops an event that cannot be rendered, instead of failing its caller."""

        def _proxy_to_logger(self, method_name: str, event: str | None = None, **values: Any) -> Any:
            try:
                return super()._proxy_to_logger(method_name, event, **values)
            except Exception:  # noqa: BLE001 - the caller's work continues without the line
                writer.count_dropped(1)

    def add_worker(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Add the number of the worker to an event."""
        return event if worker is None else {**event, "worker": worker}

    structlog.configure(
        processors=[
            add_worker,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=NeverRaising,
        logger_factory=structlog.WriteLoggerFactory(writer),  # type: ignore[arg-type] # needs write and flush only
    )
    return writer
