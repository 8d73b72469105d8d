"""Benchmark of the command that scores a transaction log: time by stage and peak memory, for generated logs of several sizes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from tests.conftest import ROOT

LINES = (1_000_000, 5_000_000, 50_000_000)
LINES_OF_CUSTOMER = 50
AT = "2017-12-01"
# Each customer has 12 orders at random times before a random last date. The columns have the same names as in the
# shipped transaction log.
MADE = """
COPY (
    SELECT
        customer AS household_id,
        customer * 100 + trip AS basket_id,
        hash(line, 2) % 50000 AS product_id,
        'c' || CAST(hash(line, 3) % 200 AS VARCHAR) AS product_category,
        1 AS quantity,
        CAST((hash(line, 4) % 3000) / 100.0 AS DECIMAL(18,2)) AS sales_value,
        CAST((hash(line, 5) % 100) / 100.0 AS DECIMAL(18,2)) AS discount,
        TIMESTAMP '2017-01-01' + to_seconds(CAST(60 * ((hash(customer, trip) % 480960)
            * (0.75 + (hash(customer, 9) % 250) / 1000.0))::BIGINT AS INTEGER)) AS transaction_timestamp
    FROM (SELECT line, hash(line) % {customers} AS customer, hash(line, 1) % 12 AS trip FROM range({lines}) AS made(line))
    ) TO '{path}' (FORMAT parquet)
"""


def measure_scoring(bundle_folder: Path, lines: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Generate a transaction log of `lines` lines, score it, and return the time and memory of the command."""
    with tempfile.TemporaryDirectory() as folder:
        say(f"make a log of {lines:,} lines")
        log, run = Path(folder) / "log.parquet", Path(folder) / "run.parquet"
        with duckdb.connect(config={"memory_limit": "2GB", "temp_directory": folder}) as connection:
            connection.execute(MADE.format(lines=lines, customers=lines // LINES_OF_CUSTOMER, path=log))
        say("score it")
        command = [sys.executable, "-m", "training", "score", "training/churn.toml", "--at", AT]
        command += ["--bundles", str(bundle_folder.parent.parent), "--bundle", bundle_folder.name]
        found = _run_watched([*command, "--data", str(log), "--to", str(run)])
        with duckdb.connect() as connection:
            customers = connection.execute(f"SELECT COUNT(*) FROM '{run}' WHERE status = 'SCORED'").fetchall()[0][0]
        return {"lines": lines, "customers": customers, "run_bytes": run.stat().st_size, **found}


def _run_watched(command: list[str]) -> dict[str, Any]:
    """Run the command; return its times and peak memory. A progress line of the command marks the end of the feature stage."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None
    features = 0.0
    for line in process.stdout:
        if line.startswith("· score:") and not features:
            features = time.perf_counter() - begun
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    whole = time.perf_counter() - begun
    return {
        "features_seconds": features,
        "run_seconds": whole - features,
        "whole_seconds": whole,
        "memory_bytes": used.ru_maxrss * 1024,
    }
