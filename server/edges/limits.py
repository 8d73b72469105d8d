"""Limits on calls: how many calls of each class may be in progress, and how many calls per second a caller may send.

Every method belongs to one class, and every class has its own limit. Calls of one class therefore never keep calls of
another class from being served: health checks are answered even if callers hold many streams open, and the loan desk is
served even while the CRM exports all of its predictions.

Calls of different classes still compete for the processor. Therefore the calls of auditors, who may read the whole log,
wait for a short time while a call of the loan desk is in progress; see LoanDeskPriority.
"""

import asyncio
import enum
import math
import random
import time
from collections.abc import Callable, Mapping

from server.config import Settings
from server.errors import Overloaded, RateExceeded

_STREAM_REQUESTS_MAX = (
    1000  # requests of one reflection stream; a client that reads every definition needs fewer than 100
)
_RETRY_SECONDS = (0.1, 1.0)  # a random time between these, so that rejected callers do not all retry at the same moment
_HEALTH_CALLS_MAX = 256  # a health check ends without waiting for anything, so checks in progress do not accumulate
_BUCKETS_MAX = 10_000
# If the loan desk is never idle, the work of auditors proceeds at 40 steps a second, and does not stop.
_YIELD_SECONDS_MAX = 0.025
_IDLE_SECONDS = 0.002  # the loan desk counts as idle after this time without a call


class CallClass(enum.Enum):
    """A class of calls with its own limit on calls in progress."""

    LOAN_DESK = "loan_desk"
    BATCH = "batch"
    CRM = "crm"
    EXPORT = "export"
    AUDIT = "audit"
    MODELS = "models"
    HEALTH = "health"
    HEALTH_WATCH = "health_watch"
    REFLECTION = "reflection"


CLASS_BY_SERVICE = {
    "grounds.credit.v1.CreditService": CallClass.LOAN_DESK,
    "grounds.churn.v1.ChurnService": CallClass.CRM,
    "grounds.audit.v1.AuditService": CallClass.AUDIT,
    "grounds.model.v1.ModelService": CallClass.MODELS,
    "grpc.health.v1.Health": CallClass.HEALTH,
    "grpc.reflection.v1.ServerReflection": CallClass.REFLECTION,
    "grpc.reflection.v1alpha.ServerReflection": CallClass.REFLECTION,
}
# Long streams have classes of their own.
_CLASS_BY_METHOD = {
    "/grounds.credit.v1.CreditService/BatchScoreCredit": CallClass.BATCH,
    "/grounds.churn.v1.ChurnService/ExportChurnRisks": CallClass.EXPORT,
    "/grpc.health.v1.Health/Watch": CallClass.HEALTH_WATCH,
}


def class_of_method(method: str) -> CallClass:
    """Return the class of a method. The argument is the full name, such as /grpc.health.v1.Health/Check."""
    return _CLASS_BY_METHOD.get(method) or CLASS_BY_SERVICE[method.split("/")[1]]


