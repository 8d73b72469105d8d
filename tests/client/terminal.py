"""The command line as a person types it, against a real server."""

import asyncio
import re
import subprocess
import sys

from typer.testing import CliRunner

from grounds_client.__main__ import app
from tests.conftest import ROOT, Serving


async def typed(serving: Serving, *words: str) -> subprocess.CompletedProcess[str]:
    """Type a command in a process of its own."""
    command = [sys.executable, "-m", "client", *words, "--address", f"127.0.0.1:{serving.application.port}"]
    return await asyncio.to_thread(
        subprocess.run, command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=30
    )


async def piped(serving: Serving, *words: str) -> tuple[int, str, str]:
    """Type a command in this process, beside the server's event loop; gives status, standard output and standard error."""
    address = ("--address", f"127.0.0.1:{serving.application.port}")
    done = await asyncio.to_thread(CliRunner().invoke, app, [*words, *address])
    # What the server logs meanwhile, in this process, is not what the command printed.
    document, told = (
        re.sub(r"^\d{4}-\d\d-\d\d .*\[info .*\n", "", text, flags=re.MULTILINE) for text in (done.stdout, done.stderr)
    )
    return done.exit_code, document, told
