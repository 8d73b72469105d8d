"""Benchmark of the churn feed: a generated run is loaded, exported, and read page by page over a real channel."""

import datetime as dt
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import demo
from grounds.churn.v1 import churn_pb2 as pb
from grounds_client import Client
from models.scorecard import pd_from_log_odds
from tests.conftest import ROOT, key_environment

FEATURES = 20
BATCH = 50_000
BOUNDS = np.array([0.2, 0.4, 0.6, 1.0])
BANDS = np.array(["LOW", "MEDIUM", "HIGH", "CRITICAL"])
AS_OF = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
EXPORTS = 5
LISTED = 200_000  # customers read from each list


def measure_feed(customers: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Generate a scoring run, load it, serve it, and read it in every way; return sizes and times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"make a run of {customers:,} customers")
        path = folder / "run.parquet"
        write_made_run(path, customers)
        settings = {
            "GROUNDS_DATABASE": f"sqlite:///{folder / 'feed.db'}",
            "GROUNDS_BUNDLES": str(folder / "bundles"),
            **key_environment(folder),
        }
        say("load it")
        begun = time.perf_counter()
        memory = _load(path, settings)
        found: dict[str, Any] = {
            "customers": customers,
            "features": FEATURES,
            "file_bytes": path.stat().st_size,
            "load_seconds": time.perf_counter() - begun,
            "load_memory_bytes": memory,
            "database_bytes": (folder / "feed.db").stat().st_size,
        }
        with demo.serving(folder / "log", **settings) as address, Client(address, deadline_seconds=60) as client:
            say("export it")
            found["export_seconds"] = [_time_export(client, customers) for _ in range(EXPORTS)]
            for title, pages in {
                "sync": sync_pages(client),
                "by_probability": list_pages(client, pb.CHURN_RISK_ORDER_PROBABILITY),
                "by_value": list_pages(client, pb.CHURN_RISK_ORDER_VALUE_AT_RISK),
            }.items():
                say(f"read pages: {title}")
                found[title] = _time_pages(pages)
            assert found["sync"]["customers"] == customers, "the sync must contain every customer"
        return found


def _load(path: Path, settings: dict[str, str]) -> int:
    """Load a file with the server's command; return the peak memory of the command in bytes."""
    command = [sys.executable, "-m", "server", "load", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **settings}, capture_output=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def _time_export(client: Client, customers: int) -> float:
    """Return the seconds until an export is parsed into Arrow tables; check that each customer occurs exactly once."""
    begun = time.perf_counter()
    tables = []
    for part in client.export_churn_risks("DE", include_withheld=True):
        with pa.ipc.open_stream(part.arrow_stream) as stream:
            tables.append(stream.read_all())
    took = time.perf_counter() - begun
    ids = pa.concat_tables(tables)["customer_id"]
    assert len(ids) == pc.count_distinct(ids).as_py() == customers
    return took


def sync_pages(client: Client) -> Iterator[int]:
    """Read a full sync; yield the number of customers on each page."""
    token = ""
    while True:
        page = client.list_churn_risk_changes("DE", page_token=token, include_withheld=True)
        yield len(page.churn_risks)
        token = page.next_page_token
        if not token:
            return


def list_pages(client: Client, order: pb.ChurnRiskOrder) -> Iterator[int]:
    """Read the start of a list in pages of 1,000; yield the number of customers on each page."""
    listed = islice(client.list_churn_risks("DE", order=order, include_withheld=True), LISTED)
    while page := list(islice(listed, 1000)):
        yield len(page)


def _time_pages(pages: Iterator[int]) -> dict[str, float]:
    """Return statistics of the time per page; the client measures until the messages of the page are parsed."""
    times, read, begun = [], 0, time.perf_counter()
    for count in pages:
        times.append((time.perf_counter() - begun) * 1000)
        read += count
        begun = time.perf_counter()
    times.sort()
    return {
        "customers": read,
        "pages": len(times),
        "median_ms": statistics.median(times),
        "p99_ms": times[math.ceil(len(times) * 0.99) - 1],
        "slowest_ms": times[-1],
    }


