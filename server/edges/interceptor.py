"""The interceptor of all calls, which authorizes and validates them and turns exceptions into gRPC errors."""

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
from server.edges.call_deadline import start_call
from server.edges.context import Context
from server.edges.error_location import error_location
from server.edges.received_request import ReceivedRequest, receiving_deserializer
from server.edges.status import ERROR_STATUSES, abort_with_error, abort_with_incident
from server.edges.validation import validate
from server.errors import Draining, MethodUnknown, ServerError

LOG = structlog.get_logger()
_OWN_PREFIX = "/grounds."  # the full name of every method of our services begins with this
_METHOD_NAME_MAX = 200  # the error message shows at most this many characters of an unknown method's name
_UnaryMethod = Callable[[Any, ReceivedRequest], Awaitable[Message]]
_StreamMethod = Callable[[Any, ReceivedRequest], AsyncGenerator[Message]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of the server, and counts the calls in progress.

    All state is used only on the event loop, so no lock is needed.

    Attributes:
        draining: True if new calls are rejected. Calls in progress continue.
        calls_in_progress: Number of calls to our services that have begun and have not ended.
    """

    def __init__(self, request_bytes_max: int) -> None:
        """Create an interceptor that rejects requests of more than `request_bytes_max` bytes with REQUEST_TOO_LARGE."""
        self._request_bytes_max = request_bytes_max
        self.draining = False
        self.calls_in_progress = 0
        self._last_arrival = time.monotonic()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the wrapped handler of a method. gRPC calls this function at the beginning of every call."""
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

    def _wrap_unary(self, servicer_method: _UnaryMethod, method: str) -> Callable[..., Awaitable[Message]]:
        """Wrap a method of our services with a single answer."""

        async def call(received: ReceivedRequest, context: Context) -> Message:
            start_call()
            async with self._observe(method, context):
                self._admit(method, received)
                return await servicer_method(received.message, received)

        return call

    def _wrap_stream(self, servicer_method: _StreamMethod, method: str) -> Callable[..., AsyncGenerator[Message]]:
        """Wrap a method of our services with a stream of answers."""

        async def call(received: ReceivedRequest, context: Context) -> AsyncGenerator[Message]:
            async with self._observe(method, context):
                self._admit(method, received)
                # If the caller disconnects, close the generator immediately instead of leaving it to the garbage
                # collector.
                async with aclosing(servicer_method(received.message, received)) as answers:
                    async for answer in answers:
                        yield answer

        return call

    @asynccontextmanager
    async def _observe(self, method: str, context: Context) -> AsyncIterator[None]:
        """Count a call and log its end. If the call raises an exception, end it with a gRPC error."""
        start = self._last_arrival = time.monotonic()
        self.calls_in_progress += 1
        try:
            yield
        except ServerError as error:
            _log_call(method, ERROR_STATUSES[type(error)].reason, start)
            await abort_with_error(context, error)
        except Exception as error:  # noqa: BLE001 - a bug: log its location, and return an incident id to the caller
            # The message of the exception may contain a customer's values, so neither log nor answer contains the
            # message.
            incident_id, location = str(uuid.uuid4()), error_location(error)
            LOG.error("bug", method=method, incident_id=incident_id, error=type(error).__name__, location=location)
            await abort_with_incident(context, incident_id)
        finally:
            self.calls_in_progress -= 1
        _log_call(method, "OK", start)

    def _admit(self, method: str, received: ReceivedRequest) -> None:
        """Check that a call may proceed.

        Permission is checked first, so that a caller without permission learns nothing about the request or the server.

        Raises:
            MethodNotAllowed: The caller may not call the method.
            Draining: The server is stopping.
            RequestInvalid, RequestUnreadable, RequestTooLarge: The request breaks a rule or was not decoded.
        """
        authorize(method)
        if self.draining:
            raise Draining("this server is stopping; retry")
        if received.error is not None:
            raise received.error
        validate(received.message)

    async def wait_until_idle(self, seconds: float, seconds_max: float) -> None:
        """Wait until no call is in progress and none has arrived for some time.

        Args:
            seconds: Time without a new call, in seconds, after which the server counts as idle.
            seconds_max: Time limit in seconds; the method returns after this time even if the server is not idle.
        """
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline:
            if self.calls_in_progress == 0 and time.monotonic() - self._last_arrival >= seconds:
                return
            await asyncio.sleep(seconds / 10)


def _log_call(method: str, reason: str, start: float) -> None:
    """Log the end of a call, without any content of the request or the answer."""
    LOG.info("call", method=method, reason=reason, milliseconds=round((time.monotonic() - start) * 1000, 2))


def _wrap_standard(handler: Any, method: str, codec: dict[str, Any]) -> Any:
    """Wrap a method of a standard service (health, reflection): authorize, and reject undecodable requests.

    Unlike methods of our services, these methods receive gRPC's context. Their calls are neither logged nor counted: if
    they were counted, a health check every second would keep a draining server from becoming idle.
    """
    try:
        authorize(method)
    except ServerError as error:
        return _rejecting_handler(error)

    async def unary(received: ReceivedRequest, context: Context) -> Any:
        return await call(await _decoded_message(received, context), context)

    async def stream(requests: AsyncIterator[ReceivedRequest], context: Context) -> AsyncGenerator[Message]:
        messages = (await _decoded_message(received, context) async for received in requests)
        async for answer in handler.stream_stream(messages, context):
            yield answer

    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(stream, **codec)
    call = handler.unary_stream or handler.unary_unary
    wrap = grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
    return wrap(unary, **codec)


async def _decoded_message(received: ReceivedRequest, context: Context) -> Any:
    """Return the request of a standard service. If it was not decoded, end the call with an error."""
    if received.error is not None:
        await abort_with_error(context, received.error)
    return received.message


def _rejecting_handler(error: ServerError) -> Any:
    """Return a handler that answers every call with an error before it reads a request."""

    async def reject(_requests: Any, context: Context) -> None:
        await abort_with_error(context, error)

    # A stream handler can also answer calls with a single request, and it can answer before the request has arrived.
    return grpc.stream_stream_rpc_method_handler(reject)


def _unknown_method(method: str) -> MethodUnknown:
    """Return the error for a method that the server does not have."""
    name = method[:_METHOD_NAME_MAX]
    return MethodUnknown(
        f"there is no method {name}: check the name, and generate the client from this server's .proto files",
        method=name,
    )
