"""No request of the allowed size uses more than 20 ms of the event loop's processor time or more than 20 MB of memory.

The server runs in a thread of its own. The cost of a call is the processor time that this thread uses during the
call, so other load on the machine does not change the cost.
"""

import asyncio
import gc
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from models.catalog import activate
from server.application import Application
from server.config import read_settings
from server.edges.reflection import v1_descriptor
from tests.conftest import key_settings
from tests.server.edges.test_authorization import FILES
from tests.server.requests import customer, euros, field, numbers, score_request
from tests.small import SmallFamily

REQUEST_BYTES = 256 * 1024
LOOP_SECONDS_MAX = 0.020
MEMORY_BYTES_MAX = 20 * 2**20
PATIENCE_SECONDS = 60
CODES_OF_BUGS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
METHODS: dict[str, Any] = {
    f"/{service.full_name}/{method.name}": method
    for file in (*FILES, v1_descriptor())
    for service in file.services_by_name.values()
    for method in service.methods
}


class ServerThread:
    """A server that runs in a thread of its own, and a channel to it."""

    def __init__(self, application: Application) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._application = application
        self.run(application.start())
        self._channel = grpc.insecure_channel(f"127.0.0.1:{application.port}")

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the event loop of the server; return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    def close(self) -> None:
        """Stop the server and its thread."""
        self._channel.close()
        self.run(self._application.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def loop_seconds(self) -> float:
        """Return the processor time that the event loop has used so far."""

        async def read() -> float:
            return time.thread_time()

        return float(self.run(read()))

    def call(self, method: str, content: bytes, metadata: tuple[tuple[str, str], ...] = ()) -> grpc.StatusCode:
        """Call a method with these bytes, read all answers, and return the status; a watch ends after 0.2 seconds."""
        descriptor = METHODS[method]
        try:
            if descriptor.server_streaming or descriptor.client_streaming:
                seconds = 0.2 if method.endswith("Watch") else PATIENCE_SECONDS
                call = self._channel.stream_stream(method)(iter([content]), metadata=metadata, timeout=seconds)
                for _ in call:
                    pass
            else:
                self._channel.unary_unary(method)(content, metadata=metadata, timeout=PATIENCE_SECONDS)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def server(
    small: SmallFamily, churn_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerThread]:
    """Serve credit and churn in a thread. The garbage collector is off, because it would run during random calls."""
    folder = tmp_path_factory.mktemp("cost")
    bundles = shutil.copytree(small.bundles, folder / "bundles")
    activate(bundles, small.bundle_folder.name)
    for name in ("keys.db", "master.key", "signing.key"):
        shutil.copy(churn_database.with_name(name), folder / name)
    settings = read_settings(
        port=0,
        bundles=bundles,
        policy=small.policy,
        database=f"sqlite:///{shutil.copy(churn_database, folder / 'grounds.db')}",
        reload_seconds=60,
        drain_seconds_max=0,
        request_bytes_max=REQUEST_BYTES,
        **key_settings(folder),
    )
    application = Application(settings)
    application.header_chunk_seconds = application.standby_delay_seconds = 600.0
    thread = ServerThread(application)
    for method in METHODS:
        thread.call(method, b"")  # the first call of a method is slower, so it is not measured
    gc.collect()
    gc.disable()
    yield thread
    gc.enable()
    thread.close()


def varint(number: int) -> bytes:
    """Return a number as a varint of protobuf."""
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    return bytes([*content, number])


def fill(part: bytes) -> bytes:
    """Repeat some bytes until they fill a request of the allowed size."""
    return part * (REQUEST_BYTES // len(part))


def expensive_requests(descriptor: Descriptor) -> dict[str, bytes]:
    """Return requests of at most the allowed size that are as expensive as possible, by name."""
    payload = REQUEST_BYTES - 64
    requests = {
        "unknown numbers": fill(b"\xf8\x7f\x01"),
        "unknown empty texts": fill(b"\xfa\x7f\x00"),
        "one unknown text": field(2047, bytes(payload)),
        "nested groups": fill(b"\xfb\x7f"),
        "endless number": b"\x08" + b"\xff" * payload,
        "zeros": bytes(REQUEST_BYTES),
        "a length beyond the end": b"\x0a\xff\xff\xff\x7f" + bytes(payload),
    }
    for each in descriptor.fields:
        name, tag = each.name, each.number << 3
        if each.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
            for label, text in {
                "a": b"a" * payload,
                "digits": b"7" * payload,
                "dashes": b"0-" * (payload // 2),
                "emoji": "\N{GRINNING FACE}".encode() * (payload // 4),
                "spaces": b" " * payload,
                "invisible": "".join(map(chr, range(0xF0000, 0xF0000 + payload // 4))).encode(),
                "base64": b"QUFB" * (payload // 4),
            }.items():
                requests[f"{name}: {label}"] = field(each.number, text)
            requests[f"{name}: many"] = fill(field(each.number, b"a"))
        elif each.message_type is not None:
            requests[f"{name}: many empty"] = fill(field(each.number, b""))
            requests[f"{name}: unknown inside"] = field(each.number, b"\xf8\x7f\x01" * (payload // 3))
            requests[f"{name}: unknown nested"] = field(
                each.number, field(1, field(1, b"\xf8\x7f\x01" * (payload // 4)))
            )
            requests[f"{name}: text inside"] = field(each.number, field(1, b"a" * (payload - 16)))
            distinct = (field(each.number, field(1, b"k%d" % index)) for index in range(payload // 12))
            requests[f"{name}: many with a key"] = b"".join(distinct)[:REQUEST_BYTES]
            for count in (64, 512, 1000):
                entries = (field(each.number, field(1, b"-%d" % index) + field(2, b"")) for index in range(count))
                requests[f"{name}: {count} invalid"] = b"".join(entries)
        else:
            requests[f"{name}: many"] = fill(varint(tag) + b"\x01")
            requests[f"{name}: packed"] = field(each.number, b"\x01" * payload)
            requests[f"{name}: packed zeros"] = field(each.number, bytes(payload))
    return requests


def valid_large_requests() -> dict[str, tuple[str, bytes]]:
    """Return valid requests that are as large as possible, with their methods."""
    features = numbers(**{f"f{'x' * 100}{index}": 1.5 for index in range(512)})
    facts = numbers(**{f"fact{index}": 1.5 for index in range(64)})
    customers = b"".join(field(1, customer("DE", f"K{index}")) for index in range(1000))
    scoring = score_request(features=features, facts=facts, requested_amount=euros(500)).SerializeToString()
    simulating = b"".join(
        [
            field(1, customer()),
            field(2, euros(500)),
            *(field(3, field(1, name.encode()) + field(2, value)) for name, value in features.items()),
        ]
    )
    # Every question has an error, which takes longer than a decision that only reads and scores.
    batches = {
        f"500 {name}": b"".join(field(1, score_request(**fields)) for _ in range(500))
        for name, fields in {
            "decisions": {},
            "unknown customers": {"customer": customer("DE", "NOBODY77")},
            "invalid requests": {"features": {"-": numbers(a=1.0)["a"], "": numbers(a=1.0)["a"]}, "locale": "?"},
        }.items()
    }
    return {
        **{name: ("/grounds.credit.v1.CreditService/BatchScoreCredit", batch) for name, batch in batches.items()},
        "512 features": ("/grounds.credit.v1.CreditService/ScoreCredit", scoring),
        "512 simulated features": ("/grounds.credit.v1.CreditService/SimulateCredit", simulating),
        "1000 customers": ("/grounds.churn.v1.ChurnService/BatchGetChurnRisks", customers),
    }


def random_message(descriptor: Descriptor, chance: random.Random, size: int, depth: int = 0) -> bytes:
    """Return an encoded message with random fields of random, often wrong, content."""
    parts, length = [], 0
    while length < size:
        each = chance.choice([*descriptor.fields, None])
        number = chance.randrange(1, 40) if each is None else each.number
        wanted = chance.choice([0, 1, 5, 50, size // 3])
        if each is not None and each.message_type is not None and depth < 4 and chance.random() < 0.8:
            part = field(number, random_message(each.message_type, chance, wanted, depth + 1))
        elif chance.random() < 0.5:
            part = field(number, chance.choice([chance.randbytes(wanted), b"a" * wanted, b"7-" * (wanted // 2)]))
        else:
            part = varint(number << 3 | chance.choice([0, 0, 0, 1, 5])) + varint(
                chance.getrandbits(chance.choice([1, 7, 63]))
            )
        repeats = chance.choice([1, 1, 1, 2, 1000]) if len(part) < 50 else 1
        parts.append(part * repeats)
        length += len(parts[-1])
    return b"".join(parts)[: max(size, 1)]


def cost_problem(server: ServerThread, method: str, content: bytes) -> str:
    """Call a method; return "" if all is well, else the status of a bug or the processor time above the limit."""
    before = server.loop_seconds()
    code = server.call(method, content)
    seconds = server.loop_seconds() - before
    if code in CODES_OF_BUGS:
        return f"{code.name}"
    return f"{1000 * seconds:.1f} ms" if seconds > LOOP_SECONDS_MAX else ""


@pytest.mark.parametrize("method", METHODS, ids=lambda name: name[1:])
def test_no_crafted_request_blocks_the_event_loop(server: ServerThread, method: str) -> None:
    requests = expensive_requests(METHODS[method].input_type)

    problems = {name: cost_problem(server, method, content) for name, content in requests.items()}

    assert all(len(content) <= REQUEST_BYTES for content in requests.values())
    assert not {name: problem for name, problem in problems.items() if problem}


@pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=pytest.mark.long)])
def test_no_random_request_blocks_the_event_loop(server: ServerThread, rounds: int) -> None:
    problems = {}
    for method, descriptor in METHODS.items():
        for seed in range(rounds):
            chance = random.Random(f"{method} {seed}")  # noqa: S311 - a test's seed
            content = random_message(descriptor.input_type, chance, chance.choice([100, 4000, 30_000, REQUEST_BYTES]))
            problem = cost_problem(server, method, content)
            if problem:
                problems[method, seed] = problem

    assert not problems


@pytest.mark.parametrize("name", valid_large_requests())
def test_no_valid_request_blocks_the_event_loop(server: ServerThread, name: str) -> None:
    method, content = valid_large_requests()[name]

    assert not cost_problem(server, method, content)


def test_large_metadata_do_not_block_the_event_loop(server: ServerThread) -> None:
    metadata = tuple((f"x-{index}", "v") for index in range(350))
    for method in METHODS:
        seconds = []
        for _ in range(3):  # background work of the loop, such as a collection of garbage, only adds to a figure
            before = server.loop_seconds()
            server.call(method, b"", metadata)
            seconds.append(server.loop_seconds() - before)

        assert min(seconds) < LOOP_SECONDS_MAX, method


def peak_growth(work: Callable[[], object]) -> int:
    """Run `work`; return the number of bytes by which the peak memory of this process exceeds its memory before."""
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak, to the current memory
    start = memory_bytes("VmRSS")
    work()
    return memory_bytes("VmHWM") - start


def memory_bytes(name: str) -> int:
    """Return a figure from /proc/self/status, in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can reset the peak of memory")
def test_no_crafted_request_takes_more_than_20_mb(server: ServerThread) -> None:
    problems = {}
    for method, descriptor in METHODS.items():
        if method.endswith("Watch"):
            continue  # Watch needs no more memory than Check, and each call would take 0.2 seconds
        requests = expensive_requests(descriptor.input_type)
        for name in [name for name in requests if re.search("many|unknown|packed|invisible", name)]:
            content = requests[name]
            growth = peak_growth(lambda method=method, content=content: server.call(method, content))
            if growth > MEMORY_BYTES_MAX:
                problems[method, name] = f"{growth / 2**20:.0f} MB"

    assert not problems


def test_the_measurement_notices_a_blocked_event_loop_and_wasted_memory(server: ServerThread) -> None:
    async def work() -> None:
        end = time.thread_time() + 2 * LOOP_SECONDS_MAX
        while time.thread_time() < end:
            pass

    before = server.loop_seconds()
    server.run(work())

    assert server.loop_seconds() - before > LOOP_SECONDS_MAX
    assert peak_growth(lambda: len(b"x" * (2 * MEMORY_BYTES_MAX))) > MEMORY_BYTES_MAX
