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
_COLLECT_SECONDS = 0.005
_BATCH_LINES_MAX = 1000


class LogWriter:
    """Writes lines to a file descriptor, in a separate thread.

    The thread collects lines for a few milliseconds and writes them in one call, because waking a thread for every line
    costs more than all other work on the line.

    Attributes:
        dropped: Number of lines that were dropped and have not been reported yet.
    """

    def __init__(self, descriptor: int, lines_max: int = _LINES_MAX) -> None:
        """Start the thread; at most `lines_max` lines wait for it."""
        self._descriptor, self._lines_max = descriptor, lines_max
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._unwritten = 0  # number of lines in the queue or being written
        self.dropped = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="application-log", daemon=True).start()

    def write(self, text: str) -> None:
        """Queue a line of ASCII JSON with its newline, or drop the line if the queue is full."""
        # JSON escapes all control characters except DEL.
        line = text.replace("\x7f", "\\u007f").encode("utf-8", "backslashreplace")
        with self._lock:
            if self._unwritten >= self._lines_max:
                self.dropped += 1
                return
            self._unwritten += 1
        self._lines.put(line)

    def flush(self) -> None:
        """Do nothing, because the thread buffers nothing. To wait for the queue, call `wait_until_written`."""

    def count_dropped(self, lines: int) -> None:
        """Add to the number of dropped lines."""
        with self._lock:
            self.dropped += lines

    def wait_until_written(self, seconds: float = _FLUSH_SECONDS_MAX) -> None:
        """Wait until the queue is empty, for at most `seconds`."""
        deadline = time.monotonic() + seconds
        while self._unwritten and time.monotonic() < deadline:
            time.sleep(0.005)

    def _run(self) -> None:
        """Write queued lines until the process ends."""
        while True:
            lines = [self._lines.get()]
            time.sleep(_COLLECT_SECONDS)
            while len(lines) < _BATCH_LINES_MAX and not self._lines.empty():
                lines.append(self._lines.get())
            written = self._write_whole(b"".join(lines))
            if written < len(lines):
                self.count_dropped(len(lines) - written)
                # A write to a full disk or a closed pipe fails immediately, so pause before the next one.
                time.sleep(_RETRY_SECONDS)
            elif self.dropped:
                self._report_dropped()
            with self._lock:
                self._unwritten -= len(lines)

    def _report_dropped(self) -> None:
        """Write one line with the number of dropped lines."""
        with self._lock:
            count, self.dropped = self.dropped, 0
        event = {"event": "log lines dropped", "count": count, "level": "warning"}
        if not self._write_whole(json.dumps(event).encode() + b"\n"):
            self.count_dropped(count)

    def _write_whole(self, lines: bytes) -> int:
        """Write lines; return how many of them were written completely."""
        start = 0
        try:
            while start < len(lines):
                start += os.write(self._descriptor, lines[start:])
        except OSError:
            pass  # the caller counts the lines that were not written
        return lines.count(b"\n", 0, start)


# `structlog.processors.JSONRenderer` creates an encoder for every line, which takes longer than encoding the line.
_ENCODER = json.JSONEncoder(default=repr)


def _render_json(_logger: object, _method: str, event: structlog.types.EventDict) -> str:
    """Return an event as a line of JSON."""
    return _ENCODER.encode(event)


def configure_logging(worker: int | None = None, level: str = "INFO") -> LogWriter:
    """Configure structlog to write every event of a level or above as one line. Call this once, at startup.

    Args:
        worker: Number of the worker, which every line contains; None if the process is not one of several workers.
        level: DEBUG, INFO, WARNING or ERROR.

    Returns:
        The writer, which writes the queued lines at exit.
    """
    # Without standard error, its number may belong to another file by now, so the lines are discarded.
    writer = LogWriter(os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else sys.stderr.fileno())
    atexit.register(writer.wait_until_written)
    # Creating a logger for every line costs as much as rendering the line.
    structlog.configure(**logging_options(writer, worker, level), cache_logger_on_first_use=True)
    return writer


def logging_options(writer: LogWriter, worker: int | None = None, level: str = "INFO") -> dict[str, Any]:
    """Return the options of structlog that write every event of a level or above as one line to `writer`."""

    class NeverRaising(structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level])):  # type: ignore[misc] # built at run time
        """Drops an event that cannot be rendered, instead of failing its caller."""

        def _proxy_to_logger(self, method_name: str, event: str | None = None, **values: Any) -> Any:
            try:
                return super()._proxy_to_logger(method_name, event, **values)
            except Exception:  # noqa: BLE001 - the caller's work continues without the line
                writer.count_dropped(1)

    def add_worker(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Add the number of the worker to an event."""
        return event if worker is None else {**event, "worker": worker}

    return {
        "processors": [
            add_worker,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _render_json,
        ],
        "wrapper_class": NeverRaising,
        "logger_factory": structlog.WriteLoggerFactory(writer),  # type: ignore[arg-type] # needs write and flush only
    }
