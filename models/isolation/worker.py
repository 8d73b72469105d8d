"""The program that runs the graphs of one bundle, in a process with limits.

Before it reads the bundle, the process gives up every right that scoring does not need. It can open no file and no
socket, start no process, and write no file. It has no environment, and its memory and its processor time are limited.
The limits stop a bundle that abuses an allowed operator. They are not a sandbox: they do not stop an attacker who takes
over the process through a fault in ONNX Runtime and who has the rights of a superuser.
"""

import os
import resource
import sys
from typing import IO

import numpy as np

from models.isolation.core_dumps import forbid_core_dumps
from models.isolation.frames import (
    FAILURE_BYTES_MAX,
    FrameKind,
    parse_graphs,
    parse_rows,
    read_exactly,
    read_header,
    write_frame,
)
from models.onnx_scorer import Scorer

_NICENESS = 10  # low priority, so that the server's own work runs first
_STANDARD_STREAMS = 3  # descriptors 0 to 2, which are open already; the limit forbids every larger one


def main(memory_bytes: int, cpu_seconds: int) -> None:
    """Serve the requests on standard input until the input ends.

    Args:
        memory_bytes: Limit of the address space of the process.
        cpu_seconds: Processor time for each request. If a request exceeds it, the kernel kills the process.
    """
    os.nice(_NICENESS)
    forbid_core_dumps()
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_NPROC", 0)
    _limit("RLIMIT_AS", memory_bytes)
    _limit("RLIMIT_NOFILE", _STANDARD_STREAMS)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    scorer: Scorer | None = None
    while True:
        try:
            kind, length = read_header(requests)
        except EOFError:  # the server closed the pipe, or has ended
            return
        content = read_exactly(requests, length)
        _allow_seconds(cpu_seconds)
        try:
            if kind == FrameKind.OPEN:
                scorer, result = Scorer(*parse_graphs(content)), b""
            else:
                assert scorer is not None, "OPEN is the first request"
                result = _run(scorer, kind, content)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises many classes, none of which is public
            _report(answers, error)
            continue
        write_frame(answers, FrameKind.RESULT, result)


def _run(scorer: Scorer, kind: int, content: bytes) -> bytes:
    """Run a graph on the rows of a request; return the content of the answer."""
    rows = parse_rows(content)
    if kind == FrameKind.MARGINS:
        return scorer.margins(rows).astype("<f8").tobytes()
    margins, contributions = scorer.explain(rows)
    return np.concatenate([margins, contributions.ravel()]).astype("<f8").tobytes()


def _report(answers: IO[bytes], error: Exception) -> None:
    """Answer that a request failed. The text keeps only ASCII, because ONNX Runtime quotes names from the file."""
    text = "".join(letter for letter in str(error) or type(error).__name__ if " " <= letter <= "~")
    write_frame(answers, FrameKind.FAILURE, text.encode()[:FAILURE_BYTES_MAX])


def _limit(name: str, value: int) -> None:
    """Lower a limit of the process permanently. If the operating system lacks the limit, do nothing."""
    if hasattr(resource, name):
        resource.setrlimit(getattr(resource, name), (value, value))


def _allow_seconds(cpu_seconds: int) -> None:
    """Set the limit of processor time to about `cpu_seconds` more than the process has used so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + cpu_seconds + 1, hard))
