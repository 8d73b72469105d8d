"""Received requests: waits for the bytes of a request, then decodes and validates the request."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from server.edges.identity.callers import Caller
from server.edges.identity.markets import check_markets
from server.edges.validation import request_invalid, validate
from server.edges.wire_format import find_encoding_problem, shape_of_message, split_elements
from server.errors import RequestIncomplete, RequestTooLarge, RequestUnreadable, Violation
from server.monitoring.meters import VALIDATE, CallTimes

# A request of more bytes or more list elements than this is decoded and validated in a thread, so that the event loop
# stays free. Smaller requests take less than 5 ms even if every element is invalid.
_LOOP_BYTES_MAX = 4096
_LOOP_ELEMENTS_MAX = 64
_PENDING_MAX = 1024


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that was decoded and passed validation.

    The interceptor passes this object as the second argument to every method of our services, instead of gRPC's
    context. Servicers reject a call by raising a ServerError, so they do not depend on gRPC's context.

    Attributes:
        message: The decoded request. Of a batch, the encoded elements, which are not decoded yet.
        content: The bytes as received, which a record contains. They contain every field only once.
        caller: The caller, who may call the method and may ask about the markets in the request.
        times: Measures the stages of the call.
    """

    message: Any
    content: bytes = field(repr=False)
    caller: Caller
    times: CallTimes = field(default_factory=CallTimes, compare=False)


class RequestDecoder:
    """Decodes and validates the requests of one method of our services."""

    def __init__(self, deserialize: Callable[[bytes], Message], method: str, bytes_max: int) -> None:
        """Create a decoder.

        Args:
            deserialize: The method `FromString` of the request type.
            method: Full name of the method, for error messages.
            bytes_max: Maximum length of a request in bytes; a longer request is rejected and not decoded.
        """
        self._deserialize, self._method, self._bytes_max = deserialize, method, bytes_max
        descriptor = deserialize.__self__.DESCRIPTOR  # type: ignore[attr-defined] # FromString is bound to its class
        self._shape = shape_of_message(descriptor)
        self._lists = [each.name for each in descriptor.fields if each.is_repeated]

    async def decode(
        self, content: bytes, caller: Caller, run_in_thread: Callable[..., Any], times: CallTimes | None = None
    ) -> ReceivedRequest:
        """Return the decoded request, which satisfies all rules of the .proto files.

        Args:
            content: The bytes as received.
            caller: The caller.
            run_in_thread: Awaitable function that calls its first argument with the others in a thread.
            times: Measures the stages of the call.

        Raises:
            RequestTooLarge, RequestUnreadable, RequestInvalid: The request was rejected.
            MarketNotAllowed: The caller may not ask about a market in the request.
        """
        times = times or CallTimes()
        with times.measure(VALIDATE):
            return ReceivedRequest(await self._decode(content, caller, run_in_thread), content, caller, times)

    async def _decode(self, content: bytes, caller: Caller, run_in_thread: Callable[..., Any]) -> Message:
        """Return the decoded message; see `decode`."""
        check_size(content, self._bytes_max)
        if len(content) > _LOOP_BYTES_MAX:
            return await self._decode_in_thread(content, caller, run_in_thread)
        message = decode_message(self._deserialize, content, self._method)
        if self._lists and sum(len(getattr(message, name)) for name in self._lists) > _LOOP_ELEMENTS_MAX:
            return await self._decode_in_thread(content, caller, run_in_thread)
        # Check the markets before validation, so that a caller without permission learns nothing from validation
        # errors.
        check_markets(self._method, message, caller)
        message.DiscardUnknownFields()
        # If the request has no unknown, repeated or default fields, encoding it again produces as many bytes as were
        # received. If the numbers differ, search for the reason. Only default values are allowed.
        problem = self._encoding_problem(content) if message.ByteSize() != len(content) else None
        validate(message, problem)
        return message

    async def _decode_in_thread(self, content: bytes, caller: Caller, run_in_thread: Callable[..., Any]) -> Message:
        """Return the decoded message of a large request."""
        message: Message = await run_in_thread(self._decode_large, content, caller)
        return message

    def decode_element(self, content: bytes, caller: Caller) -> ReceivedRequest:
        """Return a decoded request that arrived as an element of a batch. This method runs in a thread.

        Raises:
            RequestUnreadable, RequestInvalid: The request was rejected.
            MarketNotAllowed: The caller may not ask about a market in the request.
        """
        return ReceivedRequest(self._decode_large(content, caller), content, caller)

    def _decode_large(self, content: bytes, caller: Caller) -> Message:
        """Check the encoding, then decode and validate. This method runs in a thread."""
        problem = self._encoding_problem(content)
        if problem is not None:
            raise request_invalid([problem])
        message = decode_message(self._deserialize, content, self._method)
        check_markets(self._method, message, caller)
        validate(message)
        return message

    def _encoding_problem(self, content: bytes) -> Violation | None:
        """Return the first problem of the encoding.

        Raises:
            RequestUnreadable: The bytes are not an encoded message.
        """
        try:
            return find_encoding_problem(content, self._shape)
        except DecodeError as error:
            raise _unreadable(self._method) from error


