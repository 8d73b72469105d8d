"""A real server survives random bytes and random messages: no crash, no INTERNAL, and no growing memory."""

import json
import os
import random
import resource
import socket
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from grounds.credit.v1 import credit_pb2_grpc
from tests.e2e.processes import Process, start
from tests.server.edges.test_request_cost import METHODS, varint
from tests.server.requests import customer, numbers, score_request

pytestmark = [
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]
SECONDS, LONG_SECONDS = 20.0, 600.0
PAUSE_SECONDS = 0.02  # other tests run at the same time
GROWTH_MAX = 1.05
CONNECTIONS = 10_000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CODES_OF_BUGS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
_TEXTS = st.one_of(
    st.sampled_from(
        ["", "DE", "C00000", "turnover", "EUR", "credit", "00000000-0000-4000-8000-000000000000", "a" * 64]
    ),
    st.text(max_size=40),
)
_VALUES: dict[int, Any] = {
    FieldDescriptor.CPPTYPE_STRING: _TEXTS,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(-1, 12),
}
_DEPTH_MAX = 4


@pytest.fixture
def server(config: Path) -> Iterator[Process]:
    """Start a server."""
    process = start(config)
    yield process
    process.stop()


def encode_field(number: int, kind: FieldDescriptor, value: Any) -> bytes:
    """Return a field of a message, encoded independently of the protobuf library."""
    if kind.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE or isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, str):
        content = value.encode("utf-8", "surrogatepass")
        return varint(number << 3 | 2) + varint(len(content)) + content
    if kind.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if kind.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(int(value) % 2**64)


@st.composite
def messages(draw: Any, descriptor: Descriptor, depth: int = 0) -> bytes:
    """Draw an encoded message: each field is absent, has a value or, rarely, has several."""
    content = b""
    for field in descriptor.fields:
        for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2 if field.is_repeated or depth == 0 else 1]))):
            if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
                value = (
                    b""
                    if depth >= _DEPTH_MAX or field.message_type is None
                    else draw(messages(field.message_type, depth + 1))
                )
            elif field.type == FieldDescriptor.TYPE_BYTES:
                value = draw(st.binary(max_size=20))
            else:
                value = draw(_VALUES[field.cpp_type])
            content += encode_field(field.number, field, value)
    return content


@st.composite
def requests(draw: Any) -> tuple[str, bytes]:
    """Draw a method and an encoded request, of which some bytes may be changed."""
    method = draw(st.sampled_from(sorted(METHODS)))
    content = bytearray(draw(messages(METHODS[method].input_type)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3])) if content else 0):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return method, bytes(content)


def call(channel: grpc.Channel, method: str, content: bytes) -> grpc.StatusCode:
    """Call a method with these bytes, read its answers, and return the status."""
    multi_callable: Any = channel.stream_stream(method)
    try:
        for _ in multi_callable(iter([content]), timeout=0.2 if method.endswith("Watch") else 30):
            pass
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def send_random_bytes(address: str, chance: random.Random) -> None:
    """Connect, send random bytes or random HTTP/2 frames, and close the connection without reading everything."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection, suppress(OSError):
        if chance.random() < 0.7:
            connection.sendall(PREFACE)
            for _ in range(chance.randrange(1, 6)):
                payload = chance.randbytes(chance.randrange(0, 200))
                kind, flags, stream = chance.randrange(0, 12), chance.randrange(256), chance.randrange(0, 8)
                connection.sendall(
                    len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
                )
        else:
            connection.sendall(chance.randbytes(chance.randrange(1, 5000)))
        connection.settimeout(0.01)
        connection.recv(4096)


def resident_bytes(process: Process) -> int:
    """Return the memory of the server in bytes."""
    pages = int(Path(f"/proc/{process.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def fuzz(server: Process, seconds: float, seed: int) -> int:
    """Send random requests and bytes for some seconds; return the number of calls."""
    chance, deadline, calls = random.Random(seed), time.monotonic() + seconds, [0]  # noqa: S311 - not secrets
    with grpc.insecure_channel(server.address) as channel:
        while time.monotonic() < deadline:

            @settings(
                max_examples=50,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(requests())
            def send(request: tuple[str, bytes]) -> None:
                if time.monotonic() > deadline:
                    return
                code = call(channel, *request)
                assert code not in CODES_OF_BUGS, (request, code)
                calls[0] += 1
                time.sleep(PAUSE_SECONDS)

            send()
            for _ in range(10):
                send_random_bytes(server.address, chance)
            assert server.process.poll() is None, "the server crashed"
    return calls[0]


@pytest.mark.parametrize(
    "seconds", [SECONDS, pytest.param(LONG_SECONDS, marks=[pytest.mark.long, pytest.mark.timeout(LONG_SECONDS * 2)])]
)
def test_random_bytes_and_messages_never_crash_the_server_or_make_its_memory_grow(
    server: Process, config: Path, seconds: float
) -> None:
    # Caches fill in the first part, so only the growth afterwards counts.
    fuzz(server, seconds * 0.5, 1)
    before = resident_bytes(server)
    calls = fuzz(server, seconds * 0.5, 2)
    after = resident_bytes(server)

    lines = [json.loads(line) for line in config.with_name("server-0.log").read_text().splitlines()]
    assert calls > seconds
    assert [line for line in lines if line["event"] == "bug"] == []
    assert after <= before * GROWTH_MAX, (before, after)


@pytest.mark.long
def test_10_000_connections_that_send_nothing_keep_nobody_from_a_decision(server: Process) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + 1000:
        pytest.skip(f"the limit on open files is {hard}, and the test opens {CONNECTIONS}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    host, _, port = server.address.rpartition(":")
    request = score_request(
        request_id=str(uuid.uuid4()), customer=customer("DE", "C00000"), features=numbers(turnover=1000.0)
    )
    try:
        with ExitStack() as opened, grpc.insecure_channel(server.address) as channel:
            for _ in range(CONNECTIONS):
                opened.enter_context(socket.create_connection((host, int(port)), timeout=30))
            answer = credit_pb2_grpc.CreditServiceStub(channel).ScoreCredit(request, timeout=30, wait_for_ready=True)
        assert answer.credit_decision.record_ref.decision_id
        assert server.process.poll() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
