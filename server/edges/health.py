"""The standard health service."""

import asyncio

from grpc_health.v1 import health, health_pb2

from server.edges.context import Context


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc] # the library has no complete types
    """Reports the status of every service, and sends changes to watchers.

    The library holds a lock while it sends a status to a watcher. A watcher that does not read would then block every
    other watcher and every caller of `set`. Therefore this class sends without a lock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changes: set[asyncio.Event] = set()  # one event for each watcher

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Send the status of a service now and after each change, until the caller ends the call."""
        change, last_status = asyncio.Event(), None
        self._changes.add(change)
        try:
            while True:
                change.clear()
                status = self._server_status.get(request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
                if status != last_status:
                    await context.write(health_pb2.HealthCheckResponse(status=status))
                    last_status = status
                await change.wait()
        finally:
            self._changes.remove(change)

    async def _set(self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        """Set the status of a service, and wake all watchers."""
        self._server_status[service] = status
        for change in self._changes:
            change.set()
