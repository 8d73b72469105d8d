"""A transaction log may be larger than the memory limit of DuckDB."""

import datetime as dt
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from tests.bench.churn import MADE
from tests.conftest import ROOT
from training.sources.snapshots import _scorable_customers, create_customers
from training.sources.transaction_log import SourcePaths, open_transaction_log
from training.spec import read_spec

AT = dt.date(2017, 12, 1)
LINES = 1_000_000
BYTES_OF_LINE = 112  # DuckDB stores five strings of 16 bytes and four numbers of 8 bytes for each line
MEMORY = 100_000_000


@pytest.mark.long
def test_a_memory_limit_below_the_size_of_the_log_does_not_change_the_features(tmp_path: Path) -> None:
    log = tmp_path / "log.parquet"
    with duckdb.connect() as connection:
        connection.execute(MADE.format(lines=LINES, customers=LINES // 50, path=log))
    spec = read_spec(ROOT / "training" / "churn.toml")
    assert spec.log is not None
    assert spec.snapshots is not None
    found: list[pd.DataFrame] = []
    for memory in ("1500MB", f"{MEMORY}B"):
        with open_transaction_log(spec.log, None, SourcePaths(data=log), 2, memory) as opened:
            create_customers(opened, spec.snapshots, AT)
            found.append(_scorable_customers(opened, spec.snapshots, AT))

    assert LINES * BYTES_OF_LINE > MEMORY
    assert len(found[0]) > 15_000
    assert found[1].equals(found[0])
