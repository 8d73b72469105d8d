"""The leaves of many rows, computed column by column, equal those of single rows, which protobuf encodes."""

import hashlib
import hmac
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.customer_keys import row_salts
from server.stores.runs.leaf_batches import encode_rows, leaf_hashes
from server.stores.runs.row_encoding import encode_row

KEY = bytes(range(32))
INT64 = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-300, 300))
DOUBLE = st.one_of(st.none(), st.floats(allow_nan=False), st.sampled_from([0.0, -0.0]))
TEXT = st.one_of(st.text(max_size=20), st.text("ä€", min_size=60, max_size=200))
BYTES = st.one_of(st.binary(max_size=40), st.binary(min_size=120, max_size=140))
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "customer_id": (pa.string(), st.text("ABC019._:-", min_size=1, max_size=64)),
    "status": (pa.string(), st.sampled_from(["SCORED", "NOT_ENOUGH_HISTORY"])),
    "log_odds": (pa.float64(), DOUBLE),
    "pd": (pa.float64(), DOUBLE),
    "band": (pa.string(), st.one_of(st.none(), st.sampled_from(["", "LOW", "CRITICAL"]))),
    "previous_band": (pa.string(), st.one_of(st.none(), st.just("HIGH"))),
    "band_since": (pa.int64(), INT64),
    "rank": (pa.int32(), st.one_of(st.none(), st.integers(0, 2**31 - 1))),
    "value_at_risk_minor": (pa.int64(), INT64),
    "expected_spend_minor": (pa.int64(), INT64),
    "decline_pd": (pa.float64(), DOUBLE),
    "hold_out": (pa.bool_(), st.booleans()),
    "suppressions": (pa.string(), TEXT),
    "drivers": (pa.string(), TEXT),
    "features": (pa.binary(), BYTES),
    "contributions": (pa.binary(), BYTES),
}
ROW = st.fixed_dictionaries({name: values for name, (_, values) in COLUMNS.items()})


def as_columns(rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    """Return rows as Arrow columns."""
    return {name: pa.array([row[name] for row in rows], kind) for name, (kind, _) in COLUMNS.items()}


@settings(max_examples=200)
@given(st.lists(ROW, min_size=1, max_size=6))
def test_rows_have_the_bytes_that_protobuf_writes_for_each_of_them(rows: list[dict[str, Any]]) -> None:
    found = encode_rows(as_columns(rows), KEY).to_pylist()

    assert found == [encode_row(row, KEY) for row in rows]
    assert [pb.ChurnRiskRow.FromString(each).customer_id for each in found] == [row["customer_id"] for row in rows]


@given(st.lists(ROW, min_size=1, max_size=3))
def test_a_leaf_is_the_sha256_of_a_zero_byte_and_the_row(rows: list[dict[str, Any]]) -> None:
    assert leaf_hashes(as_columns(rows), KEY) == [
        hashlib.sha256(b"\x00" + encode_row(row, KEY)).digest() for row in rows
    ]


@given(st.lists(st.text(max_size=70)), st.binary(min_size=32, max_size=32))
def test_the_salts_of_many_customers_are_the_first_half_of_their_hmac(customers: list[str], key: bytes) -> None:
    assert row_salts(customers, key) == [hmac.new(key, each.encode(), "sha256").digest()[:16] for each in customers]
