"""Runs a console as a process."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from tests.conftest import ROOT


@contextmanager
def open_console(*options: str, port: int = 0) -> Iterator[str]:
    """Run the console while the block runs, by default on a free port; yield its URL."""
    command = [sys.executable, "-m", "console", "--port", str(port), *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"https?://\S+", process.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            process.terminate()


@contextmanager
def serve_over_tls(app: ASGIApp, port: int, certificate: str, key: str) -> Iterator[None]:
    """Serve an application over TLS, in a thread of this process, while the block runs."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_level="warning", ssl_certfile=certificate, ssl_keyfile=key)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive(), "the application could not be served"
        yield
    finally:
        server.should_exit = True
        thread.join()
