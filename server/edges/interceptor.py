"""The gate before every method: authorise, validate, call; errors get their meaning, bugs are hidden."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import structlog
from google.protobuf.message import Message

from server.edges.authorization import authorize
from server.edges.context import Context
from server.edges.error_location import error_location
from server.edges.received_request import RECEIVED, ReceivedRequest, receiving_deserializer
from server.edges.status import ERROR_STATUSES, abort_with_error, abort_with_incident
from server.edges.validation import validate
from server.errors import Draining, MethodUnknown, ServerError

LOG = structlog.get_logger()
_OWN_PREFIX = "/grounds."
_METHOD_NAME_MAX = 200  # an error repeats so many characters of an unknown method's name
Behaviour = Callable[..., Awaitable[Message]]
Stream = Callable[..., AsyncGenerator[Message]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of the server, and knows when it is quiet.

    All state is owned by the event loop.

    Attributes:
        request_bytes_max: Larger requests are refused with REQUEST_TOO_LARGE.
        draining: New calls are refused; those under way go on.
        under_way: Calls of ours that have begun and not ended.
        last_arrival: time.monotonic() when the last one began.
    """

    def __init__(self, request_bytes_max: int) -> None:
        self._request_bytes_max = request_bytes_max
        self.draining = False
        self.calls_in_progress = 0
        self._last_arrival = time.monotonic()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Give the method's handler, wrapped."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return _rejecting_handler(_unknown_method(method))
        codec = {
            "request_deserializer": receiving_deserializer(
                handler.request_deserializer, method, self._request_bytes_max
            ),
            "response_serializer": handler.response_serializer,
        }
        if not method.startswith(_OWN_PREFIX):
            return _wrap_standard(handler, method, codec)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._wrap_stream(handler.unary_stream, method), **codec)
        return grpc.unary_unary_rpc_method_handler(self._wrap_unary(handler.unary_unary, method), **codec)

    def _wrap_unary(self, behaviour: Behaviour, method: str) -> Behaviour:
        """Wrap a method of ours."""

        async def call(received: ReceivedRequest, context: Context) -> Message:
            async with self._observe(method, context):
                RECEIVED.set(received.content)
                self._admit(method, received)
                return await behaviour(received.message, context)

        return call

    def _wrap_stream(self, behaviour: Stream, method: str) -> Stream:
        """Wrap a method of ours that answers in parts."""

        async def call(received: ReceivedRequest, context: Context) -> AsyncGenerator[Message]:
            async with self._observe(method, context):
                self._admit(method, received)
                async with aclosing(behaviour(received.message, context)) as parts:
                    async for part in parts:
                        yield part

        return call

    @asynccontextmanager
    async def _observe(self, method: str, context: Context) -> AsyncIterator[None]:
        """Count and log a call; give its errors their meaning, and hide bugs."""
        start = self._last_arrival = time.monotonic()
        self.calls_in_progress += 1
        try:
            yield
        except ServerError as error:
            _log_call(method, ERROR_STATUSES[type(error)].reason, start)
            await abort_with_error(context, error)
        except Exception as error:  # noqa: BLE001 - a bug: the log gets its place, the client an incident id
            incident_id = str(uuid.uuid4())
            LOG.error(
                "bug", method=method, incident_id=incident_id, error=type(error).__name__, place=error_location(error)
            )
            await abort_with_incident(context, incident_id)
        finally:
            self.calls_in_progress -= 1
        _log_call(method, "OK", start)

    def _admit(self, method: str, received: ReceivedRequest) -> None:
        """Let a call through: authorise, then validate."""
        authorize(method)
        if self.draining:
            raise Draining("this server is stopping; ask again")
        if received.refusal is not None:
            raise received.refusal
        validate(received.message)

    async def wait_until_idle(self, seconds: float, at_most: float) -> None:
        """Wait until nothing is under way and nothing has arrived for so long, at most so long."""
        deadline = time.monotonic() + at_most
        while time.monotonic() < deadline:
            if self.calls_in_progress == 0 and time.monotonic() - self._last_arrival >= seconds:
                return
            await asyncio.sleep(seconds / 10)


def _log_call(method: str, reason: str, start: float) -> None:
    """Write down that a call was answered; nothing of what was in it."""
    LOG.info("call", method=method, reason=reason, milliseconds=round((time.monotonic() - start) * 1000, 2))


def _wrap_standard(handler: Any, method: str, codec: dict[str, Any]) -> Any:
    """Wrap a method of a standard service (health, reflection): authorise, and refuse unreadable requests."""
    try:
        authorize(method)
    except ServerError as error:
        return _rejecting_handler(error)

    async def one(received: ReceivedRequest, context: Context) -> Any:
        return await call(await _decoded_message(received, context), context)

    async def many(requests: AsyncIterator[ReceivedRequest], context: Context) -> AsyncGenerator[Message]:
        messages = (await _decoded_message(received, context) async for received in requests)
        async for answer in handler.stream_stream(messages, context):
            yield answer

    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(many, **codec)
    call = handler.unary_stream or handler.unary_unary
    wrap = grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
    return wrap(one, **codec)


async def _decoded_message(received: ReceivedRequest, context: Context) -> Any:
    """Return the request of a standard service, or end the call if its bytes were not decoded."""
    if received.refusal is not None:
        await abort_with_error(context, received.refusal)
    return received.message


def _rejecting_handler(error: ServerError) -> Any:
    """Return a handler that answers every call with an error, without reading a request first."""

    async def refused(_requests: Any, context: Context) -> None:
        await abort_with_error(context, error)

    return grpc.stream_stream_rpc_method_handler(refused)


def _unknown_method(method: str) -> MethodUnknown:
    """Build the error for a method that the server does not have."""
    name = method[:_METHOD_NAME_MAX]
    return MethodUnknown(f"there is no method {name}: check its name, and the version of the contract", method=name)
