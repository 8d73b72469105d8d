"""The interceptor of all calls, which limits, authorizes and validates them and turns exceptions into gRPC errors."""

import asyncio
import datetime as dt
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message

from server.edges.authorization import PUBLIC_METHODS, ROLES, authorize
from server.edges.call_deadline import start_call
from server.edges.call_end import CallEnd, CallEnds
from server.edges.context import Context
from server.edges.identity.callers import ANYONE_CALLER, UNIDENTIFIED_CALLER, Caller
from server.edges.identity.identification import Identification, LocalIdentification
from server.edges.limits import CallClass, CallLimits, LoanDeskPriority, class_of_method
from server.edges.received_request import (
    BatchDecoder,
    PendingRequests,
    ReceivedRequest,
    RequestDecoder,
    check_size,
    decode_message,
    require_message,
)
from server.edges.recording.refusals import RefusalCounter
from server.edges.status import ERROR_STATUSES, abort_with_error, abort_with_incident
from server.errors import AnswerNotRead, Draining, MethodNotAllowed, MethodUnknown, ServerError, StoreUnavailable
from server.monitoring.meters import Meters
from server.stores.clock import utc_now

_OWN_PREFIX = "/grounds."  # the full name of every method of our services begins with this
_METHOD_NAME_MAX = 200  # the error message shows at most this many characters of an unknown method's name
_ABORT_SECONDS_MAX = 1.0
_UnaryMethod = Callable[[Any, ReceivedRequest], Awaitable[Message | bytes]]
_StreamMethod = Callable[[Any, ReceivedRequest], AsyncGenerator[Message | bytes]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of the server, and counts the calls in progress.

    All state is used only on the event loop, so no lock is needed. Every method is registered with gRPC as a method
    that receives a stream of encoded requests. Therefore the interceptor itself waits for a request, and can end a call
    whose request does not arrive. It also decodes the request itself, so gRPC never answers with an error of its own.

    Attributes:
        draining: True if new calls are rejected. Calls in progress continue.
        calls_in_progress: Number of calls to our services whose request has arrived and which have not ended.
        refusals: The denied and refused calls that are not recorded yet.
        priority: Makes auditors wait, for a short time, while a call of the loan desk is in progress.
    """

    def __init__(
        self,
        request_bytes_max: int,
        limits: CallLimits | None = None,
        *,
        request_seconds_max: float = 10.0,
        answer_seconds_max: float = 60.0,
        identification: Identification | None = None,
        clock: Callable[[], dt.datetime] = utc_now,
        meters: Meters | None = None,
        slow_call_seconds: float = 1.0,
    ) -> None:
        """Create an interceptor.

        Args:
            request_bytes_max: Largest size of a request in bytes.
            limits: The limits on calls; None for no limits.
            request_seconds_max: Time in seconds within which the request of a call must arrive.
            answer_seconds_max: Time in seconds within which the caller must read each part of a streamed answer.
            identification: Finds the caller of a call. With None, every caller is the local caller.
            clock: Returns the time at which calls are refused.
            meters: Counts the calls; None for meters that nobody reads.
            slow_call_seconds: Duration in seconds from which a call is logged as a warning.
        """
        self._request_bytes_max, self._answer_seconds_max = request_bytes_max, answer_seconds_max
        self._limits = limits or CallLimits(dict.fromkeys(CallClass, 2**31))
        self.priority = LoanDeskPriority(self._limits)
        self._pending = PendingRequests(request_seconds_max)
        self._identification = identification or LocalIdentification()
        self._ends = CallEnds(meters or Meters(), slow_call_seconds)
        # Large requests are validated in a thread. The loan desk has its own thread, so that it never waits for others.
        self._loan_desk_thread = ThreadPoolExecutor(1, thread_name_prefix="validation-loan-desk")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="validation")
        self._handlers: dict[str, Any] = {}
        self.refusals = RefusalCounter(clock)
        self.draining = False
        self.calls_in_progress = 0
        self._last_arrival = -math.inf  # on the clock of the event loop

    def close(self) -> None:
        """End the threads that validate requests."""
        self._loan_desk_thread.shutdown()
        self._thread.shutdown()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the wrapped handler of a method. gRPC calls this function at the beginning of every call."""
        method = handler_call_details.method
        wrapped = self._handlers.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return _rejecting_handler(_unknown_method(method))
            wrapped = self._handlers[method] = self._wrap(handler, method)
        return wrapped

    def _wrap(self, handler: Any, method: str) -> Any:
        """Return the handler of a method with all checks."""
        if method not in ROLES:
            return _rejecting_handler(MethodNotAllowed(f"permission denied: nobody may call {method}", method=method))
        if not method.startswith(_OWN_PREFIX):
            return self._wrap_standard(handler, method)
        decoder = self._decoder(handler.request_deserializer, method)
        serializer = {"response_serializer": _bytes_or(handler.response_serializer)}
        if handler.response_streaming:
            call = self._wrap_stream(handler.unary_stream, method, decoder)
            return grpc.stream_stream_rpc_method_handler(call, **serializer)
        return grpc.stream_unary_rpc_method_handler(
            self._wrap_unary(handler.unary_unary, method, decoder), **serializer
        )

    def _decoder(self, deserialize: Callable[[bytes], Message], method: str) -> RequestDecoder | BatchDecoder:
        """Return the decoder of a method's requests."""
        if class_of_method(method) is CallClass.BATCH:
            request_type = deserialize.__self__.DESCRIPTOR  # type: ignore[attr-defined] # FromString is bound to its class
            return BatchDecoder(request_type, method, self._request_bytes_max)
        return RequestDecoder(deserialize, method, self._request_bytes_max)

    # Methods of our services

    def _wrap_unary(self, servicer_method: _UnaryMethod, method: str, decoder: RequestDecoder | BatchDecoder) -> Any:
        """Wrap a method of our services with a single answer."""
        call_class = class_of_method(method)

        async def call(_requests: Any, context: Context) -> Message | bytes:
            call_end, caller = CallEnd(method), UNIDENTIFIED_CALLER
            try:
                caller = await self._identify(method, context)
                call_end.caller = caller.name
                content = await self._receive_first(method, call_class, context, caller)
                start_call()
                try:
                    if call_class is CallClass.AUDIT:
                        await self.priority.wait()
                    received = await decoder.decode(content, caller, self._thread_runner(call_class), call_end.times)
                    call_end.request = received.message
                    answer = await servicer_method(received.message, received)
                finally:
                    self._end_call(call_class)
            except (Exception, asyncio.CancelledError) as error:
                self.refusals.count(caller.name, method, error)
                await self._end_with_error(error, call_end, context)
                raise
            self._ends.report(call_end, "OK", "OK", context)
            return answer

        return call

    def _wrap_stream(self, servicer_method: _StreamMethod, method: str, decoder: RequestDecoder | BatchDecoder) -> Any:
        """Wrap a method of our services with a stream of answers."""
        call_class = class_of_method(method)

        async def call(_requests: Any, context: Context) -> None:
            call_end, caller = CallEnd(method), UNIDENTIFIED_CALLER
            try:
                caller = await self._identify(method, context)
                call_end.caller = caller.name
                content = await self._receive_first(method, call_class, context, caller)
                try:
                    received = await decoder.decode(content, caller, self._thread_runner(call_class), call_end.times)
                    call_end.request = received.message
                    # If the caller disconnects, close the generator immediately instead of leaving it to the garbage
                    # collector.
                    async with aclosing(servicer_method(received.message, received)) as answers:
                        async for answer in answers:
                            await self._send(answer, context)
                finally:
                    self._end_call(call_class)
            except (Exception, asyncio.CancelledError) as error:
                self.refusals.count(caller.name, method, error)
                await self._end_with_error(error, call_end, context)
                raise
            self._ends.report(call_end, "OK", "OK", context)

        return call

    async def _receive_first(self, method: str, call_class: CallClass, context: Context, caller: Caller) -> bytes:
        """Wait for the request of a call, and count the call. The caller of this method must call `_end_call`.

        Permission is checked first, so that a caller without permission learns nothing about the request or the server.

        Returns:
            The bytes of the request.

        Raises:
            MethodNotAllowed: The caller may not call the method.
            Draining: The server is stopping.
            Overloaded, RateExceeded: The call would exceed a limit.
            RequestIncomplete, RequestUnreadable: The request did not arrive.
        """
        authorize(method, caller.roles)
        if self.draining:
            raise Draining("this server is stopping; retry")
        self._limits.check(call_class)  # before the request is read, so that a rejected request takes no memory
        content = require_message(await self._pending.receive(context), method)
        if context.time_remaining() == 0:
            raise asyncio.CancelledError  # nobody waits for the answer
        self._limits.begin(call_class, caller.name)
        self._last_arrival = asyncio.get_running_loop().time()
        self.calls_in_progress += 1
        return content

    async def _identify(self, method: str, context: Context) -> Caller:
        """Return the caller of a call.

        Raises:
            CallerNotAuthenticated: The caller has not proved who it is.
        """
        return ANYONE_CALLER if method in PUBLIC_METHODS else await self._identification.caller(context)

    async def _end_with_error(self, error: BaseException, call_end: CallEnd, context: Context) -> None:
        """Report the end of a failed call. End the call with a gRPC error, unless the call was cancelled.

        Raises:
            grpc.aio.AbortError: The call ended with a gRPC error.
            asyncio.CancelledError: The error could not be sent, because the caller does not read.
        """
        if isinstance(error, ServerError):
            status = ERROR_STATUSES[type(error)]
            cause = error.cause or str(error) if isinstance(error, StoreUnavailable) else ""
            self._ends.report(call_end, status.code.name, status.reason, context, cause)
            try:
                async with asyncio.timeout(_ABORT_SECONDS_MAX):
                    await abort_with_error(context, error)
            except TimeoutError:
                raise asyncio.CancelledError from error
        if isinstance(error, Exception):
            await abort_with_incident(context, self._ends.report_bug(call_end, error))
        reason = "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"
        self._ends.report(call_end, reason, reason, context)

    def _end_call(self, call_class: CallClass) -> None:
        """Count the end of a call."""
        self._limits.end(call_class)
        self.calls_in_progress -= 1

    def _thread_runner(self, call_class: CallClass) -> Callable[..., Awaitable[Any]]:
        """Return a function that runs the validation of a large request in the thread of its class."""
        thread = self._loan_desk_thread if call_class is CallClass.LOAN_DESK else self._thread

        def run(work: Callable[..., Any], *args: Any) -> Awaitable[Any]:
            return asyncio.get_running_loop().run_in_executor(thread, work, *args)

        return run

    async def _send(self, answer: Message | bytes, context: Context) -> None:
        """Send one part of a streamed answer.

        Raises:
            AnswerNotRead: The caller did not read the part in time.
        """
        try:
            async with asyncio.timeout(self._answer_seconds_max):
                await context.write(answer)
        except grpc.aio.InternalError as error:
            raise asyncio.CancelledError from error  # the caller has disconnected
        except TimeoutError as error:
            raise AnswerNotRead(
                f"a part of the answer was not read within {self._answer_seconds_max:g} seconds; read faster, then retry"
            ) from error

    async def wait_until_idle(self, seconds: float, seconds_max: float) -> None:
        """Wait until no call is in progress and none has arrived for some time.

        Args:
            seconds: Time without a new call, in seconds, after which the server counts as idle.
            seconds_max: Time limit in seconds; the method returns after this time even if the server is not idle.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds_max
        while loop.time() < deadline:
            if self.calls_in_progress == 0 and loop.time() - self._last_arrival >= seconds:
                return
            await asyncio.sleep(seconds / 10)

    # Methods of standard services

    def _wrap_standard(self, handler: Any, method: str) -> Any:
        """Wrap a method of a standard service (health, reflection): authorize, limit, and reject undecodable requests.

        Unlike methods of our services, these methods receive gRPC's context. Their calls are neither logged nor
        counted as calls in progress: if they were counted, a health check every second would keep a draining server
        from becoming idle.
        """
        call_class = class_of_method(method)

        async def call(_requests: Any, context: Context) -> Any:
            caller = UNIDENTIFIED_CALLER
            try:
                caller = await self._identify(method, context)
                authorize(method, caller.roles)
                self._limits.check(call_class)
                content = require_message(await self._pending.receive(context), method)
                self._limits.begin(call_class, caller.name)
                count_request = partial(self._limits.check_request_of_stream, call_class, caller.name)
                try:
                    return await self._call_standard(handler, method, content, context, count_request)
                finally:
                    self._limits.end(call_class)
            except ServerError as error:
                self.refusals.count(caller.name, method, error)
                await abort_with_error(context, error)

        serializer = {"response_serializer": _bytes_or(handler.response_serializer)}
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(call, **serializer)
        return grpc.stream_unary_rpc_method_handler(call, **serializer)

    async def _call_standard(
        self, handler: Any, method: str, content: Any, context: Context, count_request: Callable[[int], None]
    ) -> Any:
        """Call a method of a standard service with its first request, and send the answers of a stream.

        `count_request` is called with the number of each further request of a stream, and raises an error above a limit.
        """

        def decode(encoded: bytes) -> Message:
            check_size(encoded, self._request_bytes_max)
            return decode_message(handler.request_deserializer, encoded, method)

        async def requests() -> AsyncGenerator[Message]:
            encoded, number = content, 1
            while encoded is not grpc.aio.EOF:
                yield decode(encoded)
                encoded, number = await context.read(), number + 1
                if encoded is not grpc.aio.EOF:
                    count_request(number)

        if not handler.request_streaming:
            return await (handler.unary_unary or handler.unary_stream)(decode(content), context)
        async with aclosing(requests()) as messages, aclosing(handler.stream_stream(messages, context)) as answers:
            async for answer in answers:
                await self._send(answer, context)
        return None


def _bytes_or(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return a serializer that also accepts answers that the servicer has already encoded."""
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


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
