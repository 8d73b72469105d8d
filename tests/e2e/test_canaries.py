"""Values of callers and customers reach no application log, metric, error, temporary file or other file outside the databases."""

import itertools
import os
import re
import struct
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.conftest import ROOT
from tests.e2e.processes import Process, start
from tests.e2e.test_network import extend
from tests.server.edges.test_request_cost import METHODS, varint
from tests.server.monitoring.scrapes import fetch
from tests.server.requests import customer, numbers, score_request

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CANARY = "cAnArY"
DATABASES = {"store.db", "keys.db", "empty.db", "grounds.db"}
_DEPTH_MAX = 4


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the server a folder for temporary files, and let gRPC log everything that it can."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("GRPC_VERBOSITY", "debug")
    return folder


@pytest.fixture
def server(config: Path, temporary: Path) -> Iterator[Process]:
    """Start a server with these variables."""
    del temporary
    process = start(extend(config, metrics_address="0"))
    yield process
    process.stop()


def plant_canaries(descriptor: Descriptor, numbering: Iterator[int], depth: int = 0) -> bytes:
    """Return an encoded message with a canary in every text and bytes field, and in the keys of every map."""
    content = b""
    for field in descriptor.fields:
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            value = (
                b""
                if depth >= _DEPTH_MAX or field.message_type is None
                else plant_canaries(field.message_type, numbering, depth + 1)
            )
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            value = f"{CANARY}{next(numbering)}".encode()
        elif field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            kind, width = (1, "<d") if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else (5, "<f")
            content += varint(field.number << 3 | kind) + struct.pack(width, 4711.4711)
            continue
        else:
            content += varint(field.number << 3) + varint(1)
            continue
        content += varint(field.number << 3 | 2) + varint(len(value)) + value
    return content


def call(channel: grpc.Channel, method: str, content: bytes) -> str:
    """Call a method with canaries in the metadata too; return everything that the error contains."""
    metadata: Any = [
        ("authorization", f"Bearer {CANARY}token"),
        ("x-canary", f"{CANARY}header"),
        ("x-canary-bin", CANARY.encode()),
    ]
    multi_callable: Any = channel.stream_stream(method)
    try:
        seconds = 0.2 if method.endswith("Watch") else 20
        for _ in multi_callable(iter([content]), metadata=metadata, timeout=seconds):
            pass
    except grpc.RpcError as error:
        failed: Any = error
        return f"{failed.details()} {failed.trailing_metadata()}"
    return ""


def files_with_canaries(folder: Path) -> list[str]:
    """Return the names of all files in a folder that contain a canary, except databases, which contain encrypted requests."""
    found = []
    for path in folder.rglob("*"):
        name = path.name.removesuffix("-wal").removesuffix("-shm")
        if path.is_file() and name not in DATABASES and CANARY.encode() in path.read_bytes():
            found.append(path.name)
    return found


def read_metrics(config: Path) -> str:
    """Return what the server publishes for Prometheus."""
    log = config.with_name("server-0.log").read_text()
    (address,) = {line.split('"address": "')[1].split('"')[0] for line in log.splitlines() if '"monitoring"' in line}
    return fetch(address, "/metrics")[1].decode()


def test_values_in_every_field_of_every_method_reach_no_log_metric_error_or_file(
    server: Process, config: Path, tmp_path: Path
) -> None:
    numbering = itertools.count()
    with grpc.insecure_channel(server.address) as channel:
        errors = {
            method: call(channel, method, plant_canaries(METHODS[method].input_type, numbering))
            for method in sorted(METHODS)
        }
        # A request that is accepted, about a customer that does not exist in the store.
        request = score_request(
            request_id=str(uuid.uuid4()),
            customer=customer("DE", f"{CANARY}customer"),
            features=numbers(turnover=4711.5),
        )
        errors["accepted"] = call(channel, "/grounds.credit.v1.CreditService/ScoreCredit", request.SerializeToString())

        call(
            channel, f"/grounds.credit.v1.CreditService/{CANARY}", b""
        )  # the answer repeats the unknown name to its sender

    log = config.with_name("server-0.log").read_text()
    metrics = read_metrics(config)
    assert "grounds_calls" in metrics
    assert CANARY not in metrics
    assert "4711" not in "".join(re.findall(r"[{].*[}]", metrics)), "no value is a label"
    assert next(numbering) > 40
    assert '"event": "call"' in log
    # Every canary may only be repeated to its own sender: names of fields are part of the path of a problem.
    leaked = {method: text for method, text in errors.items() if CANARY in text and "features[" not in text}
    assert leaked == {}
    assert CANARY not in log
    assert "4711" not in log
    assert files_with_canaries(tmp_path) == []


def test_values_of_a_feature_file_reach_no_output_of_the_loader(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    path.write_bytes(b"PAR1" + CANARY.encode() * 100 + b"PAR1")

    done = subprocess.run(
        [sys.executable, "-m", "server", "load", str(path), "--config", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        timeout=60,
    )

    path.unlink()
    assert done.returncode == 1
    assert CANARY not in done.stdout + done.stderr
    assert files_with_canaries(tmp_path) == []
