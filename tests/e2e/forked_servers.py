"""Server processes that start in a fraction of a second, because they are forks of a process that imported the server.

A fork is a process of its own, with its own sockets and database connections, so SIGKILL ends it as it ends any server.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.commands.serving import serve
from tests.server.loading import STARTER

FAST_RECONNECT = [(f"grpc.{name}_reconnect_backoff_ms", 20) for name in ("initial", "min", "max")]
_START_SECONDS_MAX = 60.0


def run_server(config: Path, environment: dict[str, str], log: Path) -> None:
    """Serve in a forked process until SIGTERM, and append the application log to a file."""
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, sys.stderr.fileno())
    serve(config=config)


class ForkedServer:
    """A server on a fixed port, which can be killed and started again.

    Attributes:
        address: Host and port of the server.
        process: The process that was started last.
        log: Path of the application log.
    """

    process: BaseProcess

    def __init__(self, config: Path, port: int, run: Callable[[Path, dict[str, str], Path], None] = run_server) -> None:
        """Create the server without starting it; its application log is a file next to the configuration."""
        self._config, self._port, self._target = config, port, run
        self.log = config.with_name(f"server-{port}.log")
        self.address = f"127.0.0.1:{port}"

    def start(self) -> None:
        """Start the process; do not wait until the server accepts calls."""
        environment = {"GROUNDS_PORT": str(self._port)}
        self.process = STARTER.Process(target=self._target, args=(self._config, environment, self.log))
        self.process.start()

    def wait_until_serving(self) -> None:
        """Wait until the health of the server is SERVING."""
        deadline = time.monotonic() + _START_SECONDS_MAX
        while time.monotonic() < deadline and self.process.is_alive():
            if self.serves():
                return
            time.sleep(0.02)
        raise AssertionError(f"the server does not serve; its application log ends with: {self.log_tail()}")

    def serves(self) -> bool:
        """Return whether the health of the server is SERVING."""
        with grpc.insecure_channel(self.address, options=FAST_RECONNECT) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def kill(self) -> None:
        """Kill the process with SIGKILL, and wait for its end."""
        self.process.kill()
        self.process.join(60)
        assert self.process.exitcode == -signal.SIGKILL, (self.process.exitcode, self.log_tail())

    def stop(self, seconds: float = 30.0) -> None:
        """Stop the process with SIGTERM; check that it exits with 0 in time."""
        self.process.terminate()
        self.process.join(seconds)
        assert self.process.exitcode == 0, self.log_tail()

    def log_tail(self) -> str:
        """Return the last lines of the application log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.is_file() else ""
