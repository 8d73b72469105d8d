"""Churn features see nothing after the cut, and do not depend on the order of the lines or on threads."""

import datetime as dt
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from tests.conftest import ROOT
from training.errors import SpecRefused
from training.spec import read_spec
from training.transactions import FEATURES_SQL, parts_of

CUT = dt.date(2026, 3, 1)
LINES = """
CREATE TABLE lines AS
SELECT
    CASE WHEN c % 2 = 0 THEN 'DE' ELSE 'FR' END AS market,
    CAST(c AS VARCHAR) AS customer_id,
    TIMESTAMP '2025-06-01 08:00:00' + to_hours(CAST((hash(c, n) % 9000) AS INTEGER)) AS time,
    CAST((hash(n, c) % 20000) / 100.0 - 10 AS DECIMAL(18,2)) AS amount,
    CAST(n // 3 AS VARCHAR) AS basket,
    CAST(hash(c, n, 1) % 50 AS VARCHAR) AS product,
    CAST(hash(c, n, 2) % 7 AS VARCHAR) AS category,
    1.0 AS quantity,
    CAST((hash(c, n, 3) % 300) / 100.0 AS DECIMAL(18,2)) AS discount
FROM range(60) AS customers(c), range(40) AS lines(n)
"""
CHANGES = {
    "later lines deleted": "DELETE FROM lines WHERE time >= DATE '2026-03-01'",
    "later lines changed": "UPDATE lines SET amount = amount * 1000, category = 'x' WHERE time >= DATE '2026-03-01'",
    "later lines added": """INSERT INTO lines SELECT market, customer_id, TIMESTAMP '2026-03-01 00:00:00', 5000, 'b', 'p', 'c', 1, 0
        FROM lines GROUP BY market, customer_id""",
    "all lines shuffled": "CREATE OR REPLACE TABLE lines AS SELECT * FROM lines ORDER BY hash(time, amount, 7)",
}


def features(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Compute every feature as of the cut."""
    return connection.execute(FEATURES_SQL, {"cut": CUT, "active_days": 90}).df()


def connect(threads: int) -> duckdb.DuckDBPyConnection:
    """Make the log: 60 customers, 2,400 lines, some of them returns."""
    connection = duckdb.connect(config={"threads": threads})
    connection.execute(LINES)
    return connection


@pytest.mark.parametrize("change", CHANGES)
def test_every_feature_is_the_same_to_the_bit_whatever_happens_after_the_cut(change: str) -> None:
    connection = connect(1)
    before = features(connection)

    connection.execute(CHANGES[change])

    assert len(before) > 30
    assert features(connection).equals(before)


def test_one_purchase_before_the_cut_does_change_features() -> None:
    connection = connect(1)
    before = features(connection)

    connection.execute(
        "INSERT INTO lines SELECT market, customer_id, TIMESTAMP '2026-02-28 23:59:59', 5000, 'b', 'p', 'c', 1, 0 "
        "FROM lines GROUP BY market, customer_id"
    )

    assert not features(connection).equals(before)


def test_two_threads_give_the_same_bits_as_one() -> None:
    assert features(connect(2)).equals(features(connect(1)))


def test_every_feature_of_the_shipped_spec_comes_from_the_sql() -> None:
    names = {feature.name for feature in read_spec(ROOT / "training" / "churn.toml").features}

    offered = set(features(connect(1)).columns) - {"market", "customer_id"}

    assert names == offered


def test_parts_whose_horizon_reaches_into_the_next_part_are_refused(tmp_path: Path) -> None:
    text = (ROOT / "training" / "churn.toml").read_text(encoding="utf-8")
    (tmp_path / "spec.toml").write_text(text.replace("calibration = [2017-09-01]", "calibration = [2017-10-15]"))
    snapshots = read_spec(tmp_path / "spec.toml").snapshots
    assert snapshots is not None

    with pytest.raises(SpecRefused, match=r"snapshots\.calibration reaches 2017-11-14"):
        parts_of(snapshots)
