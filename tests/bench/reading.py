"""Benchmark of the reader of transaction logs: CPU time, wall time and peak memory, compared with an earlier version."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from tests.conftest import ROOT

# Half of the lines of a customer have the same time, so that the search for equal lines has work to do.
MADE = """
COPY (
    SELECT
        ['DE', 'AT', 'FR', 'PL'][1 + (hash(line) % 4)::INTEGER] AS country,
        'C' || lpad((hash(line, 1) % 40000)::VARCHAR, 7, '0') AS customer,
        TIMESTAMP '2023-01-02 06:00:00' + to_seconds((hash(line // 2, 2) % 77760000)::BIGINT) AS sold_at,
        ((hash(line, 3) % 200000)::BIGINT - 4000)::DECIMAL(18, 2) / 100 AS amount,
        line // 4 AS basket,
        hash(line, 4) % 20000 AS article,
        'group ' || (hash(line, 5) % 60)::VARCHAR AS product_group,
        1 + hash(line, 6) % 12 AS quantity
    FROM range({lines}) AS made(line)
) TO '{path}' ({form})
"""
COLUMNS = {
    "customer_id": "customer",
    "time": "sold_at",
    "amount": "amount",
    "market": "country",
    "basket": "basket",
    "product": "article",
    "category": "product_group",
    "quantity": "quantity",
}
FORMS = {"csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet, COMPRESSION zstd"}
CHECKSUM = "SELECT COUNT(*), BIT_XOR(hash(market, customer_id, time, amount, basket, product, category, quantity)) FROM valid_lines"


def measure_reading(before: Path, lines: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Read a generated log with this version and an earlier one, interleaved; all readers must return the same lines.

    Args:
        before: Folder of a checkout of the earlier version.
        lines: Number of lines of the log.
        rounds: How often each version reads each file.
        say: Shows the progress.
    """
    found: dict[str, Any] = {"lines": lines, "before": _commit(before), "forms": {}}
    with tempfile.TemporaryDirectory() as folder:
        for form, options in FORMS.items():
            path = Path(folder) / f"log.{form}"
            with duckdb.connect(config={"memory_limit": "2GB", "temp_directory": folder}) as connection:
                connection.execute(MADE.format(lines=lines, path=path, form=options))
            runs: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
            for number in range(rounds):
                for name, tree in (("before", before), ("now", ROOT)):
                    say(f"{form}, round {number + 1} of {rounds}: {name}")
                    runs[name].append(_read_in_process(tree, path))
            assert len({str(run["checksum"]) for each in runs.values() for run in each}) == 1, "different lines"
            found["forms"][form] = {"bytes": path.stat().st_size, **runs}
            path.unlink()
    return found


def _commit(tree: Path) -> str:
    """Return the commit of a checkout."""
    command = ["/usr/bin/env", "git", "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout.strip()


def _read_in_process(tree: Path, path: Path) -> dict[str, Any]:
    """Read a log in a new process with the packages of a checkout; return what `read_log` measured."""
    packages = [str(tree), *(str(tree / name) for name in ("protos", "record", "client"))]
    command = [sys.executable, str(Path(__file__)), str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(packages)}
    printed = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True, env=environment).stdout
    measured: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return measured


def read_log(path: Path) -> dict[str, Any]:
    """Read a log as training does; return the times of all threads, the peak memory, and a checksum of the lines."""
    from training.sources.transaction_log import SourcePaths, open_transaction_log
    from training.spec import LogSpec

    log = LogSpec.model_validate({"path": str(path), "currency": "EUR", "columns": COLUMNS})
    begun, used = time.perf_counter(), time.process_time()
    with open_transaction_log(log, None, SourcePaths(), os.cpu_count() or 1) as opened:
        checksum = opened.connection.execute(CHECKSUM).fetchall()[0]
    return {
        "cpu_seconds": time.process_time() - used,
        "wall_seconds": time.perf_counter() - begun,
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "checksum": [int(value) for value in checksum],
    }


if __name__ == "__main__":
    # The packages of the other checkout must not be mixed with tests of this one, so this file runs as a script.
    print(json.dumps(read_log(Path(sys.argv[1]))))  # noqa: T201 - read by the benchmark
