"""The gRPC status of every error: the table of codes and reasons, and functions that end a call with an error."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from server import errors
from server.edges.context import Context
from server.errors import ServerError

_DOMAIN = "grounds"
_DETAILS_KEY = "grpc-status-details-bin"
# This trailer tells a client that retries automatically how many milliseconds to wait before it retries; -1 means
# never.
_PUSHBACK_KEY, _NO_RETRY = "grpc-retry-pushback-ms", "-1"
# gRPC limits trailers to 8 KB by default. If the trailers are larger, the caller gets a different error. The trailers
# contain the message twice: in grpc-status-details-bin, and in grpc-message. In grpc-message, the message is
# percent-encoded, so that each byte of a non-ASCII character becomes three bytes.
_VIOLATIONS_BYTES_MAX = 4000
_MESSAGE_BYTES_MAX = 700


@dataclass(frozen=True, slots=True)
class ErrorStatus:
    """The gRPC status code and the reason with which the server answers an error.

    Attributes:
        code: The gRPC status code. It shows whether the caller should change the request, retry, or contact an
            operator.
        reason: The reason in the ErrorInfo, in UPPER_SNAKE_CASE, by which programs recognize the error.
    """

    code: grpc.StatusCode
    reason: str


ERROR_STATUSES: dict[type[ServerError], ErrorStatus] = {
    errors.RequestInvalid: ErrorStatus(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"),
    errors.RequestUnreadable: ErrorStatus(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_UNREADABLE"),
    errors.RequestTooLarge: ErrorStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE"),
    errors.RequestIncomplete: ErrorStatus(grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_INCOMPLETE"),
    errors.AnswerNotRead: ErrorStatus(grpc.StatusCode.DEADLINE_EXCEEDED, "ANSWER_NOT_READ"),
    errors.Overloaded: ErrorStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    errors.RateExceeded: ErrorStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_EXCEEDED"),
    errors.MethodUnknown: ErrorStatus(grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN"),
    errors.FeaturesInvalid: ErrorStatus(grpc.StatusCode.INVALID_ARGUMENT, "FEATURES_INVALID"),
    errors.RequestIdReused: ErrorStatus(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"),
    errors.OverrideInvalid: ErrorStatus(grpc.StatusCode.INVALID_ARGUMENT, "OVERRIDE_INVALID"),
    errors.OutcomeInvalid: ErrorStatus(grpc.StatusCode.INVALID_ARGUMENT, "OUTCOME_INVALID"),
    errors.ContactInvalid: ErrorStatus(grpc.StatusCode.INVALID_ARGUMENT, "CONTACT_INVALID"),
    errors.CurrencyNotSupported: ErrorStatus(grpc.StatusCode.INVALID_ARGUMENT, "CURRENCY_NOT_SERVED"),
    errors.PageTokenInvalid: ErrorStatus(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"),
    errors.MethodNotAllowed: ErrorStatus(grpc.StatusCode.PERMISSION_DENIED, "METHOD_NOT_ALLOWED"),
    errors.MarketNotAllowed: ErrorStatus(grpc.StatusCode.PERMISSION_DENIED, "MARKET_NOT_ALLOWED"),
    errors.CallerNotAuthenticated: ErrorStatus(grpc.StatusCode.UNAUTHENTICATED, "CALLER_NOT_AUTHENTICATED"),
    errors.CustomerUnknown: ErrorStatus(grpc.StatusCode.NOT_FOUND, "CUSTOMER_UNKNOWN"),
    errors.DecisionUnknown: ErrorStatus(grpc.StatusCode.NOT_FOUND, "DECISION_UNKNOWN"),
    errors.RunUnknown: ErrorStatus(grpc.StatusCode.NOT_FOUND, "RUN_UNKNOWN"),
    errors.RecordUnknown: ErrorStatus(grpc.StatusCode.NOT_FOUND, "RECORD_UNKNOWN"),
    errors.RecordRemoved: ErrorStatus(grpc.StatusCode.FAILED_PRECONDITION, "RECORD_REMOVED"),
    errors.RecordDamaged: ErrorStatus(grpc.StatusCode.DATA_LOSS, "RECORD_DAMAGED"),
    errors.TreeSizeUnknown: ErrorStatus(grpc.StatusCode.INVALID_ARGUMENT, "TREE_SIZE_UNKNOWN"),
    errors.BundleUnknown: ErrorStatus(grpc.StatusCode.NOT_FOUND, "BUNDLE_UNKNOWN"),
    errors.BundleNotReadable: ErrorStatus(grpc.StatusCode.FAILED_PRECONDITION, "BUNDLE_REFUSED"),
    errors.ReportTooLarge: ErrorStatus(grpc.StatusCode.FAILED_PRECONDITION, "REPORT_TOO_LARGE"),
    errors.NoticeUnavailable: ErrorStatus(grpc.StatusCode.FAILED_PRECONDITION, "NOTICE_UNAVAILABLE"),
    errors.NoActiveModel: ErrorStatus(grpc.StatusCode.FAILED_PRECONDITION, "NO_ACTIVE_MODEL"),
    errors.NoPolicy: ErrorStatus(grpc.StatusCode.FAILED_PRECONDITION, "NO_POLICY"),
    errors.NoRun: ErrorStatus(grpc.StatusCode.FAILED_PRECONDITION, "NO_RUN"),
    errors.FamilyRequired: ErrorStatus(grpc.StatusCode.FAILED_PRECONDITION, "FAMILY_REQUIRED"),
    errors.ResyncRequired: ErrorStatus(grpc.StatusCode.FAILED_PRECONDITION, "RESYNC_REQUIRED"),
    errors.ServerBusy: ErrorStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY"),
    errors.Draining: ErrorStatus(grpc.StatusCode.UNAVAILABLE, "DRAINING"),
    errors.StoreUnavailable: ErrorStatus(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
}
INTERNAL = ErrorStatus(grpc.StatusCode.INTERNAL, "INTERNAL")


async def abort_with_error(context: Context, error: ServerError) -> NoReturn:
    """End the call with the status and the details of an error, and with the violations that fit into the trailers."""
    trailers: dict[str, str] = {}
    if error.retry_seconds is not None:
        trailers[_PUSHBACK_KEY] = str(_retry_milliseconds(error.retry_seconds))
    elif isinstance(error, errors.RequestTooLarge):
        trailers[_PUSHBACK_KEY] = _NO_RETRY  # the status code alone would mean that a retry can succeed
    await _abort(context, ERROR_STATUSES[type(error)].code, error_message(error), trailers)


async def abort_with_incident(context: Context, incident_id: str) -> NoReturn:
    """End the call with INTERNAL and an incident id, which also identifies the error in the application log."""
    await _abort(context, INTERNAL.code, incident_message(incident_id))


def error_message(error: ServerError) -> status_pb2.Status:
    """Build the google.rpc.Status of an error."""
    bad_request = error_details_pb2.BadRequest()
    for violation in error.violations:
        bad_request.field_violations.add(field=violation.field, description=violation.problem, reason=violation.kind)
        if bad_request.ByteSize() > _VIOLATIONS_BYTES_MAX:
            del bad_request.field_violations[-1]
            break
    details = [_pack(bad_request)] if error.violations else []
    if error.quota:
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(subject=error.quota, description=str(error))
        details.append(_pack(quota))
    if error.retry_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(_retry_milliseconds(error.retry_seconds))
        details.append(_pack(retry))
    return _status_message(ERROR_STATUSES[type(error)], _truncate(str(error)), error.metadata, details)


def incident_message(incident_id: str) -> status_pb2.Status:
    """Build the google.rpc.Status of a bug."""
    return _status_message(INTERNAL, f"incident {incident_id}", {"incident_id": incident_id})


def _status_message(
    error_status: ErrorStatus, message: str, metadata: Mapping[str, str], details: Sequence[any_pb2.Any] = ()
) -> status_pb2.Status:
    """Build a google.rpc.Status that has one ErrorInfo, followed by the given details."""
    info = error_details_pb2.ErrorInfo(reason=error_status.reason, domain=_DOMAIN, metadata=metadata)
    code = code_pb2.Code.Value(error_status.code.name)
    return status_pb2.Status(code=code, message=message, details=[_pack(info), *details])


def _retry_milliseconds(seconds: float) -> int:
    """Return the time after which a caller should retry, in whole milliseconds."""
    return math.ceil(1000 * seconds)


async def _abort(
    context: Context, code: grpc.StatusCode, status: status_pb2.Status, trailers: Mapping[str, str] | None = None
) -> NoReturn:
    """End the call with a status and the given trailers."""
    await context.abort(code, status.message, ((_DETAILS_KEY, status.SerializeToString()), *(trailers or {}).items()))
    raise AssertionError("abort raises")


def _truncate(message: str) -> str:
    """Return a message, shortened to at most _MESSAGE_BYTES_MAX bytes so that it fits into the trailers."""
    return message.encode()[:_MESSAGE_BYTES_MAX].decode(errors="ignore")


def _pack(detail: Message) -> any_pb2.Any:
    """Return a detail as google.protobuf.Any."""
    content = any_pb2.Any()
    content.Pack(detail)
    return content
