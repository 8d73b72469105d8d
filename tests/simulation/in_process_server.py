"""A gRPC server without a network: calls reach the real interceptor and servicers through function calls."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc


class CallEnded(Exception):
    """A call ended with an error.

    Attributes:
        code: The gRPC status.
    """

    def __init__(self, code: grpc.StatusCode, message: str = "") -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class CallDetails:
    """What an interceptor sees of a call before the request is read."""

    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


class CallContext:
    """The part of gRPC's call context that the server uses."""

    def __init__(self, request: bytes, seconds: float) -> None:
        self._loop, self._requests = asyncio.get_running_loop(), [request]
        self._deadline = self._loop.time() + seconds

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: object = ()) -> None:
        """End the call with an error."""
        del trailing_metadata
        raise CallEnded(code, details)

    def time_remaining(self) -> float:
        """Return the seconds until the caller's deadline."""
        return max(0.0, self._deadline - self._loop.time())

    async def read(self) -> Any:
        """Return the bytes of the request, and then the end of the requests."""
        return self._requests.pop() if self._requests else grpc.aio.EOF

    def peer(self) -> str:
        """Return the caller's address."""
        return "ipv4:127.0.0.1:1"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return no metadata."""
        return ()


class InProcessServer:
    """Takes the place of `grpc.aio.Server`. Only unary calls are supported."""

    def __init__(self, interceptor: grpc.aio.ServerInterceptor) -> None:
        self._interceptor = interceptor
        self._handlers: dict[str, Any] = {}
        self._calls: set[asyncio.Task[bytes]] = set()
        self._started = self._stopped = False

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: generated code adds every method by its name as well."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the methods of a service."""
        self._handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def add_insecure_port(self, _address: str) -> int:
        """Return a port number, on which nothing listens."""
        return 1

    async def start(self) -> None:
        """Accept calls."""
        self._started = True

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls; cancel those that have not ended after `grace` seconds."""
        self._stopped = True
        if self._calls:
            await asyncio.wait(self._calls, timeout=grace)
        for call in self._calls:
            call.cancel()

    def call(self, method: str, request: bytes, seconds: float) -> "asyncio.Task[bytes]":
        """Start a call, which ends with the bytes of the answer or raises CallEnded."""
        task = asyncio.get_running_loop().create_task(self._answer(method, request, seconds))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    async def _answer(self, method: str, request: bytes, seconds: float) -> bytes:
        """Run a call through the interceptor, as gRPC does."""
        if not self._started or self._stopped:
            raise CallEnded(grpc.StatusCode.UNAVAILABLE, "the server does not accept calls")

        async def continuation(details: CallDetails) -> Any:
            return self._handlers.get(details.method)

        intercept: Any = self._interceptor.intercept_service
        handler = await intercept(continuation, CallDetails(method))
        try:
            answer = await handler.stream_unary(None, CallContext(request, seconds))
        except CallEnded:
            raise
        except Exception as error:
            raise CallEnded(grpc.StatusCode.UNKNOWN, repr(error)) from error
        return bytes(handler.response_serializer(answer))
