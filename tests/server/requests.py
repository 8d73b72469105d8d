"""Valid requests to a server of the small family, of which a test can change single fields, and detailed errors."""

import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from google.type.money_pb2 import Money

from grounds.credit.v1 import credit_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from grounds.explain.v1.explain_pb2 import FeatureValue

UNKNOWN_CUSTOMER = "NOBODY77"
# gRPC rejects some trailers above 8 KB at random, and all trailers above 16 KB. The limit leaves room for gRPC's own
# entries.
TRAILER_BYTES_MAX = 8000


@dataclass(frozen=True, slots=True)
class CallError:
    """A failed call.

    Attributes:
        problems: Description of the problem of each field, by path of the field.
        kinds: Kind of the problem of each field, by path of the field.
        retry_seconds: Time in seconds after which the caller should retry; None if the error does not state one.
        limit: The limit that the call would have exceeded; "" if the error does not concern a limit.
        pushback: Delay in milliseconds before gRPC's own retry; -1 if gRPC must not retry; None if none is sent.
        everything: All text that the client received, which a test searches for text that must not be in it.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str]
    problems: dict[str, str]
    kinds: dict[str, str]
    everything: str
    retry_seconds: float | None = None
    limit: str = ""
    pushback: int | None = None


async def call_error(call: Awaitable[Any]) -> CallError:
    """Return the error of a failed call; check that the error has the form that all errors have."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    trailers = dict(error.trailing_metadata() or ())
    assert "grpc-status-details-bin" in trailers, error.debug_error_string()
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    kinds = [detail.TypeName() for detail in status.details]
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    quota, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
    for detail in status.details:
        assert any(detail.Unpack(each) for each in (info, bad, quota, retry)), kinds

    assert trailer_bytes(error) < TRAILER_BYTES_MAX, f"{trailer_bytes(error)} bytes of trailers"
    assert kinds.count("google.rpc.ErrorInfo") == 1
    assert len(kinds) == len(set(kinds))
    assert info.domain == "grounds"
    assert (status.code, status.message) == (error.code().value[0], error.details())
    violations = bad.field_violations
    return CallError(
        code=error.code(),
        reason=info.reason,
        message=status.message,
        metadata=dict(info.metadata),
        problems={violation.field: violation.description for violation in violations},
        kinds={violation.field: violation.reason for violation in violations},
        everything=f"{status} {error.debug_error_string()}",
        retry_seconds=retry.retry_delay.ToMilliseconds() / 1000 if retry.HasField("retry_delay") else None,
        limit=quota.violations[0].subject if quota.violations else "",
        pushback=int(trailers["grpc-retry-pushback-ms"]) if "grpc-retry-pushback-ms" in trailers else None,
    )


def trailer_bytes(error: grpc.aio.AioRpcError) -> int:
    """Return the size of an error in the trailers, which have the message percent-encoded, and in the details."""
    message = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in (error.details() or "").encode())
    return message + sum(len(key) + len(value) + 32 for key, value in error.trailing_metadata() or ())


def customer(market: str = "DE", customer_id: str = "C00000") -> Customer:
    """Return a customer."""
    return Customer(market=market, customer_id=customer_id)


def euros(units: int, nanos: int = 0) -> Money:
    """Return an amount in euros."""
    return Money(currency_code="EUR", units=units, nanos=nanos)


def numbers(**values: float) -> dict[str, FeatureValue]:
    """Return numeric feature values."""
    return {name: FeatureValue(number=value) for name, value in values.items()}


def score_request(**changes: Any) -> pb.ScoreCreditRequest:
    """Return a request for a decision; a change to None leaves the field out."""
    asked = {"request_id": str(uuid.uuid4()), "customer": customer(), "requested_amount": euros(500)}
    return pb.ScoreCreditRequest(**{**asked, **changes})


def simulate_request(**changes: Any) -> pb.SimulateCreditRequest:
    """Return a request for a simulation; a change to None leaves the field out."""
    asked = {"customer": customer(), "requested_amount": euros(500)}
    return pb.SimulateCreditRequest(**{**asked, **changes})


def raw_method(channel: grpc.aio.Channel, method: str) -> Any:
    """Return a method of CreditService that sends and returns serialized messages."""
    return channel.unary_unary(f"/grounds.credit.v1.CreditService/{method}")


def field(number: int, content: bytes | Message) -> bytes:
    """Return the serialized form of a field of wire type 2, even if the .proto files do not define this field."""
    value = content if isinstance(content, bytes) else content.SerializeToString()
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    """Return a number in protobuf's encoding, which has seven bits per byte, the least significant bits first."""
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    return bytes([*content, number])