class CallLimits:
    """Counts the calls in progress of each class, and the recent calls of each caller. Used only on the event loop.

    Attributes:
        in_progress_max: The limit of each class on calls in progress.
    """

    def __init__(self, in_progress_max: Mapping[CallClass, int], rate: "CallRate | None" = None) -> None:
        """Create limits; without a rate, callers may send any number of calls per second."""
        self.in_progress_max, self._rate = in_progress_max, rate
        self._in_progress = dict.fromkeys(CallClass, 0)
        self._loan_desk_end = -math.inf  # when the newest call of the loan desk ended, on the monotonic clock

    @classmethod
    def from_settings(cls, settings: Settings) -> "CallLimits":
        """Return the configured limits."""
        in_progress_max = {
            CallClass.LOAN_DESK: settings.requests_in_flight_max,
            CallClass.BATCH: settings.batches_in_flight_max,
            CallClass.CRM: settings.crm_requests_in_flight_max,
            CallClass.EXPORT: settings.exports_in_flight_max,
            CallClass.AUDIT: settings.audit_requests_in_flight_max,
            CallClass.MODELS: settings.requests_in_flight_max,
            CallClass.HEALTH: _HEALTH_CALLS_MAX,
            CallClass.HEALTH_WATCH: settings.held_streams_max,
            CallClass.REFLECTION: settings.held_streams_max,
        }
        rate = settings.calls_per_second_max
        return cls(in_progress_max, CallRate(rate, settings.calls_burst_max) if rate else None)

    def in_progress(self) -> dict[CallClass, int]:
        """Return the number of calls in progress of each class. Any thread may call this method."""
        return self._in_progress.copy()

    def check(self, call_class: CallClass) -> None:
        """Raise Overloaded if no further call of the class may begin."""
        limit = self.in_progress_max[call_class]
        if self._in_progress[call_class] >= limit:
            raise Overloaded(
                f"the server handles {limit} calls of class {call_class.value}, which is its limit; retry later",
                retry_seconds=random.uniform(*_RETRY_SECONDS),  # noqa: S311 - no secret
                quota=f"class:{call_class.value}",
                call_class=call_class.value,
                limit_max=str(limit),
            )

    def begin(self, call_class: CallClass, caller: str) -> None:
        """Count a call that begins. The caller of this method must call `end` when the call ends.

        Raises:
            Overloaded: No further call of the class may begin. The call was not counted.
            RateExceeded: The caller sends too many calls per second. The call was not counted.
        """
        self.check(call_class)
        if self._rate is not None and call_class is not CallClass.HEALTH:
            self._rate.spend(caller, call_class)
        self._in_progress[call_class] += 1

    def check_request_of_stream(self, call_class: CallClass, caller: str, number: int) -> None:
        """Count a further request of a call that streams requests like a call of its own.

        Args:
            call_class: The class of the call.
            caller: The principal.
            number: The number of requests of the call, including this one.

        Raises:
            Overloaded: The call has sent too many requests.
            RateExceeded: The caller sends too many calls and requests per second.
        """
        if number > _STREAM_REQUESTS_MAX:
            raise Overloaded(
                f"a stream of class {call_class.value} may have at most {_STREAM_REQUESTS_MAX} requests; open another stream",
                retry_seconds=random.uniform(*_RETRY_SECONDS),  # noqa: S311 - no secret
                quota=f"class:{call_class.value}",
                call_class=call_class.value,
                limit_max=str(_STREAM_REQUESTS_MAX),
            )
        if self._rate is not None:
            self._rate.spend(caller, call_class)

    def end(self, call_class: CallClass) -> None:
        """Count a call that ends."""
        self._in_progress[call_class] -= 1
        if call_class is CallClass.LOAN_DESK:
            self._loan_desk_end = time.monotonic()

    def loan_desk_idle_seconds(self) -> float:
        """Return the seconds since the newest call of the loan desk ended; 0 while one is in progress."""
        return 0.0 if self._in_progress[CallClass.LOAN_DESK] else time.monotonic() - self._loan_desk_end


class LoanDeskPriority:
    """Delays the work of auditors while the loan desk is busy. Use it on the event loop only.

    Python runs the code of one thread at a time. A thread that encodes many records delays each step of a decision by
    milliseconds, and several such threads delay it by tens of milliseconds. Therefore long work is divided into steps
    of about a millisecond, and calls `wait` before each step.
    """

    def __init__(self, limits: CallLimits, seconds_max: float = _YIELD_SECONDS_MAX) -> None:
        """Create a priority.

        Args:
            limits: The limits, which count the calls of the loan desk.
            seconds_max: Longest time in seconds that one step waits.
        """
        self._limits, self._seconds_max = limits, seconds_max
        self._order = asyncio.Lock()

    async def wait(self) -> None:
        """Wait until a step of work may begin. Steps begin one at a time, in the order of their calls."""
        async with self._order:
            deadline = time.monotonic() + self._seconds_max
            # A caller of the loan desk often sends its next request as soon as it has its answer.
            while self._limits.loan_desk_idle_seconds() < _IDLE_SECONDS and time.monotonic() < deadline:  # noqa: ASYNC110 - idle time has no event
                await asyncio.sleep(_IDLE_SECONDS)


class CallRate:
    """Limits the calls per second of each caller and class, as a token bucket.

    A bucket contains at most `burst` tokens and regains `per_second` tokens per second. Each call spends one token.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        # The number of tokens and the time at which they were counted, by caller and class.
        self._buckets: dict[tuple[str, CallClass], tuple[float, float]] = {}

    def spend(self, caller: str, call_class: CallClass) -> None:
        """Spend one token.

        Raises:
            RateExceeded: The bucket of this caller and class is empty.
        """
        now, key = self._clock(), (caller, call_class)
        tokens, counted_at = self._buckets.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - counted_at) * self._per_second)
        if tokens < 1:
            raise RateExceeded(
                f"at most {self._per_second:g} calls per second of class {call_class.value} are allowed; retry later",
                retry_seconds=(1 - tokens) / self._per_second,
                quota=f"caller:{caller}",
                call_class=call_class.value,
                per_second_max=f"{self._per_second:g}",
            )
        if len(self._buckets) >= _BUCKETS_MAX:
            self._delete_full_buckets(now)
        self._buckets[key] = (tokens - 1, now)

    def _delete_full_buckets(self, now: float) -> None:
        """Delete the buckets that are full again, because a missing bucket counts as full."""
        self._buckets = {
            key: (tokens, counted_at)
            for key, (tokens, counted_at) in self._buckets.items()
            if tokens + (now - counted_at) * self._per_second < self._burst
        }
