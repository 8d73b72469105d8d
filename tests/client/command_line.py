"""Runs the command line against a real server."""

import asyncio
import re
import subprocess
import sys

from typer.testing import CliRunner

from grounds_client.commands.app import app
from tests.conftest import ROOT, Serving

UNREACHABLE = ("--address", "127.0.0.1:1")


async def run_process(serving: Serving, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a new process."""
    command = [sys.executable, "-m", "client", *words, *_address(serving)]
    return await asyncio.to_thread(
        subprocess.run, command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=30
    )


async def run_streams(serving: Serving, *words: str) -> tuple[int, str, str]:
    """Run a command in a thread of this process; return exit status, standard output and standard error."""
    done = await asyncio.to_thread(CliRunner().invoke, app, [*words, *_address(serving)])
    # The server runs in the same process and logs to the same streams, so its log lines are removed.
    output, errors = (
        re.sub(r"^\d{4}-\d\d-\d\d .*\[info .*\n", "", text, flags=re.MULTILINE) for text in (done.stdout, done.stderr)
    )
    return done.exit_code, output, errors


async def run(serving: Serving, *words: str) -> tuple[int, str]:
    """Run a command in a thread of this process; return exit status and all output."""
    status, output, errors = await run_streams(serving, *words)
    return status, output + errors


def run_offline(*words: str) -> tuple[int, str, str]:
    """Run a command that must not call a server; return exit status, standard output and the error without its frame."""
    done = CliRunner().invoke(app, [*words, *UNREACHABLE])
    return done.exit_code, done.stdout, " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stderr).split())


def _address(serving: Serving) -> tuple[str, str]:
    """Return the option that specifies the address of the server."""
    return "--address", f"127.0.0.1:{serving.application.port}"
