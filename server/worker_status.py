"""The status of every worker, in memory that the supervisor and all workers share.

Each worker answers health checks for all workers, because a caller cannot choose the worker that accepts its
connection.
"""

import time
from multiprocessing.context import SpawnContext
from typing import Protocol

_ABSENT, _NOT_SERVING, _SERVING = range(3)
# A worker reports several times a second, so a worker that is silent for longer than this does not answer calls.
_BEAT_SECONDS_MAX = 3.0


class Peers(Protocol):
    """The workers of a server, from the view of one of them."""

    def report(self, *, serving: bool) -> None:
        """Report that this worker accepts connections, and whether it can answer all calls."""

    def leave(self) -> None:
        """Report that this worker no longer accepts connections."""

    def all_serving(self) -> bool:
        """Return whether every worker that accepts connections can answer all calls."""


class WorkerTable:
    """One entry for each worker: its status, and the time of its last report. Reads and writes need no lock.

    Only one process writes an entry at a time: the worker while it runs, the supervisor after the worker has ended.
    """

    def __init__(self, workers: int, context: SpawnContext) -> None:
        """Create one entry per worker; none accepts connections yet. Processes of `context` can receive the table."""
        self._statuses = context.RawArray("B", workers)
        self._beats = context.RawArray("d", workers)  # in seconds of the monotonic clock, which all processes share

    def report(self, worker: int, *, serving: bool) -> None:
        """Set the entry of a worker that accepts connections."""
        self._beats[worker] = time.monotonic()
        self._statuses[worker] = _SERVING if serving else _NOT_SERVING

    def clear(self, worker: int) -> None:
        """Set the entry of a worker that accepts no connections."""
        self._statuses[worker] = _ABSENT

    def is_present(self, worker: int) -> bool:
        """Return whether the worker accepts connections."""
        return bool(self._statuses[worker] != _ABSENT)

    def silent_seconds(self, worker: int) -> float:
        """Return the time since the last report of a worker, in seconds; 0 if the worker accepts no connections."""
        return time.monotonic() - self._beats[worker] if self.is_present(worker) else 0.0

    def all_serving(self) -> bool:
        """Return whether every worker that accepts connections reported recently that it can answer all calls."""
        present = [worker for worker in range(len(self._statuses)) if self.is_present(worker)]
        return all(
            self._statuses[worker] == _SERVING and self.silent_seconds(worker) <= _BEAT_SECONDS_MAX
            for worker in present
        )


class WorkerEntry:
    """The entry of one worker; see `Peers`."""

    def __init__(self, table: WorkerTable, worker: int) -> None:
        self._table, self._worker = table, worker

    def report(self, *, serving: bool) -> None:
        """Report that this worker accepts connections, and whether it can answer all calls."""
        self._table.report(self._worker, serving=serving)

    def leave(self) -> None:
        """Report that this worker no longer accepts connections."""
        self._table.clear(self._worker)

    def all_serving(self) -> bool:
        """Return whether every worker that accepts connections can answer all calls."""
        return self._table.all_serving()
