"""The end of a call: one line in the application log, and the metrics of the call. Neither contains customer data."""

import re
import time
from typing import Any

import structlog

from server.edges.context import Context
from server.monitoring.error_location import report_bug
from server.monitoring.meters import CallTimes, Meters

LOG = structlog.get_logger()
_IDS = ("decision_id", "request_id")
# Other values of these fields may be a customer's, although no request with such a value passes validation.
_MARKET, _ID = re.compile("[A-Z]{2}"), re.compile("[0-9A-Fa-f-]{36}")
# W3C Trace Context: version, trace id, parent id, flags.
_TRACE_KEY, _TRACE = "traceparent", re.compile("[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


class CallEnd:
    """What is known about a call when it ends.

    Attributes:
        method: Full name of the method, such as /grounds.credit.v1.CreditService/ScoreCredit.
        caller: The principal of the caller; "" if the caller was not identified.
        request: The decoded and validated request; None if the request was rejected earlier.
        times: The stages of the call.
    """

    __slots__ = ("caller", "method", "request", "start", "times")

    def __init__(self, method: str) -> None:
        """Start a call now."""
        self.method, self.caller, self.request = method, "", None
        self.times, self.start = CallTimes(), time.monotonic()

    def log_values(self) -> dict[str, Any]:
        """Return the values that describe the call in the application log."""
        values: dict[str, Any] = {"method": self.method}
        if self.caller:
            values["principal"] = self.caller
        customer = getattr(self.request, "customer", self.request)
        market = getattr(customer, "market", "")
        if isinstance(market, str) and _MARKET.fullmatch(market):
            values["market"] = market
        for name in _IDS:
            found = (name == _IDS[0] and self.times.decision_id) or getattr(self.request, name, "")
            if isinstance(found, str) and _ID.fullmatch(found):
                values[name] = found.lower()
        return values


class CallEnds:
    """Reports the ends of calls."""

    def __init__(self, meters: Meters, slow_call_seconds: float) -> None:
        """Create a reporter.

        Args:
            meters: Counts the calls.
            slow_call_seconds: Duration in seconds from which a call is logged as a warning.
        """
        self._meters, self._slow_call_seconds = meters, slow_call_seconds

    def report(self, call_end: CallEnd, code: str, reason: str, context: Context, cause: str = "") -> None:
        """Count and log a call that has ended. A slow call is logged as a warning.

        Args:
            call_end: The call.
            code: The gRPC status code.
            reason: OK, or the reason of the error.
            context: The context of the call, whose metadata may contain a trace id.
            cause: Why the database failed; "" if it did not.
        """
        seconds, stages = time.monotonic() - call_end.start, call_end.times.seconds
        self._meters.count_call(call_end.method[1:], code, reason, seconds, stages)
        values = call_end.log_values()
        if trace_id := _trace_id(context):
            values["trace_id"] = trace_id
        if cause:
            values["cause"] = cause
        if stages:
            values["stages"] = {stage: round(1000 * duration, 2) for stage, duration in stages.items()}
        write = LOG.warning if seconds >= self._slow_call_seconds else LOG.info
        write("call", reason=reason, milliseconds=round(1000 * seconds, 2), **values)

    def report_bug(self, call_end: CallEnd, error: Exception) -> str:
        """Count and log a call that ended because of a bug; return the id of the incident, which the caller receives."""
        seconds = time.monotonic() - call_end.start
        self._meters.count_call(call_end.method[1:], "INTERNAL", "INTERNAL", seconds, call_end.times.seconds)
        values = call_end.log_values()
        return report_bug(values.pop("method"), error, **values)


def _trace_id(context: Context) -> str:
    """Return the trace id of the caller's W3C Trace Context; "" if the caller sends none."""
    for key, value in context.invocation_metadata() or ():
        if key == _TRACE_KEY and (match := _TRACE.fullmatch(str(value))):
            return match[1]
    return ""
