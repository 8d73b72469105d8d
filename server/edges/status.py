"""The one table that says what each error means to a client, and the rich error that carries it."""

from dataclasses import dataclass
from typing import NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from server import errors
from server.edges.context import Context
from server.errors import ServerError

DOMAIN = "grounds"
DETAILS_KEY = "grpc-status-details-bin"
# Trailers are bound to 8 KB by default, beyond it an error becomes another error. The message travels
# twice: in the status, and percent-encoded, where a byte that is no ASCII takes three.
VIOLATIONS_BYTES_MAX = 4000
MESSAGE_BYTES_MAX = 700


@dataclass(frozen=True, slots=True)
class Meaning:
    """Who must act (the code), and what happened (the reason)."""

    code: grpc.StatusCode
    reason: str


MEANINGS: dict[type[ServerError], Meaning] = {
    errors.RequestInvalid: Meaning(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"),
    errors.RequestUnreadable: Meaning(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_UNREADABLE"),
    errors.RequestTooLarge: Meaning(grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE"),
    errors.MethodUnknown: Meaning(grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN"),
    errors.FeaturesInvalid: Meaning(grpc.StatusCode.INVALID_ARGUMENT, "FEATURES_INVALID"),
    errors.RequestIdReused: Meaning(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"),
    errors.OverrideInvalid: Meaning(grpc.StatusCode.INVALID_ARGUMENT, "OVERRIDE_INVALID"),
    errors.OutcomeInvalid: Meaning(grpc.StatusCode.INVALID_ARGUMENT, "OUTCOME_INVALID"),
    errors.CurrencyNotServed: Meaning(grpc.StatusCode.INVALID_ARGUMENT, "CURRENCY_NOT_SERVED"),
    errors.PageTokenInvalid: Meaning(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"),
    errors.MethodNotAllowed: Meaning(grpc.StatusCode.PERMISSION_DENIED, "METHOD_NOT_ALLOWED"),
    errors.CustomerUnknown: Meaning(grpc.StatusCode.NOT_FOUND, "CUSTOMER_UNKNOWN"),
    errors.DecisionUnknown: Meaning(grpc.StatusCode.NOT_FOUND, "DECISION_UNKNOWN"),
    errors.RunUnknown: Meaning(grpc.StatusCode.NOT_FOUND, "RUN_UNKNOWN"),
    errors.RecordUnknown: Meaning(grpc.StatusCode.NOT_FOUND, "RECORD_UNKNOWN"),
    errors.RecordRemoved: Meaning(grpc.StatusCode.FAILED_PRECONDITION, "RECORD_REMOVED"),
    errors.RecordDamaged: Meaning(grpc.StatusCode.DATA_LOSS, "RECORD_DAMAGED"),
    errors.TreeSizeUnknown: Meaning(grpc.StatusCode.INVALID_ARGUMENT, "TREE_SIZE_UNKNOWN"),
    errors.BundleUnknown: Meaning(grpc.StatusCode.NOT_FOUND, "BUNDLE_UNKNOWN"),
    errors.BundleNotReadable: Meaning(grpc.StatusCode.FAILED_PRECONDITION, "BUNDLE_REFUSED"),
    errors.NoActiveModel: Meaning(grpc.StatusCode.FAILED_PRECONDITION, "NO_ACTIVE_MODEL"),
    errors.NoPolicy: Meaning(grpc.StatusCode.FAILED_PRECONDITION, "NO_POLICY"),
    errors.NoRun: Meaning(grpc.StatusCode.FAILED_PRECONDITION, "NO_RUN"),
    errors.ResyncRequired: Meaning(grpc.StatusCode.FAILED_PRECONDITION, "RESYNC_REQUIRED"),
    errors.Draining: Meaning(grpc.StatusCode.UNAVAILABLE, "DRAINING"),
    errors.StoreUnavailable: Meaning(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
}
INTERNAL = Meaning(grpc.StatusCode.INTERNAL, "INTERNAL")


async def refuse(context: Context, error: ServerError) -> NoReturn:
    """End the call with the error's meaning and everything that is wrong, as far as it fits."""
    bad = error_details_pb2.BadRequest()
    for violation in error.violations:
        bad.field_violations.add(field=violation.field, description=violation.problem, reason=violation.kind)
        if bad.ByteSize() > VIOLATIONS_BYTES_MAX:
            del bad.field_violations[-1]
            break
    details = [packed(bad)] if error.violations else []
    await end(context, MEANINGS[type(error)], shortened(str(error)), error.metadata, details)


async def refuse_bug(context: Context, incident_id: str) -> NoReturn:
    """End the call without a word about what went wrong, but for a number to ask after."""
    await end(context, INTERNAL, f"incident {incident_id}", {"incident_id": incident_id}, [])


async def end(
    context: Context,
    meaning: Meaning,
    message: str,
    metadata: dict[str, str],
    details: list[any_pb2.Any],
) -> NoReturn:
    """Send google.rpc.Status with exactly one ErrorInfo."""
    info = error_details_pb2.ErrorInfo(reason=meaning.reason, domain=DOMAIN, metadata=metadata)
    code = code_pb2.Code.Value(meaning.code.name)
    status = status_pb2.Status(code=code, message=message, details=[packed(info), *details])
    await context.abort(meaning.code, message, ((DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort raises")


def shortened(message: str) -> str:
    """Cut a message to what fits."""
    return message.encode()[:MESSAGE_BYTES_MAX].decode(errors="ignore")


def packed(detail: error_details_pb2.BadRequest | error_details_pb2.ErrorInfo) -> any_pb2.Any:
    """Pack a detail."""
    content = any_pb2.Any()
    content.Pack(detail)
    return content