class BatchDecoder:
    """Splits the requests of a method whose request is a list of requests, each of which has its own answer.

    The elements are neither decoded nor validated here, so an invalid element does not affect the others. The servicer
    decodes them with `RequestDecoder.decode_element`.
    """

    def __init__(self, request_type: Descriptor, method: str, bytes_max: int) -> None:
        """Create a decoder; see RequestDecoder."""
        self._shape, self._method, self._bytes_max = shape_of_message(request_type), method, bytes_max

    async def decode(
        self, content: bytes, caller: Caller, run_in_thread: Callable[..., Any], times: CallTimes | None = None
    ) -> ReceivedRequest:
        """Return the encoded elements of a batch.

        Raises:
            RequestTooLarge, RequestUnreadable, RequestInvalid: The batch was rejected.
        """
        times = times or CallTimes()
        with times.measure(VALIDATE):
            check_size(content, self._bytes_max)
            elements = await run_in_thread(self._split, content)
            return ReceivedRequest(elements, content, caller, times)

    def _split(self, content: bytes) -> list[bytes]:
        """Return the encoded elements of a batch. This method runs in a thread, because a batch has up to 500 elements."""
        try:
            elements, problem = split_elements(content, self._shape)
        except DecodeError as error:
            raise _unreadable(self._method) from error
        if problem is not None:
            raise request_invalid([problem])
        return elements


class MessageReader(Protocol):
    """The part of gRPC's context that receives messages."""

    async def read(self) -> Any:
        """Return the next message, or grpc.aio.EOF."""


class PendingRequests:
    """Receives the request of each call, and ends calls whose request does not arrive.

    A call whose request has not arrived does not count toward any limit on calls in progress. If too many such calls
    wait, the call that has waited longest is ended, so that callers who never send their requests cannot keep others
    from being served.
    """

    def __init__(self, seconds_max: float, pending_max: int = _PENDING_MAX) -> None:
        """Create an instance that waits at most `seconds_max` seconds, for at most `pending_max` calls."""
        self._seconds_max, self._pending_max = seconds_max, pending_max
        self._waiting: dict[asyncio.Timeout, None] = {}  # in the order of arrival

    async def receive(self, context: MessageReader) -> Any:
        """Return the next message of a call, which is grpc.aio.EOF if the caller sends no more messages.

        Raises:
            RequestIncomplete: The message did not arrive in time.
        """
        if len(self._waiting) >= self._pending_max:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(self._seconds_max) as limit:
                self._waiting[limit] = None
                try:
                    return await context.read()
                finally:
                    self._waiting.pop(limit, None)
        except TimeoutError as error:
            raise RequestIncomplete(
                f"the request did not arrive within {self._seconds_max:g} seconds; send it completely, then retry"
            ) from error


def check_size(content: bytes, bytes_max: int) -> None:
    """Raise RequestTooLarge if a request has more than `bytes_max` bytes."""
    if len(content) > bytes_max:
        raise RequestTooLarge(
            f"the request has {len(content)} bytes, but at most {bytes_max} are allowed: send fewer or shorter values",
            bytes=str(len(content)),
            bytes_max=str(bytes_max),
        )


def decode_message(deserialize: Callable[[bytes], Message], content: bytes, method: str) -> Message:
    """Return the decoded request.

    Raises:
        RequestUnreadable: The bytes are not an encoded request of the method.
    """
    try:
        return deserialize(content)
    except DecodeError as error:
        raise _unreadable(method) from error


def require_message(content: Any, method: str) -> bytes:
    """Return the bytes of a received request.

    Raises:
        RequestUnreadable: The caller ended the call without sending a request.
    """
    if content is grpc.aio.EOF:
        raise _unreadable(method)
    assert isinstance(content, bytes), "the handler has no deserializer"
    return content


def _unreadable(method: str) -> RequestUnreadable:
    """Return the error for bytes that are not an encoded request."""
    return RequestUnreadable(
        f"the bytes are not an encoded request of {method}: generate the client from this server's .proto files",
        method=method,
    )