def write_made_run(to: Path, customers: int) -> None:
    """Write a scoring run of generated customers by descending pd, which is the order in which training writes a run."""
    random = np.random.default_rng(0)
    contributions = random.normal(0, 0.5, (customers, FEATURES))
    log_odds = contributions.sum(axis=1) - 1.0
    order = np.argsort(-log_odds, kind="stable")
    contributions, log_odds = contributions[order], log_odds[order]
    manifest = _made_manifest(customers)
    schema = None
    writer = None
    for first in range(0, customers, BATCH):
        part = slice(first, min(first + BATCH, customers))
        table = _made_table(first, log_odds[part], contributions[part], random)
        if writer is None:
            schema = table.schema.with_metadata({"grounds": json.dumps(manifest)})
            writer = pq.ParquetWriter(to, schema)
        assert schema is not None
        writer.write_table(table.replace_schema_metadata(schema.metadata))
    assert writer is not None
    writer.close()


def _made_table(first: int, log_odds: np.ndarray, contributions: np.ndarray, random: np.random.Generator) -> pa.Table:
    """Generate customers by rank; ids ascend too, because ids order customers with equal probabilities."""
    count = len(log_odds)
    pds = np.array([pd_from_log_odds(value) for value in log_odds.tolist()])
    spend = np.round(random.lognormal(11, 1, count)).astype(np.int64)
    usual, last = random.integers(3, 30, count), random.integers(20, 90, count)
    offsets = pa.array(np.arange(0, count * FEATURES + 1, FEATURES), pa.int32())
    features = np.round(random.normal(10, 5, count * FEATURES), 2)
    return pa.table(
        {
            "market": pa.array(["DE"] * count),
            "customer_id": pa.array([f"C{number:09d}" for number in range(first, first + count)]),
            "as_of": pa.array([AS_OF] * count, pa.timestamp("us", tz="UTC")),
            "status": pa.array(["SCORED"] * count),
            "log_odds": log_odds,
            "pd": pds,
            "band": pa.array(BANDS[np.searchsorted(BOUNDS[:-1], pds, side="left")]),
            "rank": pa.array(np.arange(first + 1, first + count + 1), pa.int32()),
            "decline_pd": random.random(count),
            "value_at_risk_minor": np.round(pds * spend).astype(np.int64),
            "expected_spend_minor": spend,
            "hold_out": random.random(count) < 0.1,
            "suppressions": pa.array([["OPEN_COMPLAINT"] if chance < 0.02 else [] for chance in random.random(count)]),
            "drivers": _drivers(usual, last),
            "features": pa.ListArray.from_arrays(offsets, pa.array(features)),
            "contributions": pa.ListArray.from_arrays(offsets, pa.array(contributions.ravel())),
        }
    )


def _drivers(usual: np.ndarray, last: np.ndarray) -> pa.Array:
    """Return three drivers in two languages for each customer, with the customer's own numbers."""
    texts = (
        ('[{"code":"RECENCY","log_odds":0.9,"features":["days_since"],"texts":{"de":"bestellt sonst alle ', usual),
        (" Tage, zuletzt vor ", last),
        (' Tagen","en":"usually orders every ', usual),
        (" days, last order ", last),
        (' days ago"}},{"code":"SPEND","log_odds":0.5,"features":["spend"],"texts":{"de":"Umsatz ', last),
        (' Prozent unter dem eigenen Mittel","en":"spend ', last),
        (' per cent below its own mean"}},{"code":"BREADTH","log_odds":0.1,"features":["categories"],"texts":', None),
        ('{"de":"kauft aus weniger Warengruppen als sonst","en":"buys from fewer categories than usual"}}]', None),
    )
    parts: list[Any] = []
    for text, number in texts:
        parts += [pa.scalar(text)] + ([] if number is None else [pa.array(number).cast(pa.string())])
    return pc.binary_join_element_wise(*parts, "")


def _made_manifest(customers: int) -> dict[str, Any]:
    """Build the manifest of the run."""
    names = [f"feature_{number}" for number in range(FEATURES)]
    return {
        "format": 2,
        "kind": "run",
        "family": "churn",
        "run_id": "0" * 32,
        "bundle_id": "0" * 64,
        "feature_names": names,
        "feature_groups": ["RECENCY"] * FEATURES,
        "base_value": -1.0,
        "baseline_sha256": "0" * 64,
        "method": "interventional",
        "baseline_rows": 1000,
        "baseline_definition": "made",
        "currency": "EUR",
        "bands": [{"band": str(band), "max_pd": float(bound)} for band, bound in zip(BANDS, BOUNDS, strict=True)],
        "band_margin_log_odds": 0.1,
        "horizon_days": 30,
        "valid_days": 35,
        "campaign": "made",
        "hold_out_share": 0.1,
        "counts": {"SCORED": customers},
    }
