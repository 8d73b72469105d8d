"""Floods of HTTP/2 frames: the server still serves others and stays healthy, and its memory is bounded."""

import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grounds.credit.v1 import credit_pb2_grpc
from grounds_client.channel import open_channel
from tests.e2e.processes import Process, start
from tests.e2e.test_fuzz import GROWTH_MAX, resident_bytes
from tests.e2e.test_network import request_in
from tests.server.http2 import call_frames, frame, header_field, opening_frames

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_HEADERS, CANCEL = 4, 8
FLOOD_SECONDS = 1.5
FRAMES = 200  # in one write
STREAMS_MAX = 20_000  # on one connection
CALLS = 5
ROUNDS_MAX = 6
CALL_SECONDS_MAX = 10
SCORE, LIST_MODELS, WATCH = (
    "/grounds.credit.v1.CreditService/ScoreCredit",
    "/grounds.model.v1.ModelService/ListModels",
    "/grpc.health.v1.Health/Watch",
)
Flood = Callable[[], Iterator[bytes]]


def new_streams(frames: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield the frames of new streams, many in one write, up to the largest number of streams on a connection."""
    numbers = iter(range(1, 2 * STREAMS_MAX, 2))
    while written := b"".join(frames(number) for number in itertools.islice(numbers, FRAMES)):
        yield written


def rapid_resets() -> Iterator[bytes]:
    """Begin calls, and cancel each of them immediately (CVE-2023-44487)."""
    return new_streams(
        lambda stream: call_frames(stream, SCORE, b"") + frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))
    )


def streams_without_requests() -> Iterator[bytes]:
    """Begin calls, and send no request."""
    return new_streams(lambda stream: call_frames(stream, SCORE))


def settings_frames() -> Iterator[bytes]:
    """Send settings, each of which the server must acknowledge (CVE-2019-9515)."""
    return itertools.repeat(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)) * FRAMES)


def pings() -> Iterator[bytes]:
    """Send pings, each of which the server must answer (CVE-2019-9512)."""
    return itertools.repeat(frame(PING, 0, 0, bytes(8)) * FRAMES)


def continuations() -> Iterator[bytes]:
    """Send headers that never end (CVE-2024-27316 and others)."""
    yield frame(HEADERS, 0, 1, header_field(":method", "POST"))
    yield from itertools.repeat(frame(CONTINUATION, 0, 1, header_field("x-filler", "x" * 1000)) * FRAMES)


def empty_data() -> Iterator[bytes]:
    """Begin a call, and send frames without data, which flow control does not limit (CVE-2019-9518)."""
    yield call_frames(1, SCORE)
    yield from itertools.repeat(frame(DATA, 0, 1, b"") * FRAMES)


def window_updates_and_priorities() -> Iterator[bytes]:
    """Send frames that only change the state of a stream (CVE-2019-9513)."""
    yield call_frames(1, SCORE)
    update = frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1))
    yield from itertools.repeat((update + frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1))) * FRAMES)


def huge_header_lists() -> Iterator[bytes]:
    """Begin calls with one megabyte of metadata each, in frames of 16 KB."""
    numbers = itertools.count(1, 2)
    for stream in numbers:
        start_of_list = call_frames(stream, SCORE)
        yield start_of_list[:4] + b"\x00" + start_of_list[5:]  # the same frame without the flag END_HEADERS
        part = header_field("x-filler", "x" * 15_000)
        yield frame(CONTINUATION, 0, stream, part) * 64 + frame(CONTINUATION, END_HEADERS, stream, part)


def repeated_table_entries() -> Iterator[bytes]:
    """Begin calls whose small headers refer thousands of times to one large table entry (HPACK bomb)."""
    entry = b"\x40" + header_field("x-filler", "x" * 3000)[1:]  # literal with incremental indexing
    yield frame(HEADERS, END_HEADERS, 1, entry + b"\xbe" * 12_000)
    for stream in itertools.count(3, 2):
        yield frame(HEADERS, END_HEADERS, stream, b"\xbe" * 16_000)  # 0xbe is entry 62, the newest one


def unread_answers() -> Iterator[bytes]:
    """Request answers, and read none of them, neither from the streams nor from the socket."""
    return new_streams(lambda stream: call_frames(stream, (LIST_MODELS, WATCH)[stream // 2 % 2], b""))


FLOODS: dict[Flood, int] = {  # the value is the flow-control window: how many bytes of each answer the server may send
    rapid_resets: 65_535,
    streams_without_requests: 65_535,
    settings_frames: 65_535,
    pings: 65_535,
    empty_data: 65_535,
    window_updates_and_priorities: 65_535,
    repeated_table_entries: 65_535,
    unread_answers: 0,
}
# gRPC allocates memory for metadata that it will reject, and does not return all of it; see SECURITY.md.
HEADER_FLOODS: dict[Flood, int] = {continuations: 65_535, huge_header_lists: 65_535}
HEADER_FLOOD_BYTES_MAX = 2 << 30


@pytest.fixture
def server(config: Path) -> Iterator[Process]:
    """Start a server."""
    process = start(config)
    yield process
    process.stop()


def send_flood(address: str, flood: Flood, window_bytes: int, done: threading.Event, counts: list[int]) -> None:
    """Send a flood until `done` is set; reconnect each time the server closes the connection."""
    host, _, port = address.rpartition(":")
    while not done.is_set():
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=1) as connection:
            connection.sendall(opening_frames(window_bytes))
            counts[0] += 1
            for written in flood():
                if done.is_set():
                    return
                connection.sendall(written)
                counts[1] += len(written)
            done.wait(0.5)  # all stream numbers of the connection are used up


@contextmanager
def flooding(server: Process, flood: Flood, window_bytes: int) -> Iterator[list[int]]:
    """Send a flood during the block; yield the numbers of connections and of sent bytes."""
    done, counts = threading.Event(), [0, 0]
    sender = threading.Thread(target=send_flood, args=(server.address, flood, window_bytes, done, counts))
    sender.start()
    try:
        yield counts
    finally:
        done.set()
        sender.join(30)


def failed_calls(stub: credit_pb2_grpc.CreditServiceStub) -> list[str]:
    """Request decisions during a flood, with the client's retries; return the status codes of the failed calls."""
    end, failures = time.monotonic() + FLOOD_SECONDS, list[str]()
    for number in itertools.count():
        if number >= CALLS and time.monotonic() > end:
            break
        try:
            stub.ScoreCredit(request_in("DE"), timeout=CALL_SECONDS_MAX)
        except grpc.RpcError as error:
            failures.append(str(error.code()))
        time.sleep(0.01)
    return failures


def check_health(server: Process, channel: grpc.Channel, name: str) -> None:
    """Check that a server runs and reports that it is healthy."""
    assert server.process.poll() is None, name
    request = health_pb2.HealthCheckRequest()
    status = health_pb2_grpc.HealthStub(channel).Check(request, timeout=CALL_SECONDS_MAX).status
    assert status == health_pb2.HealthCheckResponse.SERVING, name


def bugs(config: Path) -> list[str]:
    """Return the lines of the application log that report a bug."""
    return [line for line in config.with_name("server-0.log").read_text().splitlines() if '"event": "bug"' in line]


@pytest.mark.timeout(900)
def test_during_every_flood_others_are_served_and_afterwards_health_and_memory_are_as_before(
    server: Process, config: Path
) -> None:
    with open_channel(server.address) as channel:
        stub = credit_pb2_grpc.CreditServiceStub(channel)
        for flood, window_bytes in FLOODS.items():
            sizes = [resident_bytes(server)]
            # Caches and buffers fill in the first rounds. A leak would grow in every round.
            while len(sizes) < 2 or sizes[-1] > sizes[-2] * GROWTH_MAX:
                assert len(sizes) <= ROUNDS_MAX, (flood.__name__, sizes)
                with flooding(server, flood, window_bytes) as counts:
                    assert failed_calls(stub) == [], flood.__name__
                assert min(counts) > 0, flood.__name__
                sizes.append(resident_bytes(server))
            check_health(server, channel, flood.__name__)
    assert bugs(config) == []


@pytest.mark.timeout(600)
def test_during_floods_of_headers_others_are_served_and_memory_stays_below_two_gigabytes(
    server: Process, config: Path
) -> None:
    with open_channel(server.address) as channel:
        stub = credit_pb2_grpc.CreditServiceStub(channel)
        for flood, window_bytes in HEADER_FLOODS.items():
            with flooding(server, flood, window_bytes) as counts:
                assert failed_calls(stub) == [], flood.__name__
                assert resident_bytes(server) < HEADER_FLOOD_BYTES_MAX, flood.__name__
            assert min(counts) > 0, flood.__name__
            check_health(server, channel, flood.__name__)
    assert bugs(config) == []
