"""The table of a copy."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa

from grounds_client.pull.table import CUSTOMER_SCHEMA, apply_parts, copy_table, read_copy, write_copy

RUN = {"run_id": "r", "as_of_time": 0, "valid_until_time": 1, "bundle_id": "b", "currency_code": "EUR"}


def test_awkward_values_are_read_back_from_both_file_formats(tmp_path: Path) -> None:
    row: dict[str, Any] = dict.fromkeys(CUSTOMER_SCHEMA.names)
    row |= {"customer_id": "A", "status": "SCORED", "hold_out": True, "action_allowed": False, "suppressions": ""}
    row |= {"churn_probability": 0.1 + 0.2, "log_odds": 5e-324, "driver_1": 'a "b",\nc; =1+1', "band_since_time": 1}
    other = {**dict.fromkeys(CUSTOMER_SCHEMA.names), "customer_id": "B", "value_at_risk_minor": 2**62, "driver_1": ""}
    schema = CUSTOMER_SCHEMA.with_metadata({"removed": "[]"})
    part = pa.Table.from_pylist([row, other], schema=schema)
    for kind in (".csv", ".parquet"):
        write_copy(tmp_path / f"file{kind}", kind, apply_parts(CUSTOMER_SCHEMA.empty_table(), [part]))

        assert read_copy(tmp_path / f"file{kind}", kind).to_pylist() == part.to_pylist()


def test_ranks_are_by_descending_probability_and_then_by_customer_id() -> None:
    probabilities = {"A": 0.2, "B": None, "C": 0.9, "D": 0.2, "E": None, "F": 0.3}
    rows = [
        {**dict.fromkeys(CUSTOMER_SCHEMA.names), "customer_id": name, "churn_probability": probability}
        for name, probability in probabilities.items()
    ]

    table = copy_table(pa.Table.from_pylist(rows, schema=CUSTOMER_SCHEMA), "DE", RUN)

    assert table["rank"].to_pylist() == [3, None, 1, 4, None, 2]
    assert set(table["market"].to_pylist()) == {"DE"}
    assert set(table["as_of_time"].to_pylist()) == {dt.datetime(1970, 1, 1, tzinfo=dt.UTC)}


def test_the_copy_of_an_empty_market_has_no_rows() -> None:
    assert copy_table(CUSTOMER_SCHEMA.empty_table(), "DE", RUN).num_rows == 0
