"""A received request: either its bytes and the decoded message, or the error with which the call ends."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError, Message

from server.errors import RequestTooLarge, RequestUnreadable, ServerError


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as the server received it.

    The interceptor passes this object as the second argument to every method of our services, instead of gRPC's
    context. Servicers can record the bytes. They reject a call by raising a ServerError, so they do not depend on
    gRPC's context.

    Attributes:
        message: The decoded request; None if `error` is set.
        content: The bytes as received; b"" if `error` is set.
        error: The error with which the interceptor ends the call; None if the bytes were decoded.
    """

    message: Any
    content: bytes = field(repr=False)
    error: ServerError | None = None


def receiving_deserializer(
    deserialize: Callable[[bytes], Message] | None, method: str, bytes_max: int
) -> Callable[[bytes], ReceivedRequest]:
    """Return a deserializer that returns errors instead of raising them.

    If a deserializer raised an exception, gRPC would answer with its own message and without an ErrorInfo.

    Args:
        deserialize: The deserializer of the method; None if the method receives bytes.
        method: Full name of the method, for the error message.
        bytes_max: Maximum length of a request in bytes; a longer request is rejected and not decoded.
    """

    def receive(content: bytes) -> ReceivedRequest:
        if len(content) > bytes_max:
            error = RequestTooLarge(
                f"the request has {len(content)} bytes, but at most {bytes_max} are allowed: send fewer or shorter values",
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
        f"the bytes are not an encoded request of {method}: generate the client from this server's .proto files",
        method=method,
    )
