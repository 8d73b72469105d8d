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
        self._server_status[""] = health_pb2.HealthCheckResponse.NOT_SERVING  # until the server has started
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

    async def List(self, _request: health_pb2.HealthListRequest, _context: Context) -> health_pb2.HealthListResponse:
        """Return the status of every service. The library's class does not have this method."""
        statuses = self._server_status.items()
        return health_pb2.HealthListResponse(
            statuses={service: health_pb2.HealthCheckResponse(status=status) for service, status in statuses}
        )

    def readiness(self) -> dict[str, bool]:
        """Return for each service whether it is SERVING. This method may be called from any thread."""
        return {
            service: status == health_pb2.HealthCheckResponse.SERVING
            for service, status in self._server_status.copy().items()
        }

    async def _set(self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        """Set the status of a service, and wake all watchers."""
        self._server_status[service] = status
        for change in self._changes:
            change.set()
