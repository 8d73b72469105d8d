"""The time limit of a call: the server answers a call that waits for a database within ANSWER_SECONDS.

A database that has stopped may not even answer a cancellation. Therefore the event loop measures the time, and a call
gets its error even if the thread that works for the call still waits.
"""

import asyncio
from contextvars import ContextVar

ANSWER_SECONDS = 10.0
# Time on the clock of the event loop at which the current call must be answered. Each call has its own context.
_ANSWER_AT: ContextVar[float | None] = ContextVar("answer_at", default=None)


def start_call(seconds: float = ANSWER_SECONDS) -> None:
    """Start the time limit of the current call."""
    _ANSWER_AT.set(asyncio.get_running_loop().time() + seconds)


def restart_call(seconds: float = ANSWER_SECONDS) -> None:
    """Start the time limit of the current call again after work that may exceed it. Outside a call, do nothing."""
    if _ANSWER_AT.get() is not None:
        start_call(seconds)


def remaining_seconds(seconds_max: float = ANSWER_SECONDS) -> float:
    """Return the time in seconds that a wait of the current call may take; 0 or negative if no time is left.

    Work that does not belong to a call, and each part of a stream, may wait for `seconds_max`.
    """
    answer_at = _ANSWER_AT.get()
    if answer_at is None:
        return seconds_max
    return min(seconds_max, answer_at - asyncio.get_running_loop().time())
