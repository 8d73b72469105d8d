"""Counts denied and refused calls, and records the counts once a minute.

A record contains callers, methods and reasons, but no values of requests. The number of different combinations in a
record is limited, so even an attack adds at most one small record per minute to the log.
"""

import datetime as dt
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

import grpc

from grounds.audit.v1 import bodies_pb2 as pb
from server.edges.explanations import timestamp
from server.edges.status import ERROR_STATUSES
from server.errors import ServerError
from server.stores.record_log.entries import LogEntry, Record, new_record_id
from server.stores.record_log.refused_calls import CALLS_REFUSED

REFUSAL_SECONDS = 60.0
COMBINATIONS_MAX = 100
_RECORDER = "server"  # the caller in the headers of these records
_OTHER = ("", "", "OTHER")
_CODES = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class _Recorder(Protocol):
    """Appends entries; see `Recorder`."""

    def record(self, entry: LogEntry) -> Awaitable[Record]:
        """Append an entry."""


class RefusalCounter:
    """Counts refused calls by caller, method and reason. It is used only on the event loop."""

    def __init__(self, clock: Callable[[], dt.datetime]) -> None:
        self._clock = clock
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._start: dt.datetime | None = None  # time of the first call that is counted

    def count(self, caller: str, method: str, error: BaseException) -> None:
        """Count a call that ended with an error, if the call was denied or refused.

        Args:
            caller: Name of the principal; "" if the caller was not identified.
            method: Full name of a method that the server has.
            error: The error with which the call ended.
        """
        if not isinstance(error, ServerError) or (status := ERROR_STATUSES[type(error)]).code not in _CODES:
            return
        if self._start is None:
            self._start = self._clock()
        combination = (caller, method, status.reason)
        if combination not in self._counts and len(self._counts) >= COMBINATIONS_MAX:
            combination = _OTHER
        self._counts[combination] += 1

    async def record(self, recorder: _Recorder) -> None:
        """Append a record of all counts, and count from 0. Append nothing if no call was refused.

        Raises:
            ServerError: The record was not written. The counts are kept.
        """
        counts, start = self._counts, self._start
        if start is None:
            return
        self._counts, self._start = Counter(), None
        now = self._clock()
        body = pb.RefusedCallsRecord(
            start_time=timestamp(start),
            end_time=timestamp(now),
            refusals=[
                pb.RefusedCalls(caller=caller, method=method, reason=reason, count=count)
                for (caller, method, reason), count in sorted(counts.items())
            ],
        )
        entry = LogEntry(
            kind=CALLS_REFUSED,
            record_id=new_record_id(now),
            time=now,
            caller=_RECORDER,
            body=body.SerializeToString(deterministic=True),
        )
        try:
            await recorder.record(entry)
        except BaseException:
            # The sum may have more combinations than the limit; it shrinks with the next record.
            self._counts.update(counts)
            self._start = start
            raise
