"""A failing application log never raises, never blocks and never stops a server; dropped lines are counted."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from grounds.credit.v1 import credit_pb2_grpc
from server.application_log import LogWriter
from server.config import Settings
from tests.conftest import ROOT, key_environment
from tests.e2e.test_process import FAST_RECONNECT, free_port
from tests.server.requests import numbers, score_request

CALLS = 100  # the log lines of these calls exceed the capacity of a pipe of 4 KB


def wait_for(condition: Any, seconds: float = 5.0) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_lines_without_room_are_dropped_at_once_and_every_line_is_written_or_counted() -> None:
    reading, writing = os.pipe()
    writer = LogWriter(writing, lines_max=100)
    start = time.monotonic()
    for number in range(20_000):  # no process reads the pipe, which is full after a few thousand lines
        writer.write(f'{{"event": "call", "number": {number}}}\n')
    took = time.monotonic() - start
    content = b""
    while b'"last"' not in content or writer.dropped:
        content += os.read(reading, 65536)
        writer.write('{"event": "last"}\n')
    writer.wait_until_written()
    os.set_blocking(reading, False)
    content += os.read(reading, 1 << 20)

    lines = [json.loads(line) for line in content.decode().splitlines()]
    calls = [line["number"] for line in lines if line["event"] == "call"]
    dropped = sum(line["count"] for line in lines if line["event"] == "log lines dropped")
    assert took < 2, "it never waits for the reader"
    assert calls == sorted(calls)
    assert dropped > 10_000
    assert len(calls) + dropped >= 20_000


def test_lines_that_arrive_together_are_written_in_few_calls() -> None:
    reading, writing = os.pipe2(os.O_DIRECT)  # with O_DIRECT, the pipe keeps each write as a separate packet
    writer = LogWriter(writing)
    lines = [f"line {number}\n" for number in range(100)]
    for line in lines:
        writer.write(line)
    writer.wait_until_written()
    os.close(writing)
    writes = list(iter(lambda: os.read(reading, 65536), b""))

    assert b"".join(writes).decode() == "".join(lines)
    assert len(writes) < 50


def test_a_closed_pipe_and_a_full_disk_raise_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (writing, full):
        writer = LogWriter(descriptor)
        writer.write("a line\n")
        wait_for(lambda writer=writer: writer.dropped == 1)


@contextmanager
def serve_with_log(settings: Settings, folder: Path, stderr: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start a server in a separate process whose standard error is the given, failing file descriptor."""
    port = free_port()
    given = {"bundles": settings.bundles, "policy": settings.policy, "database": settings.database, "port": port}
    environment = {f"GROUNDS_{name.upper()}": str(value) for name, value in given.items()} | key_environment(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "server"], cwd=ROOT, env={**os.environ, **environment}, stderr=stderr
    )
    try:
        yield process, f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.parametrize("kind", ["full disk", "reader that stops", "closed pipe"])
def test_a_server_whose_log_fails_answers_and_stops_in_time(
    small_settings: Settings, tmp_path: Path, kind: str
) -> None:
    compressible = score_request(features=numbers(**{f"f{number}": 0.0 for number in range(50)}))
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    if kind == "full disk":
        writing = os.open("/dev/full", os.O_WRONLY)
    if kind == "closed pipe":
        os.close(reading)
    with serve_with_log(small_settings, tmp_path, writing) as (process, address):
        with grpc.insecure_channel(address, options=FAST_RECONNECT) as channel:
            credit = credit_pb2_grpc.CreditServiceStub(channel)
            first = credit.ScoreCredit(score_request(), wait_for_ready=True, timeout=60)
            if "stops" in kind:  # the core of gRPC would write a line about each of these calls
                for _ in range(CALLS):
                    with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                        credit.ScoreCredit(compressible, compression=grpc.Compression.Gzip, timeout=10)
            answers = [credit.ScoreCredit(score_request(), timeout=10) for _ in range(CALLS if "stops" in kind else 20)]
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        status = process.wait(30)
        took = time.monotonic() - start

    assert first.credit_decision.record_ref.decision_id
    assert all(answer.credit_decision.record_ref.decision_id for answer in answers)
    assert status == 0
    assert took < 15
