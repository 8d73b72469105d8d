"""The HTTP endpoint for probes and metrics, on an address of its own.

    /livez     200 if the process works, otherwise 503. It does not depend on the database, because a restart of the
               server repairs no database.
    /readyz    200 if the server can answer all calls, otherwise 503. With ?service=NAME, the answer is about one
               service. A database outage makes the server unready.
    /metrics   metrics in the text format of Prometheus

The endpoint runs in threads of its own, so that a scrape does not keep the event loop from answering calls.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prometheus_client.exposition import CONTENT_TYPE_LATEST

from server.config import parse_listen_address
from server.errors import PortInUse

_REQUEST_SECONDS_MAX = 5.0  # a client that sends no request for this time is disconnected
_CONNECTIONS_MAX = 16
_ALL_SERVICES = ""  # the name under which grpc.health.v1 reports the server as a whole


@dataclass(frozen=True, slots=True)
class ProbeSources:
    """The functions that answer requests. Threads of the endpoint call them.

    Attributes:
        is_alive: Returns whether the process works.
        readiness: Returns for each service whether it can answer calls. The key "" stands for the whole server.
        metrics: Returns the metrics in the text format of Prometheus.
    """

    is_alive: Callable[[], bool]
    readiness: Callable[[], Mapping[str, bool]]
    metrics: Callable[[], bytes]


class MonitoringEndpoint:
    """Serves probes and metrics until `close` is called.

    Attributes:
        address: The address on which the endpoint listens: HOST:PORT, or unix:PATH.
    """

    def __init__(self, address: str, sources: ProbeSources) -> None:
        """Listen on an address, and start to answer requests.

        Args:
            address: Value of the setting `metrics_address`. Port 0 selects a free port.
            sources: The functions that answer requests.

        Raises:
            PortInUse: The endpoint cannot listen on the address.
        """
        try:
            self._server = _open_server(address, _handler(sources))
        except OSError as error:
            raise PortInUse(
                f"metrics_address: cannot listen on {address}: {error.strerror or error}; configure another address"
            ) from error
        found = self._server.server_address
        self.address = address if address.startswith("unix:") else _join_address(str(found[0]), found[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="monitoring", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Requests in progress continue in their threads."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self.address.startswith("unix:"):
            Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)


class _Server(ThreadingHTTPServer):
    """An HTTP server that answers at most `_CONNECTIONS_MAX` connections at the same time, and closes further ones."""

    daemon_threads = True

    def __init__(self, address: Any, handler: type[BaseHTTPRequestHandler], family: socket.AddressFamily) -> None:
        self.address_family = family
        self._free = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind the socket without looking up the name of the machine, which could wait for a name server."""
        if self.address_family == socket.AF_UNIX:
            path = Path(str(self.server_address))
            path.unlink(missing_ok=True)  # a process that was killed leaves its socket behind
            self.socket.bind(str(path))
            path.chmod(0o600)
        else:
            super(HTTPServer, self).server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a request in a thread, or close the connection if too many connections are open."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a request. This method runs in a thread of the request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnects. The standard library would print a traceback to standard error."""


def _open_server(address: str, handler: type[BaseHTTPRequestHandler]) -> _Server:
    """Return a server that is bound to an address.

    Raises:
        OSError: The address cannot be used.
    """
    if address.startswith("unix:"):
        return _Server(address.removeprefix("unix:"), handler, socket.AF_UNIX)
    host, port = parse_listen_address(address)
    return _Server((host, port), handler, socket.AF_INET6 if ":" in host else socket.AF_INET)


def _join_address(host: str, port: int) -> str:
    """Return HOST:PORT, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _handler(sources: ProbeSources) -> type[BaseHTTPRequestHandler]:
    """Return the class that handles the requests of an endpoint."""
    return type("_SourcedHandler", (_Handler,), {"sources": sources})


class _Handler(BaseHTTPRequestHandler):
    """Handles the requests of one connection. A subclass sets `sources`."""

    sources: ProbeSources
    timeout = _REQUEST_SECONDS_MAX
    server_version, sys_version = "grounds", ""

    def do_GET(self) -> None:
        """Answer a request."""
        parts = urlsplit(self.path)
        if parts.path == "/livez":
            self._answer_status(ready=self.sources.is_alive())
        elif parts.path == "/readyz":
            self._answer_readiness(parse_qs(parts.query).get("service", [_ALL_SERVICES])[-1])
        elif parts.path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, self.sources.metrics())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"use /livez, /readyz or /metrics\n")

    def log_message(self, *_arguments: object) -> None:
        """Log nothing, because probes would fill the application log."""

    def _answer_readiness(self, service: str) -> None:
        """Answer whether a service is ready, with the state of all services as JSON."""
        services = dict(sorted(self.sources.readiness().items()))
        if service not in services:
            known = ", ".join(name for name in services if name)
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", f"unknown service; use one of {known}\n".encode())
        else:
            self._answer_status(ready=services[service], services=services)

    def _answer_status(self, *, ready: bool, **details: object) -> None:
        """Answer 200 or 503, with the state as JSON."""
        content = json.dumps({"ok": ready, **details}).encode() + b"\n"
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, "application/json", content)

    def _answer(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
