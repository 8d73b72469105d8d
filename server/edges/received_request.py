"""A request as it arrived: its bytes, and the message they encode or the error to answer with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError, Message

from server.errors import RequestTooLarge, RequestUnreadable, ServerError


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request and its bytes.

    The interceptor passes it as the second argument to every method of our services, where gRPC would pass its context:
    servicers record the bytes, raise a ServerError to refuse a call, and never touch the transport.

    Attributes:
        message: The decoded request; None if `error` is set.
        content: The bytes as received; b"" if `error` is set.
        error: Why the bytes were not decoded; the interceptor answers with it.
    """

    message: Any
    content: bytes = field(repr=False)
    error: ServerError | None = None


def receiving_deserializer(
    deserialize: Callable[[bytes], Message] | None, method: str, bytes_max: int
) -> Callable[[bytes], ReceivedRequest]:
    """Return a deserializer that never raises: gRPC would answer with its own text and without an ErrorInfo.

    Args:
        deserialize: The deserializer of the method; None leaves the message as bytes.
        method: Full name of the method, for the error message.
        bytes_max: Longer requests are not decoded.
    """

    def receive(content: bytes) -> ReceivedRequest:
        if len(content) > bytes_max:
            error = RequestTooLarge(
                f"the request has {len(content)} bytes, at most {bytes_max} are allowed: send fewer or shorter values",
                bytes=str(len(content)),
                bytes_max=str(bytes_max),
            )
            return ReceivedRequest(None, b"", error)
        try:
            return ReceivedRequest(deserialize(content) if deserialize else content, content)
        except DecodeError:
            return ReceivedRequest(None, b"", _unreadable(method))

    return receive


def _unreadable(method: str) -> RequestUnreadable:
    """Return the error for bytes that are not an encoded request."""
    return RequestUnreadable(
        f"the bytes are not an encoded request of {method}: generate the client from this server's contract",
        method=method,
    )
