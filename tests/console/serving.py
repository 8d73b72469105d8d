"""Runs a console as a process."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
