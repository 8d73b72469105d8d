"""Server processes, each with its own configuration file, which tests can kill and restart."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

START_SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class Process:
    """A server process that accepts calls.

    Attributes:
        process: The process.
        address: Host and port of the server.
    """

    process: subprocess.Popen[bytes]
    address: str

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """Stop the server with SIGTERM, and check that it exits with 0."""
        self.process.terminate()
        assert self.process.wait(30) == 0


def write_config(path: Path, settings: Mapping[str, Any]) -> Path:
    """Write a configuration file with the given settings; return its path."""
    lines = [
        f"{name} = {json.dumps(value if isinstance(value, int | list) else str(value))}"
        for name, value in settings.items()
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def start(config: Path, number: int = 0, workers: int = 1, folder: Path = ROOT) -> Process:
    """Start a server in a working folder, and wait until it accepts calls.

    Args:
        config: Path of the configuration file. The application log is written beside it.
        number: Number in the name of the log file, which distinguishes several servers.
        workers: Number of workers.
        folder: Working folder of the server.
    """
    log = config.with_name(f"server-{number}.log")
    command = [sys.executable, "-m", "server", "--config", str(config), "--workers", str(workers)]
    with log.open("w") as lines:
        process = subprocess.Popen(command, cwd=folder, stderr=lines)
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            event = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
            if event.get("event") == ("serving" if workers == 1 else "all workers serving"):
                return Process(process, str(event["address"]))
        time.sleep(0.02)
    process.kill()
    raise AssertionError(log.read_text())
